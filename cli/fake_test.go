package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

// fake is every service in memory, behind the real handler: small, but what it
// is told it remembers.
type fake struct {
	mu     sync.Mutex
	apps   map[cluster.AppName]*api.AppInfo // guarded by mu
	config map[string]string                // likewise
	web    int                              // likewise
	asked  chan struct{}                    // likewise; closed when somebody saw what the queue waits for
	looks  int                              // likewise
}

// born is when everything in the fake happened.
var born = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const (
	fakeToken = "paas_0123456789ab_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	fakeJoin  = "paas://192.0.2.10:7443?ca=sha256:0000000000000000000000000000000000000000000000000000000000000000&token=0123456789ab_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	onceToken = "paas_ba9876543210_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// newFake serves a cluster with the app "blog".
func newFake() (*httptest.Server, error) {
	h, err := fakeHandler()
	if err != nil {
		return nil, err
	}
	return httptest.NewServer(h), nil
}

func fakeHandler() (http.Handler, error) {
	f := &fake{apps: map[cluster.AppName]*api.AppInfo{}, config: map[string]string{"LOG_LEVEL": "info"}, web: 2}
	f.apps["blog"] = f.info("blog")
	h, _, err := api.NewHandler(api.HandlerConfig{Logger: slog.New(slog.DiscardHandler), Version: "test", Services: api.Services{
		Apps: f, Processes: f, Config: f, Releases: f, Deploys: f, Builds: f, Logs: f, Terminals: f, Domains: f, Volumes: f, Events: f, Nodes: f, Tokens: f, Joins: f, Cluster: f},
		Authenticate: func(_ context.Context, bearer string) (api.Actor, error) {
			if bearer == onceToken {
				return api.Actor{Name: "console", Scope: cluster.ScopeAdmin, Once: true}, nil
			}
			if bearer != fakeToken {
				return api.Actor{}, cluster.Errorf(cluster.KindUnauthenticated, "token", "a valid token is needed").WithHint("log in with: paas login")
			}
			return api.Actor{Name: "maria", Scope: cluster.ScopeAdmin}, nil
		}})
	return h, err
}

func (f *fake) info(name cluster.AppName) *api.AppInfo {
	a := &api.AppInfo{App: cluster.App{Name: name, CreatedAt: born, CreatedBy: "maria"}, URL: "https://" + string(name) + ".localhost:8443",
		GitURL: "https://127.0.0.1:7443/git/" + string(name) + ".git", Domains: []cluster.Hostname{cluster.Hostname(string(name) + ".localhost")}}
	if name == "blog" {
		a.Current, a.Latest, a.Healthy, a.Wanted = 2, 3, 2, 2
		a.Release = f.release(2)
	}
	return a
}

func (f *fake) release(v cluster.ReleaseVersion) *cluster.Release {
	return &cluster.Release{App: "blog", Version: v, CreatedAt: born, CreatedBy: "maria", Description: "Deploy 4f2c9e1", State: cluster.ReleaseSucceeded,
		Image: cluster.Image{Repository: "apps/blog", Digest: "sha256:77ab"}, Commit: "4f2c9e1", Build: "b-7",
		Config:    map[string]cluster.Secret{"LOG_LEVEL": {Key: "k", Box: []byte("x")}},
		Processes: map[cluster.ProcessType]cluster.Process{"web": {Command: []string{"/bin/sh", "-c", "node server.js"}, MemoryBytes: 256 << 20, Check: cluster.Check{Kind: cluster.CheckTCP}}}}
}

func (f *fake) CreateApp(_ context.Context, in api.CreateApp) (*api.AppInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if in.Name == "" {
		in.Name = "misty-lake-1"
	}
	if f.apps[in.Name] != nil {
		return nil, cluster.Conflict("app_name", "app name %s is taken", in.Name)
	}
	f.apps[in.Name] = f.info(in.Name)
	return f.apps[in.Name], nil
}

func (f *fake) UpdateApp(ctx context.Context, app cluster.AppName, in api.UpdateApp) (*api.AppInfo, error) {
	a, err := f.App(ctx, app)
	if err == nil {
		a.DeployBranch = *in.DeployBranch
	}
	return a, err
}

func (f *fake) Apps(context.Context) ([]api.AppInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []api.AppInfo
	for _, name := range sortedKeys(f.apps) {
		out = append(out, *f.apps[name])
	}
	return out, nil
}

func (f *fake) App(_ context.Context, app cluster.AppName) (*api.AppInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.apps[app]; a != nil {
		if f.asked != nil {
			if f.looks++; f.looks == 2 { // the first may still be on its way to who waits
				close(f.asked)
				f.asked = nil
			}
		}
		return a, nil
	}
	e := cluster.NotFound("app", "no app %q", app)
	if near := cluster.Nearest(string(app), []string{"blog"}); len(near) > 0 {
		e = e.Because("nearest: %s", near[0])
	}
	return nil, e.WithHint("list them with: paas apps")
}

func (f *fake) DestroyApp(_ context.Context, app, _ cluster.AppName) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.apps, app)
	return nil
}

