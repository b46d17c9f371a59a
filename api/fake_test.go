package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
)

// fake is every service, in memory, for the tests of the wire alone. What a test
// does not set answers with something small.
type fake struct {
	mu    sync.Mutex
	calls []string // guarded by mu
	actor Actor    // of the last call; guarded by mu

	err      error // returned by every plain call
	deploy   func(ctx context.Context, in DeploySource, report func(Progress)) (*DeployResult, error)
	follow   func(ctx context.Context, since uint64, send func(cluster.Event) error) error
	logs     func(ctx context.Context, in LogsRequest, send func(LogLine) error) error
	run      func(ctx context.Context, in RunRequest, t Terminal) (int, error)
	exec     func(ctx context.Context, in ExecRequest, t Terminal) (int, error)
	buildLog func(ctx context.Context, w io.Writer) error
	config   ChangeConfig
	image    DeployImage
}

func (f *fake) called(ctx context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
	f.actor = ActorFrom(ctx)
	return f.err
}

func (f *fake) lastActor() Actor {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.actor
}

func (f *fake) lastCall() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.calls) == 0 {
		return ""
	}
	return f.calls[len(f.calls)-1]
}

func (f *fake) info(app cluster.AppName) *AppInfo {
	return &AppInfo{App: cluster.App{Name: app, Config: map[string]cluster.Secret{"KEY": {Key: "k", Box: []byte("sealed box")}}},
		URL: "https://" + string(app) + ".localhost"}
}

