package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
)

// TestAServerAnswersACall lets two hosts find each other with nothing but a call.
func TestAServerAnswersACall(t *testing.T) {
	ca, err := identity.NewAuthority("ours", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	type found struct {
		id      cluster.NodeID
		address string
	}
	open := func(role identity.Role) (*caller, *identity.Node, chan found) {
		n, err := ca.NewNode(cluster.NodeID(identity.NewID()), role, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		met := make(chan found, 10)
		c, err := newCaller("127.0.0.1:0", func() *identity.Node { return n }, func(id cluster.NodeID, _ identity.Role, address string) { met <- found{id, address} },
			slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		c.port = netip.MustParseAddrPort(c.conn.LocalAddr().String()).Port()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return c, n, met
	}
	server, s, heard := open(identity.RoleServer)
	lost, l, answers := open(identity.RoleAgent)
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), server.port)
	if _, err := lost.conn.WriteToUDPAddrPort([]byte("hello?"), to); err != nil {
		t.Fatal(err)
	}
	send := func(at time.Time) {
		call, err := l.Call(lost.port, at)
		if err == nil {
			_, err = lost.conn.WriteToUDPAddrPort(call, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	send(now)
	send(now)                           // repeated by anybody: it is no news
	send(now.Add(-time.Minute))         // nor is an old one
	send(now.Add(time.Millisecond))     // it is heard again, and answered once
	send(now.Add(2 * time.Millisecond)) // all before it were read when this one is
	for range 3 {
		if got := <-heard; got.id != l.ID || !strings.HasPrefix(got.address, "127.0.0.1:") {
			t.Errorf("the server heard %+v", got)
		}
	}
	if len(heard) > 0 {
		t.Error("a call that was repeated was heard as another one")
	}
	if got := <-answers; got.id != s.ID {
		t.Errorf("answered by %+v", got)
	}
	if len(answers) > 0 {
		t.Error("answered twice at once")
	}
}

func TestBroadcastAddresses(t *testing.T) {
	for _, a := range broadcasts() {
		if !a.Is4() || a.IsLoopback() {
			t.Errorf("calls %s", a)
		}
	}
}
