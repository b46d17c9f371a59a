package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Build steps of BuildKit have no network but the engine's own bridge, where
// containers of others are, too. The table refuses there what it refuses to the
// cluster's containers, but to senders alone that are no containers: those are in
// a set, and nothing changes for them.

// The sets of containers' addresses on the engine's own bridge.
const (
	setOfIPv4 = "containers"
	setOfIPv6 = "containers6"
)

// follow keeps known as the engine's own bridge is, until ctx ends.
func (f *firewall) follow(ctx context.Context) {
	for ctx.Err() == nil {
		// The classic builder joins the cluster's network, if it is there. Whoever
		// starts a container makes it, too, and says why it cannot.
		_ = f.engine.ensureNetwork(ctx)
		_ = f.engine.WatchBridge(ctx, f.look) // the reconciler says that the engine is gone
		pause(ctx, watchRetry)
	}
}

func (f *firewall) look(ctx context.Context) error {
	b, err := f.engine.DefaultBridge(ctx)
	if err != nil {
		return err
	}
	f.known.Store(&b)
	select {
	case f.dirty <- struct{}{}:
	default:
	}
	return nil
}

// bridge is the newest look at the engine's own bridge; empty before the first.
func (f *firewall) bridge() defaultBridge {
	if b := f.known.Load(); b != nil {
		return *b
	}
	return defaultBridge{}
}

// buildChains are the ways a packet of a build step can take.
func (f *firewall) buildChains(bridge string) []firewallChain {
	known := [][]expr.Any{fromElsewhere(bridge), answers(), from(setOfIPv4), from(setOfIPv6), neighbours()}
	return f.ways("builds", known)
}

// containerSets are the sets that buildChains look into.
func containerSets(table *nftables.Table, addresses []netip.Addr) map[*nftables.Set][]nftables.SetElement {
	four := &nftables.Set{Table: table, Name: setOfIPv4, KeyType: nftables.TypeIPAddr}
	six := &nftables.Set{Table: table, Name: setOfIPv6, KeyType: nftables.TypeIP6Addr}
	out := map[*nftables.Set][]nftables.SetElement{four: {}, six: {}}
	for _, a := range addresses {
		s := six
		if a.Is4() {
			s = four
		}
		out[s] = append(out[s], nftables.SetElement{Key: a.AsSlice()})
	}
	return out
}

// admit writes into the kernel's sets who is a container, unless they say so.
func admit(c *nftables.Conn, table *nftables.Table, addresses []netip.Addr) error {
	for set, want := range containerSets(table, addresses) {
		have, err := c.GetSetElements(set)
		if err == nil && sameElements(have, want) {
			continue
		}
		c.FlushSet(set)
		if err := c.SetAddElements(set, want); err != nil {
			return fmt.Errorf("write containers into netfilter table %s: %w", table.Name, err)
		}
	}
	// A table that went since it was seen is made by the next look.
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("write containers into netfilter table %s: %w", table.Name, err)
	}
	return nil
}

func sameElements(have, want []nftables.SetElement) bool {
	keys := func(all []nftables.SetElement) []string {
		var out []string
		for _, e := range all {
			out = append(out, string(e.Key))
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(keys(have), keys(want))
}

// from lets pass what a sender of the set sent.
func from(set string) []expr.Any {
	family, offset, length := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4) // the source address
	if set == setOfIPv6 {
		family, offset, length = unix.NFPROTO_IPV6, 8, 16
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Lookup{SourceRegister: 1, SetName: set},
		accept(),
	}
}

// neighbours lets pass ICMPv6, which IPv6 needs to find anybody at all.
func neighbours() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		accept(),
	}
}
