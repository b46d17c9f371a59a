package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"paas/api"
	"paas/builder"
	"paas/cluster"
	"paas/identity"
)

// TestMain is also git's hook: the hook is a link to this binary.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "pre-receive" {
		os.Exit(GitHook(os.Args, os.Stdin, os.Stdout))
	}
	// The registry's library starts one that it never ends.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/docker/go-events.(*Broadcaster).run"))
}

// host is a whole server with a scripted agent on it.
type host struct {
	t      testing.TB
	name   string
	listen string
	dir    string
	images *stubImages
	agent  *stubAgent
	log    *syncBuffer

	server *Server
	client *api.Client
	token  string
	stop   func()
	ends   func() error // waits until the server ends by itself

	stopAgent func()
}

// newHost starts a server in a fresh directory, with an agent.
func newHost(t testing.TB) *host {
	t.Helper()
	return newHostWith(t, nil)
}

// newHostWith is newHost with something that keeps images.
func newHostWith(t testing.TB, images func(*stubImages, builder.Config) (Images, error)) *host {
	t.Helper()
	h := &host{t: t, name: "node-1", listen: "127.0.0.1:0", dir: filepath.Join(t.TempDir(), "data"), images: &stubImages{real: images}, agent: newStubAgent(t), log: &syncBuffer{}}
	t.Cleanup(func() {
		if h.stop != nil {
			h.stop()
		}
		if t.Failed() {
			t.Logf("the server said:\n%s", h.log)
		}
	})
	h.start()
	token, err := h.server.NewAdminToken(t.Context(), "tester")
	if err != nil {
		t.Fatal(err)
	}
	h.token = token
	h.client = h.as(token)
	h.await("the node is up", func() bool {
		nodes, err := h.client.Nodes(t.Context())
		return err == nil && len(nodes) == 1 && nodes[0].State == cluster.NodeUp
	})
	return h
}

// start runs a server on the directory, with the agent's replicas as they are.
func (h *host) start() {
	h.t.Helper()
	s, err := New(Config{Dir: h.dir, Listen: h.listen, Name: h.name, Zone: "a", Version: "test", PublicHTTPS: 8443,
		Logger: slog.New(slog.NewTextHandler(h.log, nil)), images: h.images.open})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.ServeTunnels(func(ctx context.Context, conn *tls.Conn, _ api.Peer) {
		<-ctx.Done() // whoever is served waits
		_ = conn.Close()
	})
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	h.server = s
	h.ends = func() error { // by itself
		defer h.stopAgent()
		defer cancel()
		h.stop = nil
		select {
		case err := <-done:
			return err
		case <-time.After(30 * time.Second):
			return errors.New("it does not end")
		}
	}
	h.wait("the server is ready", s.Ready())
	h.startAgent()
	h.stop = func() {
		h.t.Helper()
		h.stop = nil
		cancel()
		select {
		case err := <-done:
			if err != nil {
				h.t.Errorf("the server ended with: %v", err)
			}
		case <-time.After(30 * time.Second):
			h.t.Fatal("the server did not stop")
		}
		h.stopAgent() // it outlives the server, as it does on another host
	}
	if h.token != "" {
		h.client = h.as(h.token)
	}
}

// startAgent gives the node an agent, with the replicas that are there.
func (h *host) startAgent() {
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	go func() { defer close(gone); h.agent.run(ctx, h.server) }()
	h.stopAgent = func() {
		cancel()
		<-gone
	}
}

// restart is a power cut for the server; containers run on.
func (h *host) restart() {
	h.t.Helper()
	h.stop()
	h.start()
}

// as returns a client with another token.
func (h *host) as(token string) *api.Client {
	h.t.Helper()
	c, err := api.NewClient(api.ClientConfig{URL: "https://" + h.server.Addr().String(), Token: cluster.Redacted(token),
		TLS: identity.PinnedConfig(h.server.CAPEM()), Version: "test"})
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

func (h *host) wait(what string, c <-chan struct{}) {
	h.t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		h.t.Fatalf("waited in vain: %s\n%s", what, h.log)
	}
}

// await waits until cond holds, looking again at every change of the state.
func (h *host) await(what string, cond func() bool) {
	h.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		changed := h.server.store.Changed(h.server.store.State().Index())
		if cond() {
			return
		}
		tick := time.NewTimer(20 * time.Millisecond)
		select {
		case <-changed:
		case <-tick.C:
		case <-deadline:
			h.t.Fatalf("waited in vain: %s", what)
		}
		tick.Stop()
	}
}

func (h *host) createApp(name cluster.AppName) {
	h.t.Helper()
	if _, err := h.client.CreateApp(h.t.Context(), api.CreateApp{Name: name}); err != nil {
		h.t.Fatal(err)
	}
}

