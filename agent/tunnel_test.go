package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/router"
)

const (
	nearNode = cluster.NodeID("1111111111111111")
	farNode  = cluster.NodeID("2222222222222222")
)

// twoEnds are two hosts of one cluster: the near end's dials, and the far end with its
// port.
type twoEnds struct {
	reach
	dialer  *api.Dialer
	far     *tunnels
	port    *api.Port
	address string

	mu      sync.Mutex
	members map[cluster.NodeID]cluster.Member
	refused map[cluster.NodeID]bool
	here    map[cluster.Upstream]bool
}

func (e *twoEnds) member(id cluster.NodeID) (cluster.Member, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m, ok := e.members[id]
	return m, ok
}

func (e *twoEnds) confirm(_ context.Context, u cluster.Upstream) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	u.Node = ""
	if !e.here[u] {
		return notThere(u)
	}
	return nil
}

// replica makes a container of the far end's.
func (e *twoEnds) replica(id cluster.AllocationID, address string) cluster.Upstream {
	e.mu.Lock()
	defer e.mu.Unlock()
	u := cluster.Upstream{Allocation: id, Instance: "web.1", Address: address}
	e.here[u] = true
	u.Node = farNode
	return u
}

// newTwoEnds runs a far end for most tunnels until the test ends. The near end is a
// node of the given role.
func newTwoEnds(t testing.TB, role identity.Role, most int) *twoEnds {
	t.Helper()
	ca, err := identity.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	node := func(id cluster.NodeID, role identity.Role) func() *identity.Node {
		n, err := ca.NewNode(id, role, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return func() *identity.Node { return n }
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &twoEnds{address: l.Addr().String(), here: map[cluster.Upstream]bool{}, refused: map[cluster.NodeID]bool{},
		members: map[cluster.NodeID]cluster.Member{nearNode: {ID: nearNode, Router: true}}}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	e.far = newTunnels(e.member, e.confirm, most, log)
	ctx, cancel := context.WithCancel(context.Background())
	e.port = api.NewPort(api.PortConfig{Listener: l, Node: node(farNode, identity.RoleAgent), Logger: log,
		Refused: func(id cluster.NodeID) bool { e.mu.Lock(); defer e.mu.Unlock(); return e.refused[id] },
		Protocols: []api.Protocol{{ALPN: []string{api.ALPNTunnel}, Roles: []identity.Role{identity.RoleServer, identity.RoleAgent},
			Serve: func(conn *tls.Conn, peer api.Peer) { e.far.serve(ctx, conn, peer) }}}})
	done := make(chan error, 1)
	go func() { done <- e.port.Accept(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		e.port.Wait()
		if len(e.far.slots) != 0 || len(e.far.open) != 0 {
			t.Errorf("%d slots and %d peers are left", len(e.far.slots), len(e.far.open))
		}
	})
	d := &api.Dialer{Node: node(nearNode, role), Addresses: func(cluster.NodeID) []string { return []string{e.address} }}
	e.dialer, e.reach = d, reach{d.Dial}
	return e
}

// container listens as an app would.
func listenAs(t testing.TB, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return l.Addr().String()
}

func echoAll(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
}

func TestTunnelCarriesBothWaysAndHalfClose(t *testing.T) {
	e := newTwoEnds(t, identity.RoleAgent, 10)
	// The app answers only when it has all: half-close must reach it, and the answer us.
	up := e.replica("a-1", listenAs(t, func(c *net.TCPConn) {
		all, _ := io.ReadAll(c)
		_, _ = c.Write(all)
	}))
	want := make([]byte, 3<<20)
	_, _ = rand.Read(want)
	conn, err := e.upstream(t.Context(), up)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = conn.Write(want)
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d of %d bytes came back: %v", len(got), len(want), err)
	}
}

func TestTunnelEndsAsTheAppDoes(t *testing.T) {
	e := newTwoEnds(t, identity.RoleServer, 10)
	t.Run("reset", func(t *testing.T) {
		up := e.replica("a-1", listenAs(t, func(c *net.TCPConn) {
			_, _ = c.Write([]byte("half an ans"))
			_, _ = c.Read(make([]byte, 1))
			_ = c.SetLinger(0)
		}))
		conn, err := e.upstream(t.Context(), up)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.ReadFull(conn, make([]byte, 11)); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte("x"))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("a broken answer looks whole: %v", err)
		}
	})
	t.Run("the router goes", func(t *testing.T) {
		gone := make(chan error, 1)
		up := e.replica("a-2", listenAs(t, func(c *net.TCPConn) {
			_, _ = io.ReadAll(c) // the first word of it
			// An app that waits for something else to happen writes only now and then.
			for {
				if _, err := c.Write([]byte("event")); err != nil {
					gone <- err
					return
				}
			}
		}))
		conn, err := e.upstream(t.Context(), up)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		within(t, gone, "the app never learned that its client is gone")
	})
}

func within[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal(what)
		panic("unreachable")
	}
}

func TestTunnelRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		role    identity.Role
		prepare func(e *twoEnds)
		want    func(e *twoEnds) cluster.Upstream
		host    bool // an error of the host, not of the replica
	}{
		"agent without a router": {role: identity.RoleAgent, prepare: func(e *twoEnds) { e.members[nearNode] = cluster.Member{ID: nearNode} }},
		"agent nobody knows":     {role: identity.RoleAgent, prepare: func(e *twoEnds) { delete(e.members, nearNode) }},
		"removed node":           {role: identity.RoleServer, prepare: func(e *twoEnds) { e.refused[nearNode] = true }, host: true},
		"another node answers": {role: identity.RoleServer, want: func(e *twoEnds) cluster.Upstream {
			u := e.replica("a-1", "127.0.0.1:1")
			u.Node = "3333333333333333"
			return u
		}, host: true},
		"nothing there": {role: identity.RoleServer, want: func(e *twoEnds) cluster.Upstream {
			return cluster.Upstream{Allocation: "a-9", Node: farNode, Address: "127.0.0.1:22"}
		}},
		"another port": {role: identity.RoleServer, want: func(e *twoEnds) cluster.Upstream {
			u := e.replica("a-1", "127.0.0.1:1")
			u.Address = "127.0.0.1:22"
			return u
		}},
		"no address": {role: identity.RoleServer, want: func(e *twoEnds) cluster.Upstream {
			return cluster.Upstream{Allocation: "a-1", Node: farNode, Address: "localhost"}
		}},
		"container refuses": {role: identity.RoleServer, want: func(e *twoEnds) cluster.Upstream { return e.replica("a-1", "127.0.0.1:1") }},
		"nobody listens":    {role: identity.RoleServer, prepare: func(e *twoEnds) { e.address = "127.0.0.1:1" }, host: true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTwoEnds(t, tt.role, 10)
			up := e.replica("a-1", "127.0.0.1:1")
			if tt.want != nil {
				up = tt.want(e)
			}
			if tt.prepare != nil {
				tt.prepare(e)
			}
			conn, err := e.upstream(t.Context(), up)
			if err == nil {
				_ = conn.Close()
				t.Fatal("connected")
			}
			var host *router.HostError
			if errors.As(err, &host) != tt.host {
				t.Errorf("blames the wrong one: %v", err)
			}
			t.Log(err)
		})
	}
}

func TestTunnelsAreBounded(t *testing.T) {
	e := newTwoEnds(t, identity.RoleServer, 2)
	up := e.replica("a-1", listenAs(t, echoAll))
	var open []net.Conn
	for range 2 {
		c, err := e.upstream(t.Context(), up)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	if _, err := e.upstream(t.Context(), up); err == nil {
		t.Fatal("a third one was opened")
	}
	_ = open[0].Close()
	soon(t, "its slot is free", func() bool {
		c, err := e.upstream(t.Context(), up)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func TestEchoAnswersAndItsSilenceEndsTunnels(t *testing.T) {
	e := newTwoEnds(t, identity.RoleServer, 10)
	c, err := e.probe(t.Context(), farNode)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if _, err := c.Write([]byte{7}); err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := io.ReadFull(c, b[:]); err != nil || b[0] != 7 {
			t.Fatal(b, err)
		}
	}
	conn, err := e.upstream(t.Context(), e.replica("a-1", listenAs(t, echoAll)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	e.far.end(nearNode) // what its silence leads to
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a tunnel outlived its router")
	}
}

// An app that is busy does not cost its client the connection: TCP_USER_TIMEOUT would.
func TestTunnelWaitsForSlowReaders(t *testing.T) {
	if testing.Short() {
		t.Skip("waits 3 s")
	}
	e := newTwoEnds(t, identity.RoleServer, 10)
	release := make(chan struct{})
	time.AfterFunc(3*time.Second, func() { close(release) })
	up := e.replica("a-1", listenAs(t, func(c *net.TCPConn) {
		<-release
		n, _ := io.Copy(io.Discard, c)
		_, _ = c.Write([]byte{byte(n >> 20)})
	}))
	conn, err := e.upstream(t.Context(), up)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const size = 40 << 20 // more than all buffers on the way
	if _, err := conn.Write(make([]byte, size)); err != nil {
		t.Fatalf("the connection broke while the app was busy: %v", err)
	}
	_ = conn.(*tls.Conn).CloseWrite()
	var got [1]byte
	if _, err := io.ReadFull(conn, got[:]); err != nil || got[0] != size>>20 {
		t.Fatalf("the app got %d MiB: %v", got[0], err)
	}
}

func FuzzPreface(f *testing.F) {
	for _, p := range []preface{{Version: 1}, {Version: 1, Allocation: "a-1", Instance: "web.1", Address: "172.18.0.2:8080"}, {Version: 9}} {
		var b bytes.Buffer
		if err := p.write(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		p, err := readPreface(r)
		if err != nil {
			return
		}
		if used := len(data) - r.Len(); used > prefaceLimit+2 {
			t.Fatalf("read %d bytes", used)
		}
		if len(p.Instance) > 64 || p.Allocation == "" {
			return
		}
		var b bytes.Buffer
		if err := p.write(&b); err != nil {
			t.Fatal(err)
		}
		if again, err := readPreface(&b); err != nil || again != p {
			t.Fatalf("%+v became %+v: %v", p, again, err)
		}
	})
}
