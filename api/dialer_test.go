package api

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
)

// TestAWrongAddressIsTriedOnce: an address that somebody made us believe fails once;
// who was found after it is told, so that the next connection goes there at once.
func TestAWrongAddressIsTriedOnce(t *testing.T) {
	authority, err := identity.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	node, err := authority.NewNode("00000000000000aa", identity.RoleServer, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := NewPort(PortConfig{Listener: l, Node: func() *identity.Node { return node }, Logger: slog.New(slog.DiscardHandler),
		Protocols: []Protocol{{ALPN: []string{"test/1"}, Roles: []identity.Role{identity.RoleServer}, Serve: func(conn *tls.Conn, _ Peer) {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}}}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- port.Accept(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		port.Wait()
	}()
	closed, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	believed := closed.Addr().String()
	var met []string
	d := &Dialer{Node: func() *identity.Node { return node },
		Addresses: func(cluster.NodeID) []string { return []string{believed, l.Addr().String()} },
		Met:       func(id cluster.NodeID, address string) { met = append(met, string(id)+" "+address) }}
	conn, err := d.Dial(t.Context(), node.ID, "test/1")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if want := string(node.ID) + " " + l.Addr().String(); len(met) != 1 || met[0] != want {
		t.Errorf("met %q, want %q", met, want)
	}
}
