package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"paas/cluster"
)

// firewall keeps the host and the cloud's metadata out of the containers' reach.
// It owns one nftables table, named after the cluster, and touches no other: what
// Docker, firewalld or an operator put elsewhere holds beside it. Each of its
// chains looks only at packets that come from the cluster's bridge or, of build
// steps, from the engine's own.
//
// Offered to containers and builds, on every address of the host: DNS, and ports.
// Everything else there is refused, so that a service that its operator thinks
// of as local is local.
type firewall struct {
	cluster cluster.ClusterID
	ports   []uint16
	engine  *docker // nil: builds are not looked after
	log     *slog.Logger

	known atomic.Pointer[defaultBridge] // see bridge
	dirty chan struct{}                 // capacity 1: known is new
}

// firewallPriority is just before the priority of everybody's filter chains (0):
// a refusal is final wherever it is made, an acceptance is not.
const firewallPriority = -10

// firewallPoll is how long a table that somebody removed stays away.
const firewallPoll = 10 * time.Second

const dnsPort = 53

// metadata are the addresses where clouds tell a machine its secrets. The link
// local block is AWS, Azure, Google, Hetzner, DigitalOcean and OpenStack; the
// others are Alibaba, Oracle and Azure's agent.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("192.0.0.192/32"),
	netip.MustParsePrefix("168.63.129.16/32"),
}

// offeredPorts are the ports of addresses that others than this host can reach.
func offeredPorts(addresses ...string) []uint16 {
	var out []uint16
	for _, a := range addresses {
		host, port, err := net.SplitHostPort(a)
		n, convErr := strconv.ParseUint(port, 10, 16)
		if ip, parseErr := netip.ParseAddr(host); err != nil || convErr != nil || parseErr == nil && ip.IsLoopback() {
			continue
		}
		out = append(out, uint16(n))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// run keeps the table as it must be until ctx ends. The table then stays: the
// containers go on, too. Without the right to make it, it says so once.
func (f *firewall) run(ctx context.Context) error {
	var g errgroup.Group
	if f.engine != nil {
		g.Go(func() error { f.follow(ctx); return nil })
	}
	g.Go(func() error { return f.keep(ctx) })
	return g.Wait()
}

func (f *firewall) keep(ctx context.Context) error {
	var last string
	for {
		changed, err := f.apply()
		switch {
		case err != nil && err.Error() != last:
			last = err.Error()
			f.log.Warn("containers can reach this host's own services", "err", err)
		case err == nil && changed:
			f.log.Info("containers are kept from this host's own services", "table", f.table().Name, "ports", f.ports)
			fallthrough
		case err == nil:
			last = ""
		}
		select {
		case <-f.dirty:
		case <-time.After(firewallPoll):
		case <-ctx.Done():
			return nil
		}
	}
}

// apply writes the table, in one transaction, unless it is there as it must be.
// Containers that come and go are no change of the table.
func (f *firewall) apply() (changed bool, err error) {
	c, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("open netfilter: %w", err)
	}
	table, bridge := f.table(), f.bridge()
	want := f.chains(bridge.Interface)
	if f.stands(c, table, want) {
		if bridge.Interface == "" {
			return false, nil
		}
		return false, admit(c, table, bridge.Containers)
	}
	c.AddTable(table) // so that there is one to delete
	c.DelTable(table)
	c.AddTable(table)
	for set, elements := range containerSets(table, bridge.Containers) {
		if err := c.AddSet(set, elements); err != nil {
			return false, fmt.Errorf("write netfilter table %s: %w", table.Name, err)
		}
	}
	for _, w := range want {
		chain := c.AddChain(w.in(table))
		for _, r := range w.rules {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: r, UserData: w.mark()})
		}
	}
	if err := c.Flush(); err != nil {
		return false, fmt.Errorf("write netfilter table %s: %w", table.Name, err)
	}
	return true, nil
}

// stands reports whether the kernel has exactly what is wanted.
func (f *firewall) stands(c *nftables.Conn, table *nftables.Table, want []firewallChain) bool {
	for _, w := range want {
		have, err := c.GetRules(table, w.in(table))
		if err != nil || len(have) != len(w.rules) {
			return false
		}
		for _, r := range have {
			if !bytes.Equal(r.UserData, w.mark()) {
				return false
			}
		}
	}
	return true
}

// removeFirewall removes the cluster's table. Who may not make one has none.
func removeFirewall(id cluster.ClusterID) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open netfilter: %w", err)
	}
	table := (&firewall{cluster: id}).table()
	c.AddTable(table) // deleting what is not there fails
	c.DelTable(table)
	if err := c.Flush(); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("remove netfilter table %s: %w", table.Name, err)
	}
	return nil
}

func (f *firewall) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: "paas_" + short(f.cluster)}
}

// firewallChain is a chain as it should be: its rules in order.
type firewallChain struct {
	name  string
	hook  *nftables.ChainHook
	rules [][]expr.Any
}

func (w firewallChain) in(table *nftables.Table) *nftables.Chain {
	policy := nftables.ChainPolicyAccept
	return &nftables.Chain{Table: table, Name: w.name, Type: nftables.ChainTypeFilter, Hooknum: w.hook,
		Priority: nftables.ChainPriorityRef(firewallPriority), Policy: &policy}
}

// mark identifies the rules, so that a table of another version is seen as such.
func (w firewallChain) mark() []byte {
	h := sha256.New()
	for _, r := range w.rules {
		for _, e := range r {
			_, _ = fmt.Fprintf(h, "%T%+v\n", e, e) // a hash takes everything
		}
	}
	return h.Sum(nil)
}

// chains are the ways of packets from the cluster's bridge and from the engine's
// own, which is "" where none is known.
func (f *firewall) chains(engines string) []firewallChain {
	out := f.ways("", [][]expr.Any{fromElsewhere(bridgeName(f.cluster)), answers()})
	if engines != "" {
		out = append(out, f.buildChains(engines)...)
	}
	return out
}

// ways are the two that a packet can take: to this host, or through it. What
// passes lets pass is none of this firewall's business.
func (f *firewall) ways(of string, passes [][]expr.Any) []firewallChain {
	input := append(passes, toPort(unix.IPPROTO_UDP, dnsPort), toPort(unix.IPPROTO_TCP, dnsPort))
	forward := slices.Clone(input) // some clouds' resolvers have link local addresses
	for _, p := range f.ports {
		input = append(input, toPort(unix.IPPROTO_TCP, p))
	}
	input = append(input, refuse())
	for _, p := range metadata {
		forward = append(forward, slices.Concat(toNet(p), refuse()))
	}
	if of != "" {
		of += "_"
	}
	return []firewallChain{
		{name: of + "to_host", hook: nftables.ChainHookInput, rules: input},
		{name: of + "through_host", hook: nftables.ChainHookForward, rules: forward},
	}
}

func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

func refuse() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
}

// fromElsewhere lets pass what no container of ours sent.
func fromElsewhere(bridge string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, bridge)
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name}, accept()}
}

// answers lets pass what belongs to a connection that was let pass: the
// router's requests come back this way.
func answers() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		accept(),
	}
}

func toPort(proto byte, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, // the destination port
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
		accept(),
	}
}

// toNet matches an IPv4 destination.
func toNet(p netip.Prefix) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}, // the destination address
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
	}
}