func (f *fake) Processes(context.Context, cluster.AppName) (*api.ProcessList, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := &api.ProcessList{App: "blog", Release: 2, Formation: map[cluster.ProcessType]int{"web": f.web, "worker": 0},
		Processes: map[cluster.ProcessType]api.ProcessInfo{}, Allocations: []api.AllocationInfo{}, Index: 42}
	for i := range f.web {
		l.Allocations = append(l.Allocations, api.AllocationInfo{Instance: fmt.Sprintf("web.%d", i+1), NodeName: "node-1", Zone: "a", Allocation: cluster.Allocation{
			ID: cluster.AllocationID(fmt.Sprintf("a-%d", i)), App: "blog", Type: "web", Slot: i + 1, Release: 2, Desired: cluster.DesiredRun,
			Observed: cluster.Observation{State: cluster.AllocationHealthy}}})
	}
	return l, nil
}

func (f *fake) Scale(ctx context.Context, app cluster.AppName, in api.Scale) (*api.ProcessList, error) {
	f.mu.Lock()
	for _, c := range in.Changes {
		if c.Quantity > 17 {
			f.mu.Unlock()
			return nil, cluster.Errorf(cluster.KindUnplaceable, "unplaceable", "only 17 of %d replicas can be placed; nothing was changed", c.Quantity).
				Because("node-1 (zone a): 0 MiB free, needs 256 MiB").WithHint("scale to fewer, or see what the nodes have to give with: paas nodes")
		}
		if c.Relative {
			c.Quantity += f.web
		}
		f.web = c.Quantity
	}
	f.mu.Unlock()
	return f.Processes(ctx, app)
}

func (f *fake) Restart(context.Context, cluster.AppName, api.Restart) error { return nil }

func (f *fake) Settle(_ context.Context, _ cluster.AppName, _ []cluster.ProcessType, report func(api.Progress)) error {
	report(news("web.1", 2, cluster.AllocationHealthy, ""))
	return nil
}

func news(name string, v cluster.ReleaseVersion, s cluster.AllocationState, reason string) api.Progress {
	return api.Progress{At: born, Kind: api.ProgressInstance, Instance: &api.InstanceNews{Name: name, Node: "node-1", Zone: "a", Release: v, State: s,
		Desired: cluster.DesiredRun, Reason: reason}}
}

func (f *fake) Config(_ context.Context, app cluster.AppName) (*api.ConfigList, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := &api.ConfigList{App: app, Keys: []api.ConfigKey{}}
	for _, k := range sortedKeys(f.config) {
		l.Keys = append(l.Keys, api.ConfigKey{Key: k, Since: 2})
	}
	return l, nil
}