func (f *fake) CreateApp(ctx context.Context, in CreateApp) (*AppInfo, error) {
	return f.info(in.Name), f.called(ctx, "CreateApp")
}
func (f *fake) UpdateApp(ctx context.Context, app cluster.AppName, _ UpdateApp) (*AppInfo, error) {
	return f.info(app), f.called(ctx, "UpdateApp "+string(app))
}
func (f *fake) Apps(ctx context.Context) ([]AppInfo, error) { return nil, f.called(ctx, "Apps") }
func (f *fake) App(ctx context.Context, app cluster.AppName) (*AppInfo, error) {
	return f.info(app), f.called(ctx, "App "+string(app))
}
func (f *fake) DestroyApp(ctx context.Context, app, confirm cluster.AppName) error {
	return f.called(ctx, "DestroyApp "+string(app)+" "+string(confirm))
}
func (f *fake) Processes(ctx context.Context, app cluster.AppName) (*ProcessList, error) {
	return &ProcessList{App: app}, f.called(ctx, "Processes "+string(app))
}
func (f *fake) Scale(ctx context.Context, app cluster.AppName, _ Scale) (*ProcessList, error) {
	return &ProcessList{App: app}, f.called(ctx, "Scale "+string(app))
}
func (f *fake) Restart(ctx context.Context, app cluster.AppName, _ Restart) error {
	return f.called(ctx, "Restart "+string(app))
}
func (f *fake) Settle(ctx context.Context, app cluster.AppName, types []cluster.ProcessType, report func(Progress)) error {
	report(Progress{Kind: ProgressInstance, Instance: &InstanceNews{Name: "web.1", State: cluster.AllocationHealthy}})
	return f.called(ctx, fmt.Sprint("Settle ", app, " ", types))
}
func (f *fake) Config(ctx context.Context, app cluster.AppName) (*ConfigList, error) {
	return &ConfigList{App: app, Keys: []ConfigKey{{Key: "A"}}}, f.called(ctx, "Config "+string(app))
}
func (f *fake) ConfigValue(ctx context.Context, app cluster.AppName, key string) (*ConfigValue, error) {
	return &ConfigValue{Key: key, Value: "revealed"}, f.called(ctx, "ConfigValue "+string(app)+" "+key)
}
func (f *fake) ChangeConfig(ctx context.Context, app cluster.AppName, in ChangeConfig) (*DeployResult, error) {
	f.config = in
	return &DeployResult{App: app, Release: 2}, f.called(ctx, "ChangeConfig "+string(app))
}
func (f *fake) Releases(ctx context.Context, app cluster.AppName, limit int) ([]cluster.Release, error) {
	return make([]cluster.Release, limit), f.called(ctx, "Releases "+string(app))
}
func (f *fake) Release(ctx context.Context, app cluster.AppName, v cluster.ReleaseVersion) (*cluster.Release, error) {
	return &cluster.Release{Version: v}, f.called(ctx, "Release "+string(app)+" "+v.String())
}
func (f *fake) Rollback(ctx context.Context, app cluster.AppName, _ Rollback) (*DeployResult, error) {
	return &DeployResult{App: app}, f.called(ctx, "Rollback "+string(app))
}
func (f *fake) DeploySource(ctx context.Context, app cluster.AppName, in DeploySource, report func(Progress)) (*DeployResult, error) {
	if f.deploy != nil {
		return f.deploy(ctx, in, report)
	}
	return &DeployResult{}, f.called(ctx, "DeploySource "+string(app))
}
func (f *fake) DeployImage(ctx context.Context, app cluster.AppName, in DeployImage, _ func(Progress)) (*DeployResult, error) {
	f.image = in
	return &DeployResult{Release: 3}, f.called(ctx, "DeployImage "+string(app))
}
func (f *fake) WatchDeployment(ctx context.Context, app cluster.AppName, id cluster.DeploymentID, _ func(Progress)) error {
	return f.called(ctx, "WatchDeployment "+string(app)+" "+string(id))
}
func (f *fake) Deployments(ctx context.Context, app cluster.AppName) ([]cluster.Deployment, error) {
	return nil, f.called(ctx, "Deployments "+string(app))
}
func (f *fake) CancelDeployment(ctx context.Context, app cluster.AppName, id cluster.DeploymentID) error {
	return f.called(ctx, "CancelDeployment "+string(app)+" "+string(id))
}
func (f *fake) Builds(ctx context.Context, app cluster.AppName) ([]cluster.Build, error) {
	return nil, f.called(ctx, "Builds "+string(app))
}
func (f *fake) Build(ctx context.Context, app cluster.AppName, id cluster.BuildID) (*cluster.Build, error) {
	return &cluster.Build{App: app, ID: id}, f.called(ctx, "Build "+string(app)+" "+string(id))
}
func (f *fake) BuildLog(ctx context.Context, app cluster.AppName, _ cluster.BuildID, w io.Writer) error {
	if f.buildLog != nil {
		return f.buildLog(ctx, w)
	}
	_, _ = io.WriteString(w, "step one\n")
	return f.called(ctx, "BuildLog "+string(app))
}
func (f *fake) CancelBuild(ctx context.Context, app cluster.AppName, id cluster.BuildID) error {
	return f.called(ctx, "CancelBuild "+string(app)+" "+string(id))
}
func (f *fake) Logs(ctx context.Context, in LogsRequest, send func(LogLine) error) error {
	if f.logs != nil {
		return f.logs(ctx, in, send)
	}
	return f.called(ctx, "Logs "+string(in.App))
}
func (f *fake) Run(ctx context.Context, in RunRequest, t Terminal) (int, error) {
	return f.run(ctx, in, t)
}
func (f *fake) Exec(ctx context.Context, in ExecRequest, t Terminal) (int, error) {
	return f.exec(ctx, in, t)
}
func (f *fake) Domains(ctx context.Context, app cluster.AppName) ([]DomainInfo, error) {
	return nil, f.called(ctx, "Domains "+string(app))
}
func (f *fake) AddDomain(ctx context.Context, app cluster.AppName, in AddDomain) (*DomainInfo, error) {
	return &DomainInfo{Domain: cluster.Domain{Host: in.Host, App: app}}, f.called(ctx, "AddDomain "+string(app))
}
func (f *fake) RemoveDomain(ctx context.Context, app cluster.AppName, host cluster.Hostname) error {
	return f.called(ctx, "RemoveDomain "+string(app)+" "+string(host))
}
func (f *fake) Volumes(ctx context.Context, app cluster.AppName) ([]VolumeInfo, error) {
	return nil, f.called(ctx, "Volumes "+string(app))
}
func (f *fake) Volume(ctx context.Context, app cluster.AppName, name cluster.VolumeName) (*VolumeInfo, error) {
	return &VolumeInfo{}, f.called(ctx, "Volume "+string(app)+" "+string(name))
}
func (f *fake) CreateVolume(ctx context.Context, app cluster.AppName, in CreateVolume) (*VolumeInfo, error) {
	return &VolumeInfo{}, f.called(ctx, "CreateVolume "+string(app)+" "+string(in.Name))
}
func (f *fake) AttachVolume(ctx context.Context, app cluster.AppName, name cluster.VolumeName, in AttachVolume) (*VolumeInfo, error) {
	return &VolumeInfo{}, f.called(ctx, "AttachVolume "+string(app)+" "+string(name)+" "+in.Path)
}
func (f *fake) DetachVolume(ctx context.Context, app cluster.AppName, name cluster.VolumeName) error {
	return f.called(ctx, "DetachVolume "+string(app)+" "+string(name))
}
func (f *fake) DestroyVolume(ctx context.Context, app cluster.AppName, name, confirm cluster.VolumeName) error {
	return f.called(ctx, "DestroyVolume "+string(app)+" "+string(name)+" "+string(confirm))
}
func (f *fake) Events(ctx context.Context, app cluster.AppName, _ int) ([]cluster.Event, error) {
	return nil, f.called(ctx, "Events "+string(app))
}
func (f *fake) FollowEvents(ctx context.Context, app cluster.AppName, since uint64, send func(cluster.Event) error) error {
	if f.follow != nil {
		return f.follow(ctx, since, send)
	}
	return f.called(ctx, "FollowEvents "+string(app))
}
func (f *fake) Nodes(ctx context.Context) ([]NodeInfo, error) { return nil, f.called(ctx, "Nodes") }
func (f *fake) Node(ctx context.Context, node string) (*NodeDetail, error) {
	return &NodeDetail{}, f.called(ctx, "Node "+node)
}
func (f *fake) UpdateNode(ctx context.Context, node string, in UpdateNode) (*NodeDetail, error) {
	return &NodeDetail{}, f.called(ctx, fmt.Sprint("UpdateNode ", node, " ", in.Schedule, " ", in.SetLabels, " ", in.UnsetLabels))
}
func (f *fake) RemoveNode(ctx context.Context, node string, in RemoveNode) (*NodeInfo, error) {
	return &NodeInfo{}, f.called(ctx, fmt.Sprint("RemoveNode ", node, " ", in.Force))
}
func (f *fake) WatchDrain(ctx context.Context, node string, _ func(Progress)) error {
	return f.called(ctx, "WatchDrain "+node)
}
func (f *fake) CreateToken(ctx context.Context, in CreateToken) (*NewToken, error) {
	return &NewToken{Token: cluster.Token{Name: in.Name, Scope: in.Scope}, Text: "paas_x"}, f.called(ctx, "CreateToken")
}
func (f *fake) Tokens(ctx context.Context) ([]cluster.Token, error) {
	return nil, f.called(ctx, "Tokens")
}
func (f *fake) RevokeToken(ctx context.Context, id cluster.TokenID) error {
	return f.called(ctx, "RevokeToken "+string(id))
}
func (f *fake) Login(ctx context.Context, in Login) (*NewToken, error) {
	return &NewToken{Token: cluster.Token{Name: in.Name}, Text: "paas_y"}, f.called(ctx, "Login")
}
func (f *fake) Whoami(ctx context.Context) (*Actor, error) {
	a := ActorFrom(ctx)
	return &a, f.called(ctx, "Whoami")
}
func (f *fake) CreateJoin(ctx context.Context, in CreateJoin) (*NewJoin, error) {
	return &NewJoin{Join: cluster.Join{Server: in.Role == identity.RoleServer}, Text: "paas://x"}, f.called(ctx, "CreateJoin")
}
func (f *fake) Joins(ctx context.Context) ([]cluster.Join, error) {
	return nil, f.called(ctx, "Joins")
}
func (f *fake) RevokeJoin(ctx context.Context, id cluster.TokenID) error {
	return f.called(ctx, "RevokeJoin "+string(id))
}
func (f *fake) Join(ctx context.Context, in JoinRequest) (*Joined, error) {
	if in.Secret != "good" {
		return nil, cluster.Errorf(cluster.KindUnauthenticated, "join", "the join string is not good")
	}
	return &Joined{Node: "aaaaaaaaaaaaaaaa"}, f.called(ctx, "Join "+in.Name)
}
func (f *fake) Status(ctx context.Context) (*ClusterStatus, error) {
	return &ClusterStatus{ID: "c"}, f.called(ctx, "Status")
}
func (f *fake) Export(ctx context.Context, w io.Writer) error {
	_, _ = io.WriteString(w, `{"index":1}`)
	return f.called(ctx, "Export")
}
func (f *fake) Backup(ctx context.Context, pass cluster.Redacted, w io.Writer) error {
	_, _ = io.WriteString(w, "backup with "+pass.Reveal())
	return f.called(ctx, "Backup")
}

