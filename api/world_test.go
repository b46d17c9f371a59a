package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
)

const testNode cluster.NodeID = "00000000000000aa"

// world is the server behind the sessions: what it wants of nodes, and what it heard.
type world struct {
	mu       sync.Mutex
	desired  Desired       // guarded by mu, as are the fields below
	changed  chan struct{} // closed and replaced when desired changes
	joined   []Hello
	left     int
	alive    []time.Time
	observed []Observed
	gone     []cluster.VolumeID
	router   cluster.RouterStatus
	space    []cluster.Space
	files    map[string][]byte

	refuse  error
	observe func(ctx context.Context) error // called while NodeObserved runs
}

func newWorld() *world { return &world{changed: make(chan struct{}), files: map[string][]byte{}} }

func (w *world) want(assignments, routes uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.desired = Desired{Assignments: &AssignmentSet{Index: assignments, Assignments: []Assignment{{ID: "a-1", App: "blog",
		Env: map[string]cluster.Redacted{"A": "b"}, Process: cluster.Process{Check: cluster.Check{Kind: cluster.CheckTCP}}}}},
		Routes: &cluster.RouteTable{Index: routes}}
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) NodeJoined(_ context.Context, h Hello) (Welcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		return Welcome{}, w.refuse
	}
	w.joined = append(w.joined, h)
	return Welcome{Cluster: "c1"}, nil
}

func (w *world) NodeObserved(ctx context.Context, _ cluster.NodeID, news News) error {
	if w.observe != nil {
		if err := w.observe(ctx); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.observed = append(w.observed, news.Observed...)
	w.gone = append(w.gone, news.Gone...)
	return nil
}

func (w *world) NodeRouter(_ context.Context, status cluster.RouterStatus) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.router = status
	return nil
}

func (w *world) NodeAlive(_ cluster.NodeID, space []cluster.Space) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if space != nil {
		w.space = space
	}
	w.alive = append(w.alive, time.Now())
}

func (w *world) NodeLeft(cluster.NodeID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left++
}

func (w *world) NodeDesired(ctx context.Context, _ cluster.NodeID, has Indexes) (Desired, error) {
	for {
		w.mu.Lock()
		var d Desired
		if a := w.desired.Assignments; a != nil && a.Index > has.Assignments {
			d.Assignments = a
		}
		if r := w.desired.Routes; r != nil && r.Index > has.Routes {
			d.Routes = r
		}
		if r := w.desired.Roster; r != nil && r.Index > has.Roster {
			d.Roster = r
		}
		changed := w.changed
		w.mu.Unlock()
		if d != (Desired{}) {
			return d, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Desired{}, ctx.Err()
		}
	}
}

func (w *world) LoadFile(_ context.Context, key string) ([]byte, time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.files[key]
	if !ok {
		return nil, time.Time{}, fmt.Errorf("load %s: %w", key, fs.ErrNotExist)
	}
	return v, time.Unix(1e9, 5).UTC(), nil
}

func (w *world) StoreFile(_ context.Context, key string, value []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[key] = value
	return nil
}

func (w *world) DeleteFile(_ context.Context, key string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.files, key)
	return nil
}

func (w *world) ListFiles(context.Context, string) ([]string, error) { return []string{"a", "b"}, nil }

func (w *world) Lock(ctx context.Context, name, _ string, _ time.Duration) error {
	if name == "wait" {
		<-ctx.Done()
		return ctx.Err()
	}
	return cluster.Conflict("lock", "lock %s is held", name)
}

func (w *world) SignEdge(_ context.Context, csr []byte) ([]byte, error) {
	return append([]byte("signed "), csr...), nil
}

// heard returns a copy of what fn reads from the world.
func heard[T any](w *world, fn func() T) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fn()
}

// nodeCalls is the node's side of calls.
type nodeCalls struct {
	ended chan error // of calls that wait for their ctx
}

func (n *nodeCalls) Logs(ctx context.Context, in LogsRequest, send func(LogLine) error) error {
	for i := range in.Lines {
		if err := send(LogLine{At: time.Unix(1e9, int64(i)).UTC(), Text: fmt.Sprint("line ", i)}); err != nil {
			return err
		}
	}
	if in.Follow {
		<-ctx.Done()
		n.ended <- ctx.Err()
		return ctx.Err()
	}
	return nil
}

func (n *nodeCalls) Run(ctx context.Context, in RunRequest, t Terminal) (int, error) {
	if in.Assignment == nil || in.Assignment.Env["A"] != "b" {
		return 0, errors.New("no assignment")
	}
	return echoCommand(ctx, t)
}

func (n *nodeCalls) Exec(ctx context.Context, _ ExecRequest, _ Terminal) (int, error) {
	<-ctx.Done()
	n.ended <- ctx.Err()
	return 0, ctx.Err()
}

// cable is a connection that can be cut without either end being told.
type cable struct {
	net.Conn
	cut  chan struct{} // closed by the test
	gone chan struct{} // closed by Close
	once sync.Once
}

func newCable(c net.Conn) *cable {
	return &cable{Conn: c, cut: make(chan struct{}), gone: make(chan struct{})}
}

func (c *cable) isCut() bool {
	select {
	case <-c.cut:
		return true
	default:
		return false
	}
}