// deploy sends a source tree and returns what was told meanwhile.
func (h *host) deploy(app cluster.AppName, files map[string]string) (*api.DeployResult, *news, error) {
	return h.deployCtx(h.t.Context(), app, files)
}

func (h *host) deployCtx(ctx context.Context, app cluster.AppName, files map[string]string) (*api.DeployResult, *news, error) {
	n := &news{}
	res, err := h.client.DeploySource(ctx, app, api.DeploySource{Archive: archive(h.t, files)}, n.add)
	return res, n, err
}

func (h *host) mustDeploy(app cluster.AppName, files map[string]string) *api.DeployResult {
	h.t.Helper()
	res, n, err := h.deploy(app, files)
	if err != nil {
		h.t.Fatalf("deploy: %v\n%s", err, n)
	}
	return res
}

// news collects progress.
type news struct {
	mu   sync.Mutex
	list []api.Progress
}

func (n *news) add(p api.Progress) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, p)
}

// String is the news as a pusher sees it.
func (n *news) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var b strings.Builder
	for _, p := range n.list {
		api.RenderPlain(&b, p)
	}
	return b.String()
}

func (n *news) last() api.Progress {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) == 0 {
		return api.Progress{}
	}
	return n.list[len(n.list)-1]
}

// stubImages "builds" what a file named Procfile says: one line per process, whose
// command is a script for stubAgent. A file named "build" can make it fail or wait.
type stubImages struct {
	mu       sync.Mutex
	retained map[cluster.Image]bool
	trimmed  int
	// real makes what keeps images; nil keeps none.
	real     func(*stubImages, builder.Config) (Images, error)
	building chan string // if set, told the app of each build that begins to wait
}

func (s *stubImages) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (s *stubImages) Endpoint() cluster.RegistryEndpoint {
	return cluster.RegistryEndpoint{Address: "127.0.0.1:5000", Username: "paas", Password: "secret"}
}

func (s *stubImages) Retain(_ context.Context, keep map[cluster.Image]bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retained = keep
	return nil
}

// open stands for builder.New.
func (s *stubImages) open(c builder.Config) (Images, error) {
	if s.real != nil {
		return s.real(s, c)
	}
	return s, nil
}

func (s *stubImages) Hold(map[cluster.Image]bool) {}

func (s *stubImages) Ensure(context.Context, cluster.Image) error { return nil }

func (s *stubImages) Contents() http.Handler { return http.NotFoundHandler() }

func (s *stubImages) Trim(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trimmed++
	return nil
}

func (s *stubImages) Build(ctx context.Context, r builder.Request) (*builder.Result, error) {
	r.Step("Stub app detected")
	source := "web: ok\n"
	if r.Dir != "" {
		data, err := os.ReadFile(filepath.Join(r.Dir, "Procfile"))
		if err != nil {
			return nil, cluster.Errorf(cluster.KindBuildFailed, "build.procfile", "the app was not built").Because("there is no Procfile")
		}
		source = string(data)
	}
	_, _ = fmt.Fprintf(r.Log, "compiling %s\n\x1b[31mred\x1b[0m\n", r.App)
	mode, _ := os.ReadFile(filepath.Join(r.Dir, "build"))
	switch strings.TrimSpace(string(mode)) {
	case "fail":
		return nil, cluster.Errorf(cluster.KindBuildFailed, "build.failed", "the app was not built").Because("main.go:3: syntax error")
	case "wait":
		if s.building != nil {
			s.building <- string(r.App)
		}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	procs, err := builder.ParseProcfile([]byte(source))
	if err != nil {
		return nil, err
	}
	out := &builder.Result{Method: "stub", Reason: "Procfile found", Processes: map[cluster.ProcessType]cluster.Process{},
		Rollout: cluster.Rollout{MinHealthy: time.Millisecond, Drain: 2 * time.Second},
		Env:     map[string]cluster.Redacted{"FROM_APP_JSON": "yes"}, Phases: map[string]time.Duration{"push": time.Millisecond},
		Image: cluster.Image{Repository: "apps/" + string(r.App), Digest: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(source)))}}
	for t, command := range procs {
		p := cluster.Process{Command: strings.Fields(strings.TrimPrefix(fmt.Sprint(command), "")), MemoryBytes: 64 << 20, CPUMilli: 50}
		if t == cluster.ProcessWeb {
			p.Port, p.Check = 8080, cluster.Check{Kind: cluster.CheckTCP}
		}
		out.Processes[t] = p
	}
	return out, nil
}

