package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

// control is a server as agents see one: the real session over real TLS.
type control struct {
	t        *testing.T
	cluster  cluster.ClusterID
	server   *api.SessionServer
	listener net.Listener
	ctx      context.Context
	conns    sync.WaitGroup
	stop     func()
	edge     *identity.Authority

	hellos   chan api.Hello
	observed chan api.Observed
	routers  chan cluster.RouterStatus
	space    atomic.Pointer[[]cluster.Space] // of the last heartbeat

	mu      sync.Mutex
	index   uint64              // guarded by mu, as is what follows
	set     *api.AssignmentSet  // desired, with index
	routes  *cluster.RouteTable // desired
	changed chan struct{}       // closed when desired changes

	// sign answers for certificates, if the test has them asked for.
	sign func(p api.Peer, csr []byte) ([]byte, error)
}

func newControl(t *testing.T, node *identity.Node, id cluster.ClusterID) *control {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", node.ServerConfig(api.ALPNSession))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &control{t: t, cluster: id, listener: l, ctx: ctx, hellos: make(chan api.Hello, 100), observed: make(chan api.Observed, 1000),
		routers: make(chan cluster.RouterStatus, 1000), set: &api.AssignmentSet{Index: 1}, index: 1, changed: make(chan struct{})}
	c.server = api.NewSessionServer(api.SessionServerConfig{Events: c, Calls: c, Sign: func(_ context.Context, p api.Peer, csr []byte) ([]byte, error) { return c.sign(p, csr) }, Logger: slog.New(slog.DiscardHandler)})
	c.conns.Go(c.accept)
	var once sync.Once
	c.stop = func() {
		once.Do(func() { cancel(); _ = l.Close(); c.conns.Wait() })
	}
	t.Cleanup(c.stop)
	return c
}

func (c *control) accept() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.conns.Go(func() {
			secure := conn.(*tls.Conn)
			if secure.HandshakeContext(c.ctx) != nil {
				return
			}
			id, role, err := identity.PeerNode(secure.ConnectionState())
			if err != nil {
				_ = conn.Close()
				return
			}
			_ = c.server.Serve(c.ctx, conn, api.Peer{ID: id, Role: role})
		})
	}
}

// want changes what the node should have.
func (c *control) want(set *api.AssignmentSet, routes *cluster.RouteTable) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	if set != nil {
		set.Index = c.index
		c.set = set
	}
	if routes != nil {
		routes.Index = c.index
		c.routes = routes
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *control) NodeJoined(_ context.Context, h api.Hello) (api.Welcome, error) {
	c.hellos <- h
	return api.Welcome{Cluster: c.cluster, Domain: "localhost"}, nil
}

func (c *control) NodeObserved(_ context.Context, _ cluster.NodeID, news api.News) error {
	for _, o := range news.Observed {
		c.observed <- o
	}
	return nil
}

func (c *control) NodeRouter(_ context.Context, s cluster.RouterStatus) error {
	c.routers <- s
	return nil
}
func (c *control) NodeAlive(_ cluster.NodeID, s []cluster.Space) { c.space.Store(&s) }
func (c *control) NodeLeft(cluster.NodeID)                       {}

func (c *control) NodeDesired(ctx context.Context, _ cluster.NodeID, has api.Indexes) (api.Desired, error) {
	for {
		c.mu.Lock()
		var d api.Desired
		if c.set != nil && c.set.Index > has.Assignments {
			d.Assignments = c.set
		}
		if c.routes != nil && c.routes.Index > has.Routes {
			d.Routes = c.routes
		}
		changed := c.changed
		c.mu.Unlock()
		if d.Assignments != nil || d.Routes != nil {
			return d, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return d, ctx.Err()
		}
	}
}

// The certificate storage of a control holds one file.
func (c *control) LoadFile(_ context.Context, key string) ([]byte, time.Time, error) {
	return []byte("file " + key), time.Now(), nil
}
func (c *control) StoreFile(context.Context, string, []byte) error           { return nil }
func (c *control) DeleteFile(context.Context, string) error                  { return nil }
func (c *control) ListFiles(context.Context, string) ([]string, error)       { return nil, nil }
func (c *control) Lock(context.Context, string, string, time.Duration) error { return nil }
func (c *control) SignEdge(_ context.Context, csr []byte) ([]byte, error) {
	if c.edge == nil {
		return nil, errors.New("no edge CA")
	}
	return c.edge.SignHosts(csr, func(string) bool { return true }, time.Now())
}

// identities are a server's and an agent's of one authority.
func identities(t *testing.T) (server, agent *identity.Node) {
	t.Helper()
	ca, err := identity.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if server, err = ca.NewNode(cluster.NodeID(identity.NewID()), identity.RoleServer, []net.IP{net.IPv4(127, 0, 0, 1)}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if agent, err = ca.NewNode(cluster.NodeID(identity.NewID()), identity.RoleAgent, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	return server, agent
}

// runAgent runs an agent until the returned function is called.
func runAgent(t *testing.T, c Config) (*Agent, func()) {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a, startAgent(t, a)
}

// startAgent runs a until stop is called, or the test ends.
func startAgent(t *testing.T, a *Agent) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// receive waits for one of a channel.
func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("not within 10s: %s", what)
		panic("unreachable")
	}
}