func (c *cable) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.isCut() {
		<-c.gone
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *cable) Write(p []byte) (int, error) {
	if c.isCut() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *cable) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

// link is one session, both ends running.
type link struct {
	cable  *cable
	agent  *AgentSession
	calls  *nodeCalls
	got    chan Desired
	server chan error // how Serve ended
	run    chan error // how Run ended
	stop   context.CancelFunc
	delay  func() // called by desired before it returns
}

// connect opens a session of testNode and runs it.
func connect(t *testing.T, s *SessionServer, change ...func(*link)) *link {
	t.Helper()
	ours, theirs := net.Pipe()
	l := &link{cable: newCable(ours), calls: &nodeCalls{ended: make(chan error, 10)}, got: make(chan Desired, 100),
		server: make(chan error, 1), run: make(chan error, 1), delay: func() {}}
	for _, f := range change {
		f(l)
	}
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	go func() { l.server <- s.Serve(ctx, theirs, Peer{testNode, identity.RoleServer}) }()
	agent, err := NewAgentSession(ctx, SessionConfig{Conn: l.cable, Hello: Hello{Node: cluster.Node{ID: testNode, Name: "one"},
		Observed: []Observed{{ID: "a-1"}}}, Calls: l.calls, Logger: slog.New(slog.DiscardHandler),
		Space: func() []cluster.Space { return []cluster.Space{{Path: "/data", TotalBytes: 10, FreeBytes: 1}} }})
	if err != nil {
		t.Fatal(err)
	}
	l.agent = agent
	go func() {
		l.run <- agent.Run(ctx, func(d Desired) {
			l.got <- d
			l.delay()
		})
	}()
	return l
}

func newSessionServer(w *world) *SessionServer {
	return NewSessionServer(SessionServerConfig{Events: w, Calls: w, Logger: slog.New(slog.DiscardHandler)})
}

func checkServerCalls(t *testing.T, c ServerCalls) {
	t.Helper()
	ctx := t.Context()
	if _, _, err := c.LoadFile(ctx, "k"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: got %v", err)
	}
	big := strings.Repeat("x", 1<<20)
	if err := c.StoreFile(ctx, "k", []byte(big)); err != nil {
		t.Error(err)
	}
	if v, at, err := c.LoadFile(ctx, "k"); string(v) != big || !at.Equal(time.Unix(1e9, 5)) || err != nil {
		t.Errorf("load: got %d bytes, %v, %v", len(v), at, err)
	}
	if got, err := c.ListFiles(ctx, ""); !slices.Equal(got, []string{"a", "b"}) || err != nil {
		t.Errorf("list: got %v, %v", got, err)
	}
	if err := c.DeleteFile(ctx, "k"); err != nil {
		t.Error(err)
	}
	if err := c.Lock(ctx, "x", "me", time.Minute); cluster.KindOf(err) != cluster.KindConflict || err.Error() != "lock x is held" {
		t.Errorf("lock: got %v", err)
	}
	if got, err := c.SignEdge(ctx, []byte("csr")); string(got) != "signed csr" || err != nil {
		t.Errorf("sign: got %q, %v", got, err)
	}
}

// checkPatience needs a clock that runs.
func checkPatience(t *testing.T, c ServerCalls) {
	t.Helper()
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.Lock(short, "wait", "me", time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call that waits: got %v", err)
	}
}

func checkNodeCalls(t *testing.T, node NodeCalls, calls *nodeCalls) {
	t.Helper()
	ctx := t.Context()
	var lines []string
	if err := node.Logs(ctx, LogsRequest{Lines: 300}, func(l LogLine) error { lines = append(lines, l.Text); return nil }); err != nil || len(lines) != 300 || lines[299] != "line 299" {
		t.Errorf("logs: got %d lines, %v", len(lines), err)
	}
	following, leave := context.WithCancel(ctx)
	if err := node.Logs(following, LogsRequest{Lines: 1, Follow: true}, func(LogLine) error { leave(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("follow: got %v", err)
	}
	if err := <-calls.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the node's follow ended with %v", err)
	}
	term := &console{in: make(chan Frame, 2)}
	term.in <- Frame{Kind: FrameStdin, Data: []byte(strings.Repeat("y", 2*maxFrameData))}
	term.in <- Frame{Kind: FrameEOF}
	code, err := node.Run(ctx, RunRequest{Assignment: &Assignment{Env: map[string]cluster.Redacted{"A": "b"}}}, term)
	if err != nil || code != 7 || term.out.Len() != 2*maxFrameData || term.err.String() != "bye" {
		t.Errorf("run: got %d, %v, %d bytes, %q", code, err, term.out.Len(), term.err.String())
	}
	if _, err := node.Run(ctx, RunRequest{}, &console{}); cluster.KindOf(err) != cluster.KindInternal || err.Error() != "no assignment" {
		t.Errorf("run: got %v, want the node's own words", err)
	}
	term = &console{in: make(chan Frame)}
	close(term.in) // the caller is gone
	if _, err := node.Exec(ctx, ExecRequest{}, term); !errors.Is(err, io.EOF) {
		t.Errorf("exec: got %v", err)
	}
	if err := <-calls.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the node's exec ended with %v", err)
	}
}