// stubAgent runs scripts in place of containers. A process's command says what
// becomes of its replicas:
//
//	ok            healthy at once
//	crash CODE    exits with CODE at once, and says why
//	boot          starting until its gate is opened
//
// As a release or one-off command: "ok", "exit CODE", "hang", "echo", "env KEY".
type stubAgent struct {
	t    testing.TB
	node *identity.Node // nil: the server's own
	zone string
	mu   sync.Mutex
	runs int
	have map[cluster.AllocationID]*stubReplica
	open map[string]bool // gates
	sess *api.AgentSession
}

type stubReplica struct {
	a   api.Assignment
	obs cluster.Observation
	log []string
}

func newStubAgent(t testing.TB) *stubAgent {
	return &stubAgent{t: t, have: map[cluster.AllocationID]*stubReplica{}, open: map[string]bool{}}
}

// run keeps a session with s until ctx ends.
func (a *stubAgent) run(ctx context.Context, s *Server) {
	for ctx.Err() == nil {
		if err := a.connect(ctx, s); err != nil && ctx.Err() == nil {
			a.t.Logf("agent: session ended: %v", err)
			_ = pause(ctx, 50*time.Millisecond)
		}
	}
}

func (a *stubAgent) connect(ctx context.Context, s *Server) error {
	node, name, zone := s.Node(), s.cfg.Name, "a"
	if a.node != nil {
		node, name, zone = a.node, "agent-"+string(a.node.ID), a.zone
	}
	d := tls.Dialer{Config: node.ClientConfig(api.ALPNSession)}
	conn, err := d.DialContext(ctx, "tcp", s.Addr().String())
	if err != nil {
		return err
	}
	sess, err := api.NewAgentSession(ctx, api.SessionConfig{Conn: conn, Calls: a, Logger: slog.New(slog.DiscardHandler), Hello: api.Hello{
		Node: cluster.Node{ID: node.ID, Name: name, Zone: zone, Router: a.node == nil, Apps: true, Address: s.Addr().String(),
			Arch: "amd64", MemoryBytes: 1 << 30, CPUMilli: 4000},
		Observed: a.observed(nil)}})
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.sess = sess
	a.mu.Unlock()
	_ = sess.Report(a.observed(nil)) // what changed since the hello
	return sess.Run(ctx, func(d api.Desired) {
		if d.Assignments != nil {
			_ = sess.Report(a.reconcile(d.Assignments.Assignments))
		}
		if d.Routes != nil {
			_ = sess.ReportRouter(cluster.RouterStatus{Index: d.Routes.Index})
		}
	})
}

// session is the one that the agent has now. A server may know of it before the
// agent does.
func (h *host) session() *api.AgentSession {
	h.t.Helper()
	var s *api.AgentSession
	h.await("the agent has a session", func() bool {
		h.agent.mu.Lock()
		defer h.agent.mu.Unlock()
		s = h.agent.sess
		return s != nil
	})
	return s
}

// observed is all, or the given replicas.
func (a *stubAgent) observed(ids []cluster.AllocationID) []api.Observed {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ids == nil {
		for id := range a.have {
			ids = append(ids, id)
		}
	}
	var out []api.Observed
	for _, id := range ids {
		if r := a.have[id]; r != nil {
			out = append(out, api.Observed{ID: id, Observation: r.obs, Log: r.log})
		}
	}
	return out
}

// reconcile makes what there is what there should be.
func (a *stubAgent) reconcile(want []api.Assignment) []api.Observed {
	a.mu.Lock()
	named := map[cluster.AllocationID]bool{}
	changed := []cluster.AllocationID{}
	for _, w := range want {
		named[w.ID] = true
		r := a.have[w.ID]
		if r == nil {
			r = &stubReplica{a: w}
			a.have[w.ID] = r
		}
		r.a = w
		was := r.obs
		a.play(r)
		if r.obs != was {
			changed = append(changed, w.ID)
		}
	}
	for id := range a.have {
		if !named[id] {
			delete(a.have, id)
		}
	}
	a.mu.Unlock()
	return a.observed(changed)
}