// Tokens of the tests, and what they stand for.
var testActors = map[string]Actor{
	"admin":  {Name: "admin", Scope: cluster.ScopeAdmin},
	"deploy": {Name: "deploy", Scope: cluster.ScopeDeploy},
	"read":   {Name: "read", Scope: cluster.ScopeRead},
	"none":   {Name: "none", Scope: cluster.ScopeNone},
	"blog":   {Name: "blog", Scope: cluster.ScopeAdmin, Apps: []cluster.AppName{"blog"}},
	"shop":   {Name: "shop", Scope: cluster.ScopeAdmin, Apps: []cluster.AppName{"shop"}},
	"once":   {Name: "once", Scope: cluster.ScopeAdmin, Once: true},
}

func testAuthenticate(_ context.Context, bearer string) (Actor, error) {
	if a, ok := testActors[bearer]; ok {
		return a, nil
	}
	return Actor{}, cluster.Errorf(cluster.KindUnauthenticated, "token", "no such token")
}

// server is the real handler over real TLS and HTTP/2, in front of a fake.
type server struct {
	*httptest.Server
	fake   *fake
	routes []Route
	log    *lockedBuffer
}

// lockedBuffer is a log that tests may read while the server writes.
type lockedBuffer struct {
	mu      sync.Mutex
	buf     bytes.Buffer  // guarded by mu
	changed chan struct{} // guarded by mu; closed and replaced by every write
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return b.buf.Write(p)
}