func (f *fake) ConfigValue(_ context.Context, _ cluster.AppName, key string) (*api.ConfigValue, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.config[key]
	if !ok {
		return nil, cluster.NotFound("config_key", "app blog has no config variable %s", key)
	}
	return &api.ConfigValue{Key: key, Value: v}, nil
}

func (f *fake) ChangeConfig(ctx context.Context, app cluster.AppName, in api.ChangeConfig) (*api.DeployResult, error) {
	if v, ok := in.Set["QUEUED"]; ok {
		if err := f.queue(ctx, v.Reveal()); err != nil {
			return nil, err
		}
	}
	if in.Set["EARLY"] != "" { // as before the first release
		return &api.DeployResult{App: app}, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, v := range in.Set {
		f.config[k] = v.Reveal()
	}
	maps.DeleteFunc(f.config, func(k, _ string) bool { return slices.Contains(in.Unset, k) })
	id := cluster.DeploymentID("d-9")
	if f.config["SLOW"] != "" {
		id = "d-slow"
	}
	return &api.DeployResult{App: app, Release: 3, Deployment: id, URL: "https://blog.localhost:8443"}, nil
}

func (f *fake) Releases(context.Context, cluster.AppName, int) ([]cluster.Release, error) {
	return []cluster.Release{*f.release(2), *f.release(1)}, nil
}

func (f *fake) Release(_ context.Context, _ cluster.AppName, v cluster.ReleaseVersion) (*cluster.Release, error) {
	if v > 2 {
		return nil, cluster.NotFound("release", "app blog has no release %s", v).WithHint("list them with: paas releases -a blog")
	}
	return f.release(v), nil
}

func (f *fake) Rollback(_ context.Context, app cluster.AppName, _ api.Rollback) (*api.DeployResult, error) {
	return &api.DeployResult{App: app, Release: 4, Deployment: "d-9", URL: "https://blog.localhost:8443"}, nil
}

func (f *fake) DeploySource(_ context.Context, app cluster.AppName, in api.DeploySource, report func(api.Progress)) (*api.DeployResult, error) {
	if _, err := io.Copy(io.Discard, in.Archive); err != nil {
		return nil, err
	}
	report(api.Progress{At: born, Kind: api.ProgressStep, Text: "Static site detected (index.html)"})
	report(api.Progress{At: born, Kind: api.ProgressLine, Text: "COPY site/ /site/"})
	return f.deploy(app, report)
}

func (f *fake) DeployImage(ctx context.Context, app cluster.AppName, in api.DeployImage, report func(api.Progress)) (*api.DeployResult, error) {
	switch in.Image {
	case "migrates":
		report(api.Progress{At: born, Kind: api.ProgressStep, Text: "Running the release command of v3", Result: &api.DeployResult{App: app, Release: 3, Deployment: "d-7"}})
		<-ctx.Done()
		return nil, ctx.Err()
	case "unbuildable":
		return nil, cluster.Errorf(cluster.KindBuildFailed, "image", "image unbuildable cannot be used").Because("nobody has it")
	case "crashes":
		err := cluster.Errorf(cluster.KindRolloutFailed, "rollout.crashed", "v3 did not start; v2 still serves").
			Because("web.1 on node-1 exited with code 1 after 0.8s").WithHint("mend it and deploy again")
		report(news("web.1", 3, cluster.AllocationBackoff, "exited with code 1"))
		report(api.Progress{At: born, Kind: api.ProgressFailed, Error: err, Log: []string{"Error: Cannot find module './config/prod'\x1b[2J"}})
		return &api.DeployResult{App: app}, err
	}
	return f.deploy(app, report)
}

func (f *fake) deploy(app cluster.AppName, report func(api.Progress)) (*api.DeployResult, error) {
	report(api.Progress{At: born, Kind: api.ProgressStep, Text: "Rolling out v2 → v3"})
	report(news("web.1", 3, cluster.AllocationHealthy, ""))
	res := &api.DeployResult{App: app, Build: "b-8", Release: 3, Deployment: "d-9", URL: "https://" + string(app) + ".localhost:8443"}
	report(api.Progress{At: born, Kind: api.ProgressDone, Result: res, Took: time.Second})
	return res, nil
}

func (f *fake) WatchDeployment(ctx context.Context, app cluster.AppName, id cluster.DeploymentID, report func(api.Progress)) error {
	if id == "d-slow" {
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := f.deploy(app, report)
	return err
}

func (f *fake) Deployments(context.Context, cluster.AppName) ([]cluster.Deployment, error) {
	return []cluster.Deployment{{ID: "d-9", App: "blog", Release: 3, From: 2, State: cluster.DeploymentSucceeded, CreatedAt: born, FinishedAt: born.Add(3 * time.Second)}}, nil
}

func (f *fake) CancelDeployment(context.Context, cluster.AppName, cluster.DeploymentID) error {
	return cluster.Conflict("ended", "deployment d-9 cannot be cancelled").Because("it has succeeded already")
}

func (f *fake) Builds(context.Context, cluster.AppName) ([]cluster.Build, error) {
	return []cluster.Build{{ID: "b-7", App: "blog", State: cluster.BuildSucceeded, Method: "static", Reason: "index.html", Commit: "4f2c9e1", CreatedAt: born, FinishedAt: born.Add(time.Second)}}, nil
}

func (f *fake) Build(_ context.Context, _ cluster.AppName, id cluster.BuildID) (*cluster.Build, error) {
	return &cluster.Build{ID: id}, nil
}

func (f *fake) BuildLog(_ context.Context, _ cluster.AppName, id cluster.BuildID, w io.Writer) error {
	_, err := fmt.Fprintf(w, "log of %s\n", id)
	return err
}
func (f *fake) CancelBuild(context.Context, cluster.AppName, cluster.BuildID) error { return nil }

func (f *fake) Logs(ctx context.Context, in api.LogsRequest, send func(api.LogLine) error) error {
	if in.App == "deaf" {
		return errors.New("disk on fire")
	}
	err := send(api.LogLine{At: born, Instance: "web.1", Source: "app", Text: fmt.Sprintf("listening (last %d of %s%s)", in.Lines, in.Type, in.Instance)})
	if in.Follow && in.Lines > 0 { // else as if the app were gone
		<-ctx.Done()
	}
	return err
}

// Run echoes its input in upper case and ends with the code that its arguments name.
func (f *fake) Run(ctx context.Context, in api.RunRequest, t api.Terminal) (int, error) {
	hello := strings.Join(in.Command, "|") + "\n"
	if in.TTY {
		hello = fmt.Sprintf("tty %dx%d\n", in.Cols, in.Rows)
	}
	if err := t.Send(ctx, api.Frame{Kind: api.FrameStderr, Data: []byte(hello)}); err != nil {
		return 0, err
	}
	for {
		frame, err := t.Recv(ctx)
		if err != nil {
			return 0, err
		}
		if frame.Kind == api.FrameEOF {
			code := 0
			_, err := fmt.Sscanf(in.Command[len(in.Command)-1], "exit%d", &code)
			if err != nil {
				code = 0
			}
			return code, nil
		}
		answer := strings.ToUpper(string(frame.Data))
		switch frame.Kind {
		case api.FrameResize:
			answer = fmt.Sprintf("resized %dx%d\n", frame.Cols, frame.Rows)
		case api.FrameSignal:
			answer = "signal " + string(frame.Data) + "\n"
		}
		if answer == "Q" {
			return 3, nil
		}
		if err := t.Send(ctx, api.Frame{Kind: api.FrameStdout, Data: []byte(answer)}); err != nil {
			return 0, err
		}
	}
}

func (f *fake) Exec(ctx context.Context, in api.ExecRequest, t api.Terminal) (int, error) {
	return f.Run(ctx, api.RunRequest{App: in.App, Command: append([]string{in.Instance}, in.Command...)}, t)
}

func (f *fake) Domains(context.Context, cluster.AppName) ([]api.DomainInfo, error) {
	return []api.DomainInfo{{Domain: cluster.Domain{Host: "blog.localhost", App: "blog"}, Default: true, TLS: "internal"}}, nil
}

func (f *fake) AddDomain(_ context.Context, app cluster.AppName, in api.AddDomain) (*api.DomainInfo, error) {
	if err := in.Host.Validate(); err != nil {
		return nil, err
	}
	return &api.DomainInfo{Domain: cluster.Domain{Host: in.Host, App: app}, TLS: "acme"}, nil
}

func (f *fake) RemoveDomain(context.Context, cluster.AppName, cluster.Hostname) error { return nil }

func (f *fake) Volumes(_ context.Context, app cluster.AppName) ([]api.VolumeInfo, error) {
	v := api.VolumeInfo{Volume: cluster.Volume{ID: "vol-7", App: "blog", Name: "data", Node: "0000000000000001", Process: "web", Path: "/data", CreatedAt: born, CreatedBy: "maria"},
		NodeName: "node-1", UsedBy: "web.1"}
	if app != "" {
		return []api.VolumeInfo{v}, nil
	}
	return []api.VolumeInfo{v, {Volume: cluster.Volume{ID: "vol-3", App: "old", Name: "logs", Node: "0000000000000002", CreatedAt: born, CreatedBy: "maria"}, NodeName: "node-2", AppGone: true}}, nil
}

func (f *fake) Volume(ctx context.Context, app cluster.AppName, _ cluster.VolumeName) (*api.VolumeInfo, error) {
	all, err := f.Volumes(ctx, app)
	return &all[0], err
}

func (f *fake) CreateVolume(_ context.Context, app cluster.AppName, in api.CreateVolume) (*api.VolumeInfo, error) {
	if err := in.Name.Validate(); err != nil {
		return nil, err
	}
	return &api.VolumeInfo{Volume: cluster.Volume{ID: "vol-8", App: app, Name: in.Name, CreatedAt: born, CreatedBy: "maria"}}, nil
}

func (f *fake) AttachVolume(ctx context.Context, app cluster.AppName, name cluster.VolumeName, _ api.AttachVolume) (*api.VolumeInfo, error) {
	return f.Volume(ctx, app, name)
}

func (f *fake) DetachVolume(context.Context, cluster.AppName, cluster.VolumeName) error { return nil }

func (f *fake) DestroyVolume(context.Context, cluster.AppName, cluster.VolumeName, cluster.VolumeName) error {
	return nil
}

func (f *fake) Events(context.Context, cluster.AppName, int) ([]cluster.Event, error) {
	return []cluster.Event{{Index: 7, At: born, Actor: "maria", Action: "app.created", App: "blog", Text: "app blog created"}}, nil
}

func (f *fake) FollowEvents(context.Context, cluster.AppName, uint64, func(cluster.Event) error) error {
	return nil
}

func (f *fake) Nodes(context.Context) ([]api.NodeInfo, error) {
	return []api.NodeInfo{{Node: cluster.Node{ID: "0123456789abcdef", Name: "node-1", Zone: "a", Server: true, Apps: true, State: cluster.NodeUp, MemoryBytes: 4 << 30, CPUMilli: 2000,
		DockerVersion: "27.5", Version: "test", Address: "192.0.2.1:7443"}, Leader: true, Allocations: 2, ReservedBytes: 512 << 20, ReservedMilli: 200}}, nil
}

func (f *fake) Node(ctx context.Context, ref string) (*api.NodeDetail, error) {
	list, _ := f.Nodes(ctx)
	if n := list[0]; ref == n.Name || ref == string(n.ID) {
		return &api.NodeDetail{NodeInfo: n, AllLabels: map[string]string{}, Replicas: []api.NodeReplica{}}, nil
	}
	return nil, cluster.NotFound("node", "no node %.60q", ref)
}

func (f *fake) UpdateNode(ctx context.Context, ref string, in api.UpdateNode) (*api.NodeDetail, error) {
	n, err := f.Node(ctx, ref)
	if err == nil {
		n.AllLabels, n.OperatorLabels = in.SetLabels, in.SetLabels
		n.Cordoned, n.Draining = in.Schedule == cluster.ScheduleCordoned, in.Schedule == cluster.ScheduleDraining
	}
	return n, err
}

func (f *fake) RemoveNode(ctx context.Context, ref string, _ api.RemoveNode) (*api.NodeInfo, error) {
	n, err := f.Node(ctx, ref)
	if err != nil {
		return nil, err
	}
	return &n.NodeInfo, nil
}

func (f *fake) WatchDrain(ctx context.Context, ref string, report func(api.Progress)) error {
	_, err := f.Node(ctx, ref)
	return err
}

func (f *fake) CreateToken(_ context.Context, in api.CreateToken) (*api.NewToken, error) {
	return &api.NewToken{Token: cluster.Token{ID: "0123456789ab", Name: in.Name, Scope: in.Scope, Apps: in.Apps, CreatedAt: born, ExpiresAt: born.Add(in.TTL)}, Text: fakeToken}, nil
}

func (f *fake) Tokens(context.Context) ([]cluster.Token, error) {
	return []cluster.Token{{ID: "0123456789ab", Name: "ci", Scope: cluster.ScopeDeploy, Apps: []cluster.AppName{"blog"}, CreatedBy: "maria", ExpiresAt: born}}, nil
}
func (f *fake) RevokeToken(context.Context, cluster.TokenID) error { return nil }
func (f *fake) CreateJoin(_ context.Context, in api.CreateJoin) (*api.NewJoin, error) {
	return &api.NewJoin{Join: cluster.Join{ID: "0123456789ab", Server: in.Role == identity.RoleServer, CreatedAt: born, CreatedBy: "maria", ExpiresAt: born.Add(in.TTL)}, Text: fakeJoin}, nil
}
func (f *fake) Joins(context.Context) ([]cluster.Join, error) {
	return []cluster.Join{{ID: "0123456789ab", CreatedAt: born, CreatedBy: "maria", ExpiresAt: born},
		{ID: "ba9876543210", Server: true, CreatedAt: born, CreatedBy: "maria", ExpiresAt: born, UsedAt: born, Node: "aaaaaaaaaaaaaaaa"}}, nil
}
func (f *fake) RevokeJoin(context.Context, cluster.TokenID) error { return nil }
func (f *fake) Join(context.Context, api.JoinRequest) (*api.Joined, error) {
	return nil, cluster.Errorf(cluster.KindUnauthenticated, "join", "the join string is not good")
}
func (f *fake) Login(_ context.Context, in api.Login) (*api.NewToken, error) {
	return &api.NewToken{Token: cluster.Token{ID: "0123456789ab", Name: in.Name, Scope: cluster.ScopeAdmin}, Text: fakeToken}, nil
}
func (f *fake) Whoami(ctx context.Context) (*api.Actor, error) {
	a := api.ActorFrom(ctx)
	return &a, nil
}

func (f *fake) Status(context.Context) (*api.ClusterStatus, error) {
	return &api.ClusterStatus{ID: "feedfeedfeedfeed", Domain: "localhost", Version: "test", Leader: "node-1", Index: 42, Servers: 1, Nodes: 1, NodesUp: 1, Apps: 1,
		HTTPPort: 8080, HTTPSPort: 8443, EdgeCA: "PEM of the edge\n"}, nil
}

func (f *fake) Export(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "{\"index\":42}\n")
	return err
}

func (f *fake) Backup(_ context.Context, pass cluster.Redacted, w io.Writer) error {
	if len(pass) < 8 {
		return cluster.Invalid("passphrase", "the passphrase is too short")
	}
	_, err := io.WriteString(w, "backup")
	return err
}
