package api

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"paas/cluster"
	"paas/identity"
)

func TestHandshakeHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		began := time.Now()
		_, err := handshake(t.Context(), tls.Server(ours, &tls.Config{MinVersion: tls.VersionTLS13}))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != handshakeTime {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_ = ours.Close()
	})
}

// A node may be removed, or the port closed, after its certificate was looked at and
// before anybody could find its connection: neither may leave it open.
func TestPortServesNobodyWhoWasRemovedMeanwhile(t *testing.T) {
	ca, err := identity.NewAuthority("cluster", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issue := func(id cluster.NodeID) *identity.Node {
		n, err := ca.NewNode(id, identity.RoleServer, []net.IP{net.IPv4(127, 0, 0, 1)}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	here, there := issue("00000000000000aa"), issue("00000000000000bb")
	for name, meanwhile := range map[string]func(*Port){"nothing": nil, "removed": (*Port).Expel, "closed": (*Port).Close} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var asked, served atomic.Int64
		var p *Port
		p = NewPort(PortConfig{Listener: l, Node: func() *identity.Node { return here }, Logger: slog.New(slog.DiscardHandler),
			Refused: func(cluster.NodeID) bool {
				first := asked.Add(1) == 1
				if first && meanwhile != nil {
					meanwhile(p)
				}
				return !first && name == "removed"
			},
			Protocols: []Protocol{{ALPN: []string{ALPNRaft}, Roles: []identity.Role{identity.RoleServer}, Serve: func(conn *tls.Conn, _ Peer) {
				served.Add(1)
				_ = conn.Close()
			}}}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Accept(ctx) }()
		d := Dialer{Node: func() *identity.Node { return there }, Addresses: func(cluster.NodeID) []string { return []string{l.Addr().String()} }}
		conn, err := d.Dial(t.Context(), here.ID, ALPNRaft)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, conn) // until it is closed
		_ = conn.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		p.Wait()
		if (served.Load() == 1) != (meanwhile == nil) {
			t.Errorf("%s: served %d times", name, served.Load())
		}
	}
}