// await waits until the log tells about what: it is written beside the answer.
func (b *lockedBuffer) await(t testing.TB, what string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !strings.Contains(b.String(), what) {
		b.mu.Lock()
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		if strings.Contains(b.String(), what) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the log does not tell about %q: %s", what, b)
		}
	}
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{fake: &fake{}, log: &lockedBuffer{}}
	git := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "git "+r.URL.Path) })
	h, routes, err := NewHandler(HandlerConfig{Services: servicesOf(s.fake), Authenticate: testAuthenticate, Git: git, Version: "test",
		Logger: slog.New(slog.NewTextHandler(s.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	s.routes = routes
	s.Server = httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	ctx, cancel := context.WithCancel(context.Background())
	s.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	s.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelDebug)
	s.StartTLS()
	t.Cleanup(func() {
		cancel()
		s.Server.Close()
	})
	return s
}

func servicesOf(f *fake) Services { return Services{f, f, f, f, f, f, f, f, f, f, f, f, f, f, f} }

// client is the real client, as the holder of token.
func (s *server) client(t testing.TB, token string) *Client {
	t.Helper()
	c, err := NewClient(ClientConfig{URL: s.URL, Token: cluster.Redacted(token),
		TLS: s.Server.Client().Transport.(*http.Transport).TLSClientConfig})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// await fails the test when what never comes.
func await[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("waited 10s for %s", what)
		panic("unreachable")
	}
}
