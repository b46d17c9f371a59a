package api

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
)

// dialFrom connects to a port from an address of its own.
func dialFrom(t *testing.T, from string, to net.Addr) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := d.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestSilentConnectionsKeepNobodyOut: hosts come in at once while strangers hold more
// connections than there are handshakes, and say nothing on them.
func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	authority, err := identity.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	node, err := authority.NewNode(cluster.NodeID("00000000000000aa"), identity.RoleServer, []net.IP{net.IPv4(127, 0, 0, 1)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := NewPort(PortConfig{Listener: l, Node: func() *identity.Node { return node }, Logger: slog.New(slog.DiscardHandler),
		Protocols: []Protocol{{ALPN: []string{"test/1"}, Roles: []identity.Role{identity.RoleServer}, Serve: func(conn *tls.Conn, _ Peer) { _ = conn.Close() }}}})
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

	other := dialFrom(t, "127.0.0.3", l.Addr()) // who is only slow is no victim
	var silent []net.Conn
	for range handshakes + 100 {
		silent = append(silent, dialFrom(t, "127.0.0.2", l.Addr()))
	}
	began := time.Now()
	raw := dialFrom(t, "127.0.0.1", l.Addr())
	conn := tls.Client(raw, node.NodeConfig(node.ID, "test/1"))
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d >= handshakeTime/2 {
		t.Errorf("a host came in after %v", d)
	}
	_ = silent[0].SetReadDeadline(time.Now().Add(handshakeTime / 2))
	if _, err := silent[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the oldest silent connection: %v", err)
	}
	_ = other.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := other.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stranger of another address: %v", err)
	}
}

func TestWhoCrowdsTheDoorstep(t *testing.T) {
	at := func(host string) caller {
		a, b := net.Pipe()
		t.Cleanup(func() { _, _ = a.Close(), b.Close() })
		return caller{conn: a, from: netip.MustParseAddr(host)}
	}
	for name, tt := range map[string]struct {
		from []string
		want int
	}{
		"one each":              {[]string{"10.0.0.1", "10.0.0.2"}, 0},
		"the last has most":     {[]string{"10.0.0.1", "10.0.0.2", "10.0.0.2"}, 1},
		"the first comes first": {[]string{"10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"}, 0},
	} {
		var waiting []caller
		for _, h := range tt.from {
			waiting = append(waiting, at(h))
		}
		if got := crowding(waiting); got != tt.want {
			t.Errorf("%s: %d goes, want %d", name, got, tt.want)
		}
	}
}