// play moves a replica on. The caller holds mu.
func (a *stubAgent) play(r *stubReplica) {
	if r.a.Desired == cluster.DesiredStop {
		r.obs = cluster.Observation{State: cluster.AllocationStopped, ContainerID: r.obs.ContainerID}
		return
	}
	script := strings.Join(r.a.Process.Command, " ")
	verb, arg, _ := strings.Cut(script, " ")
	if r.obs.ContainerID == "" {
		r.obs = cluster.Observation{State: cluster.AllocationStarting, ContainerID: "c-" + string(r.a.ID), StartedAt: time.Now().UTC()}
	}
	switch {
	case verb == "fetch" && !a.open[arg]:
		r.obs = cluster.Observation{State: cluster.AllocationFailed, Reason: "its image is not in the registry"}
	case verb == "crash":
		var code int
		_, _ = fmt.Sscan(arg, &code)
		r.obs.State, r.obs.Restarts, r.obs.ExitCode = cluster.AllocationBackoff, 1, code
		r.obs.Reason = fmt.Sprintf("exited with code %d after 0.1s", code)
		r.log = []string{"starting up", "\x1b[31mcannot find module ./config/prod\x1b[0m"}
	case verb == "boot" && !a.open[arg]:
	case r.obs.State != cluster.AllocationHealthy:
		r.obs.State, r.obs.HealthySince = cluster.AllocationHealthy, time.Now().UTC()
		if r.a.Type == cluster.ProcessWeb {
			r.obs.Address = "127.0.0.1:8080"
		}
	}
}

// release opens a gate: replicas that boot behind it become healthy.
func (a *stubAgent) release(gate string) {
	a.mu.Lock()
	a.open[gate] = true
	var changed []cluster.AllocationID
	for id, r := range a.have {
		was := r.obs
		if a.play(r); r.obs != was {
			changed = append(changed, id)
		}
	}
	sess := a.sess
	a.mu.Unlock()
	if len(changed) > 0 {
		_ = sess.Report(a.observed(changed)) // the next session tells it all
	}
}

// running counts the replicas of an app that are not gone.
func (a *stubAgent) running(app cluster.AppName) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.have {
		if r.a.App == app && !r.obs.State.Terminal() {
			n++
		}
	}
	return n
}

// env returns what the instance of the newest release was given.
func (a *stubAgent) env(app cluster.AppName, instance string) (env map[string]cluster.Redacted) {
	a.mu.Lock()
	defer a.mu.Unlock()
	newest := cluster.ReleaseVersion(0)
	for _, r := range a.have {
		if r.a.App == app && r.a.Instance() == instance && r.a.Release > newest {
			newest, env = r.a.Release, r.a.Env
		}
	}
	return env
}

// ran is how many release and one-off commands were begun.
func (a *stubAgent) ran() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runs
}

// Logs implements api.NodeCalls.
func (a *stubAgent) Logs(ctx context.Context, in api.LogsRequest, send func(api.LogLine) error) error {
	a.mu.Lock()
	var lines []api.LogLine
	for _, id := range in.Allocations {
		if r := a.have[id]; r != nil {
			lines = append(lines, api.LogLine{At: r.obs.StartedAt, Instance: r.a.Instance(), Source: "app", Text: "hello from " + r.a.Instance()})
		}
	}
	a.mu.Unlock()
	for _, l := range lines {
		if err := send(l); err != nil {
			return err
		}
	}
	if in.Follow {
		<-ctx.Done()
	}
	return nil
}

// Exec implements api.NodeCalls.
func (a *stubAgent) Exec(ctx context.Context, in api.ExecRequest, t api.Terminal) (int, error) {
	return a.command(ctx, in.Command, map[string]cluster.Redacted{"ALLOCATION": cluster.Redacted(in.Allocation)}, t)
}

// Run implements api.NodeCalls.
func (a *stubAgent) Run(ctx context.Context, in api.RunRequest, t api.Terminal) (int, error) {
	a.mu.Lock()
	a.runs++
	a.mu.Unlock()
	return a.command(ctx, in.Assignment.Process.Command, in.Assignment.Env, t)
}

func (a *stubAgent) command(ctx context.Context, argv []string, env map[string]cluster.Redacted, t api.Terminal) (int, error) {
	say := func(s string) { _ = t.Send(ctx, api.Frame{Kind: api.FrameStdout, Data: []byte(s + "\n")}) }
	switch argv[0] {
	case "ok":
		say("migrated")
		return 0, nil
	case "exit":
		var code int
		_, _ = fmt.Sscan(argv[1], &code)
		say("relation users does not exist")
		return code, nil
	case "env":
		say(env[argv[1]].Reveal())
		return 0, nil
	case "hang":
		say("migrating")
		<-ctx.Done()
		return 0, ctx.Err()
	case "cat":
		for {
			f, err := t.Recv(ctx)
			if errors.Is(err, io.EOF) || f.Kind == api.FrameEOF {
				return 0, nil
			}
			if err != nil {
				return 0, err
			}
			_ = t.Send(ctx, api.Frame{Kind: api.FrameStdout, Data: f.Data})
		}
	}
	return 127, nil
}

// syncBuffer is a log that a test reads while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var _ net.Listener = (*handover)(nil)
