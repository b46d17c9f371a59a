package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"paas/cluster"
	"paas/identity"
)

const (
	// callAfter is how long a node is without a session before it calls: servers that
	// are only started anew are back by then.
	callAfter = 3 * time.Second
	// callInterval is how often it calls, and at most answers one caller.
	callInterval = time.Second
)

// caller finds hosts whose addresses changed while nobody could say so: a node that
// has lost all servers calls on its networks, and servers that hear it answer. It is
// the last resort of a cluster that comes back with other addresses; hosts on other
// networks are found through those on this one, or by their operator. It is safe for
// concurrent use.
type caller struct {
	conn *net.UDPConn
	port uint16
	node func() *identity.Node
	met  func(id cluster.NodeID, role identity.Role, address string)
	log  *slog.Logger

	mu       sync.Mutex
	called   time.Time                    // last; guarded by mu
	answered map[cluster.NodeID]time.Time // last; guarded by mu
	heard    map[cluster.NodeID]time.Time // newest call, by the caller's clock; guarded by mu
}

// newCaller listens for calls on the UDP port of the same number as the port between
// hosts.
func newCaller(address string, node func() *identity.Node, met func(cluster.NodeID, identity.Role, string), log *slog.Logger) (*caller, error) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen for calls: %w", err)
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(ap.Port())})
	if err != nil {
		return nil, fmt.Errorf("listen for calls: %w", err)
	}
	return &caller{conn: conn, port: ap.Port(), node: node, met: met, log: log, answered: map[cluster.NodeID]time.Time{}, heard: map[cluster.NodeID]time.Time{}}, nil
}

// run hears until ctx ends.
func (c *caller) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() }) // the read below sees it
	defer stop()
	buffer := make([]byte, identity.MaxCall+1)
	for {
		n, from, err := c.conn.ReadFromUDPAddrPort(buffer)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("hear calls: %w", err)
		case err != nil:
			continue // of one datagram
		}
		c.hear(buffer[:n], from.Addr().Unmap())
	}
}

// hear notes who called, and lets them know this host if it is a server.
func (c *caller) hear(datagram []byte, from netip.Addr) {
	me := c.node()
	call, err := me.Hear(datagram, time.Now())
	if err != nil || call.Node == me.ID || !c.fresh(call) {
		return // whoever is on the network may send us anything
	}
	c.met(call.Node, call.Role, netip.AddrPortFrom(from, call.Port).String())
	if me.Role != identity.RoleServer || !c.due(call.Node) {
		return
	}
	c.send(netip.AddrPortFrom(from, call.Port))
}

// fresh reports whether a call is news. Anybody can send one again that they heard,
// from another address, where the caller is not.
func (c *caller) fresh(call identity.Call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !call.At.After(c.heard[call.Node]) {
		return false
	}
	c.heard[call.Node] = call.At
	return true
}

// due reports whether a caller may be answered again.
func (c *caller) due(id cluster.NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.answered[id]) < callInterval {
		return false
	}
	c.answered[id] = now
	return true
}

// call calls everybody on the host's networks, unless it did a moment ago.
func (c *caller) call() {
	c.mu.Lock()
	due := time.Since(c.called) >= callInterval
	if due {
		c.called = time.Now()
	}
	c.mu.Unlock()
	if !due {
		return
	}
	for _, everybody := range broadcasts() {
		c.send(netip.AddrPortFrom(everybody, c.port))
	}
}

func (c *caller) send(to netip.AddrPort) {
	datagram, err := c.node().Call(c.port, time.Now())
	if err == nil {
		_, err = c.conn.WriteToUDPAddrPort(datagram, to)
	}
	if err != nil {
		c.log.Debug("call was not sent", "remote", to.String(), "err", err)
	}
}

// broadcasts are the addresses of everybody on each network of this host that has
// such an address: IPv4 only.
func broadcasts() []netip.Addr {
	var out []netip.Addr
	all, _ := net.InterfaceAddrs() // without any there is nobody to call
	for _, a := range all {
		ipnet, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, mask := ipnet.IP.To4(), ipnet.Mask
		if ip == nil || ip.IsLoopback() || len(mask) != net.IPv4len {
			continue
		}
		if ones, _ := mask.Size(); ones > 30 {
			continue
		}
		var b [net.IPv4len]byte
		for i := range b {
			b[i] = ip[i] | ^mask[i]
		}
		out = append(out, netip.AddrFrom4(b))
	}
	return out
}