func TestSessionAndFailover(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	server, me := identities(t)
	first, second := newControl(t, server, "c0ffee"), newControl(t, server, "c0ffee")
	stranger := newControl(t, server, "another")
	a, stop := runAgent(t, Config{Dir: t.TempDir(), Node: always(me), Cluster: "c0ffee", Name: "host-1", Zone: "a", Labels: map[string]string{"disk": "ssd"},
		Servers: []string{stranger.listener.Addr().String(), first.listener.Addr().String(), second.listener.Addr().String()}})
	h := receive(t, "hello", first.hellos)
	if h.Node.ID != me.ID || h.Node.Name != "host-1" || h.Node.Zone != "a" || h.Node.Labels["disk"] != "ssd" || h.Node.Apps || h.Node.Server || h.Node.MemoryBytes != 0 {
		t.Errorf("hello: %+v", h.Node)
	}
	receive(t, "ready", a.Ready())
	if data, _, err := a.certificates.LoadFile(t.Context(), "k"); err != nil || string(data) != "file k" {
		t.Errorf("certificate storage: %q, %v", data, err)
	}
	a.board.put(api.Observed{ID: "a-1", Observation: cluster.Observation{State: cluster.AllocationHealthy}})
	if o := receive(t, "report", first.observed); o.ID != "a-1" {
		t.Errorf("report: %+v", o)
	}
	a.board.put(api.Observed{ID: "a-1", Observation: cluster.Observation{State: cluster.AllocationBackoff}, Log: []string{"boom"}})
	a.board.put(api.Observed{ID: "a-1", Observation: cluster.Observation{State: cluster.AllocationStarting}})
	if crashed, again := receive(t, "crash", first.observed), receive(t, "restart", first.observed); len(crashed.Log) != 1 || len(again.Log) != 0 {
		t.Errorf("last words are told once: %q, %q", crashed.Log, again.Log)
	}
	node, err := first.server.Node(me.ID)
	if err != nil {
		t.Fatal(err)
	}
	err = node.Logs(t.Context(), api.LogsRequest{}, func(api.LogLine) error { return nil })
	if cluster.KindOf(err) != cluster.KindUnavailable {
		t.Errorf("logs of a node without apps: %v", err)
	}
	begun := time.Now()
	first.stop()
	h = receive(t, "hello to the second server", second.hellos)
	if len(h.Observed) != 1 || h.Observed[0].ID != "a-1" {
		t.Errorf("everything is sent again, but got %+v", h.Observed)
	} else if log := h.Observed[0].Log; len(log) != 1 || log[0] != "boom" {
		t.Errorf("the next server hears the last words of a replica that restarted, too: %q", log)
	}
	if took := time.Since(begun); took > api.NodeLease/2 {
		t.Errorf("failed over after %s, which is more than half a lease", took)
	}
	second.stop()
	soon(t, "no session", func() bool {
		_, _, err := a.certificates.LoadFile(t.Context(), "k")
		return cluster.KindOf(err) == cluster.KindUnavailable
	})
	stop()
	stranger.stop()
}

// always is the identity of a host that does not renew it.
func always(n *identity.Node) func() *identity.Node { return func() *identity.Node { return n } }

// An agent that outlives its certificate comes back with the one that its host
// has meanwhile.
func TestSessionWithARenewedCertificate(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	now := time.Now()
	ca, err := identity.NewAuthority("cluster", now.Add(-60*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	issue := func(id cluster.NodeID, role identity.Role, at time.Time) *identity.Node {
		n, err := ca.NewNode(id, role, []net.IP{net.IPv4(127, 0, 0, 1)}, at)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const id = "00000000000000bb"
	var newest atomic.Pointer[identity.Node]
	newest.Store(issue(id, identity.RoleAgent, now.Add(-31*24*time.Hour)))
	log := &said{}
	c := newControl(t, issue("00000000000000aa", identity.RoleServer, now), "c0ffee")
	_, stop := runAgent(t, Config{Dir: t.TempDir(), Node: newest.Load, Cluster: "c0ffee", Servers: []string{c.listener.Addr().String()},
		Logger: slog.New(slog.NewTextHandler(log, nil))})
	soon(t, "the old certificate is refused", func() bool { return strings.Contains(log.String(), "no session with a server") })
	newest.Store(issue(id, identity.RoleAgent, now))
	if h := receive(t, "hello", c.hellos); h.Node.ID != id {
		t.Errorf("hello: %+v", h.Node)
	}
	stop()
	c.stop()
}

// A server that was removed, and has come back with what it knew then, is not obeyed.
func TestNoSessionWithARemovedServer(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	ca, err := identity.NewAuthority("cluster", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issue := func(id cluster.NodeID, role identity.Role) *identity.Node {
		n, err := ca.NewNode(id, role, []net.IP{net.IPv4(127, 0, 0, 1)}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	removed := newControl(t, issue("00000000000000aa", identity.RoleServer), "c0ffee")
	member := newControl(t, issue("00000000000000cc", identity.RoleServer), "c0ffee")
	dir := t.TempDir()
	m, err := openMemory(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.saveRoster(&cluster.Roster{Removed: []cluster.NodeID{"00000000000000aa"}}), m.close()); err != nil {
		t.Fatal(err)
	}
	_, stop := runAgent(t, Config{Dir: dir, Node: always(issue("00000000000000bb", identity.RoleAgent)), Cluster: "c0ffee",
		Servers: []string{removed.listener.Addr().String(), member.listener.Addr().String()}}) // asked in this order
	receive(t, "hello", member.hellos)
	if len(removed.hellos) != 0 {
		t.Error("a removed server was told everything, and obeyed")
	}
	stop()
	removed.stop()
	member.stop()
}

// said is a log that a test reads while it is written.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestConfigIsChecked(t *testing.T) {
	_, me := identities(t)
	for _, c := range []Config{{}, {Node: always(me)}, {Node: always(me), Cluster: "c"}, {Cluster: "c", Servers: []string{"x"}}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}
