package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"paas/cluster"
)

func set(kv ...string) map[string]cluster.Secret {
	m := map[string]cluster.Secret{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = sealed(kv[i+1])
	}
	return m
}

func release(n int) CreateRelease {
	return CreateRelease{By: by(n), App: "blog", Description: "Deploy", Image: testImage, Processes: processes("web", "worker")}
}

func TestCreateReleaseStartsADeployment(t *testing.T) {
	r := withApp(t)
	r.must(ChangeConfig{By: by(1), App: "blog", Set: set("A", "mine")})
	c := release(2)
	c.DefaultConfig = set("A", "default", "B", "default")
	c.DefaultFormation = map[cluster.ProcessType]int{"worker": 2}
	c.Processes["worker"] = cluster.Process{} // reservations left open
	out := r.must(c)
	if out.Release != 1 || out.Deployment == "" || out.Index != r.state.Index() {
		t.Errorf("outcome %+v", out)
	}
	rel, err := r.state.Release("blog", 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(rel.Config["A"].Box) + " " + string(rel.Config["B"].Box); got != "mine default" {
		t.Errorf("config is %q: defaults must not replace what is set", got)
	}
	if rel.State != cluster.ReleasePending || rel.Processes["worker"].MemoryBytes != cluster.DefaultMemoryBytes {
		t.Errorf("release is %+v", rel)
	}
	d := r.state.ActiveDeployment("blog")
	if d == nil || d.State != cluster.DeploymentRolling || d.From != 0 || d.Release != 1 || d.ID != out.Deployment {
		t.Fatalf("deployment is %+v", d)
	}
	if a := r.app("blog"); a.Current != 0 || a.Latest != 1 || a.Quantity("worker") != 2 {
		t.Errorf("app is %+v", a)
	}
	r.end(3, out.Deployment, cluster.DeploymentSucceeded)
	if a := r.app("blog"); a.Current != 1 {
		t.Errorf("current is %s, want v1", a.Current)
	}
	next := release(4)
	next.DefaultFormation = map[cluster.ProcessType]int{"worker": 9}
	r.must(next)
	if n := r.app("blog").Quantity("worker"); n != 2 {
		t.Errorf("worker is %d: a default formation is for the first release only", n)
	}
}

func TestReleaseCommandComesFirst(t *testing.T) {
	r := withApp(t)
	c := release(1)
	c.Processes["release"] = cluster.Process{}
	out := r.must(c)
	if d := r.state.ActiveDeployment("blog"); d.State != cluster.DeploymentReleasing {
		t.Fatalf("deployment is %s, want releasing", d.State)
	}
	r.end(2, out.Deployment, cluster.DeploymentRolling)
	if d := r.state.ActiveDeployment("blog"); d.State != cluster.DeploymentRolling {
		t.Fatalf("deployment is %s, want rolling", d.State)
	}
	r.end(3, out.Deployment, cluster.DeploymentReleasing) // backwards: progress only
	if d := r.state.ActiveDeployment("blog"); d.State != cluster.DeploymentRolling || !d.ProgressAt.Equal(by(3).At) {
		t.Fatalf("deployment is %+v", d)
	}
}

func TestCreateReleaseRefusals(t *testing.T) {
	r := withApp(t)
	r.must(CreateApp{By: by(1), Name: "shop"})
	build := r.must(StartBuild{By: by(1), App: "blog"}).Build
	for name, c := range map[string]struct {
		change func(*CreateRelease)
		kind   cluster.Kind
		code   string
	}{
		"unknown app":    {func(c *CreateRelease) { c.App = "none" }, cluster.KindNotFound, "app"},
		"no digest":      {func(c *CreateRelease) { c.Image.Digest = "latest" }, cluster.KindInvalid, "image"},
		"option as repo": {func(c *CreateRelease) { c.Image.Repository = "--privileged" }, cluster.KindInvalid, "image"},
		"no processes":   {func(c *CreateRelease) { c.Processes = nil }, cluster.KindInvalid, "processes"},
		"bad type":       {func(c *CreateRelease) { c.Processes["We b"] = cluster.Process{} }, cluster.KindInvalid, "process_type"},
		"negative memory": {func(c *CreateRelease) { c.Processes["web"] = cluster.Process{MemoryBytes: -1} },
			cluster.KindInvalid, "process"},
		"check without port": {func(c *CreateRelease) {
			c.Processes["web"] = cluster.Process{Check: cluster.Check{Kind: cluster.CheckTCP}}
		},
			cluster.KindInvalid, "process"},
		"bad config key": {func(c *CreateRelease) { c.DefaultConfig = set("PORT", "1") }, cluster.KindInvalid, "config_key"},
		"bad formation":  {func(c *CreateRelease) { c.DefaultFormation = map[cluster.ProcessType]int{"web": -1} }, cluster.KindInvalid, "scale"},
		"bad rollout":    {func(c *CreateRelease) { c.Rollout.Surge = -1 }, cluster.KindInvalid, "rollout"},
		"bad commit":     {func(c *CreateRelease) { c.Commit = "$(reboot)" }, cluster.KindInvalid, "commit"},
		"two lines":      {func(c *CreateRelease) { c.Description = "a\nb" }, cluster.KindInvalid, "description"},
		"unknown build":  {func(c *CreateRelease) { c.Build = "b-99" }, cluster.KindNotFound, "build"},
		"running build":  {func(c *CreateRelease) { c.Build = build }, cluster.KindConflict, "build"},
		"foreign build":  {func(c *CreateRelease) { c.App, c.Build = "shop", build }, cluster.KindConflict, "build"},
	} {
		t.Run(name, func(t *testing.T) {
			command := release(2)
			c.change(&command)
			r.refuse(command, c.kind, c.code)
		})
	}
}

func TestOnlyOneDeploymentAtATime(t *testing.T) {
	r := withApp(t)
	r.deploy(1, cluster.DeploymentSucceeded)
	active := r.must(release(2)).Deployment
	for _, c := range []Command{release(3), Rollback{By: by(3), App: "blog"}, ChangeConfig{By: by(3), App: "blog", Set: set("A", "1")}} {
		e := r.refuse(c, cluster.KindConflict, "deploy_active")
		if !strings.Contains(e.Reason, string(active)) || e.Hint == "" {
			t.Errorf("%T: reason %q and hint %q must name the deployment and a way on", c, e.Reason, e.Hint)
		}
	}
	r.must(Scale{By: by(3), App: "blog", Quantities: map[cluster.ProcessType]int{"web": 2}})
}

func TestConfigWithoutAServingReleaseMakesNone(t *testing.T) {
	r := withApp(t)
	before := r.state.Index()
	out := r.must(ChangeConfig{By: by(1), App: "blog", Set: set("A", "secret-value")})
	if out.Release != 0 || out.Deployment != "" {
		t.Errorf("outcome %+v, want no release", out)
	}
	if got := r.actions(before); !slices.Equal(got, []string{"config.set"}) {
		t.Errorf("events %v", got)
	}
	if e := r.lastEvent(); strings.Contains(e.Text, "secret-value") || e.Target != "A" {
		t.Errorf("event is %+v", e)
	}
}

func TestConfigChangeIsARelease(t *testing.T) {
	r := withApp(t)
	r.must(ChangeConfig{By: by(1), App: "blog", Set: set("A", "1", "B", "2")})
	r.deploy(2, cluster.DeploymentSucceeded)
	out := r.must(ChangeConfig{By: by(3), App: "blog", Set: set("C", "3"), Unset: []string{"A"}})
	rel, err := r.state.Release("blog", out.Release)
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(rel.Config)); !slices.Equal(got, []string{"B", "C"}) {
		t.Errorf("config keys %v", got)
	}
	if rel.Description != "Set C; unset A" || rel.Image != testImage {
		t.Errorf("release is %+v", rel)
	}
	if old, _ := r.state.Release("blog", 1); len(old.Config) != 2 || old.Config["C"].Box != nil {
		t.Errorf("the old release's config changed: %v", old.Config)
	}
}

func TestFailedDeploymentRestoresConfig(t *testing.T) {
	for _, end := range []cluster.DeploymentState{cluster.DeploymentFailed, cluster.DeploymentCancelled} {
		t.Run(end.String(), func(t *testing.T) {
			r := withApp(t)
			r.must(ChangeConfig{By: by(1), App: "blog", Set: set("A", "1")})
			r.deploy(2, cluster.DeploymentSucceeded)
			out := r.must(ChangeConfig{By: by(3), App: "blog", Set: set("A", "broken")})
			r.end(4, out.Deployment, end)
			a := r.app("blog")
			if a.Current != 1 || string(a.Config["A"].Box) != "1" {
				t.Errorf("app is %+v, want v1 and its config", a)
			}
			rel, _ := r.state.Release("blog", 2)
			x, _ := r.state.Deployment(out.Deployment)
			if rel.State != cluster.ReleaseFailed || x.Failure == nil || x.FinishedAt.IsZero() {
				t.Errorf("release %+v, deployment %+v", rel, x)
			}
			if e := r.lastEvent(); e.Action != "deployment."+end.String() || e.Target != "v2" {
				t.Errorf("event is %+v", e)
			}
			r.same(ApplyPlan{By: by(5), Plan: cluster.Plan{Deployments: []cluster.DeploymentUpdate{{ID: out.Deployment, State: cluster.DeploymentSucceeded}}}})
			if next := r.must(release(6)); next.Release != 3 {
				t.Errorf("next release is %s: a version is never used again", next.Release)
			}
		})
	}
}

func TestFirstDeploymentThatFailsKeepsConfig(t *testing.T) {
	r := withApp(t)
	r.must(ChangeConfig{By: by(1), App: "blog", Set: set("A", "1")})
	r.deploy(2, cluster.DeploymentFailed)
	if a := r.app("blog"); string(a.Config["A"].Box) != "1" || a.Current != 0 {
		t.Errorf("app is %+v", a)
	}
}

func TestConfigRefusals(t *testing.T) {
	r := withApp(t)
	r.must(ChangeConfig{By: by(1), App: "blog", Set: set("DATABASE_URL", "x")})
	big := map[string]cluster.Secret{"A": {Key: "k", Box: make([]byte, maxSecretBytes+1)}}
	for name, c := range map[string]struct {
		set   map[string]cluster.Secret
		unset []string
		kind  cluster.Kind
		code  string
	}{
		"nothing":  {nil, nil, cluster.KindInvalid, "config"},
		"bad key":  {set("A B", "1"), nil, cluster.KindInvalid, "config_key"},
		"reserved": {set("PAAS_APP", "1"), nil, cluster.KindInvalid, "config_key"},
		"both":     {set("A", "1"), []string{"A"}, cluster.KindInvalid, "config_key"},
		"absent":   {nil, []string{"DATABASE_UR"}, cluster.KindNotFound, "config_key"},
		"large":    {big, nil, cluster.KindInvalid, "config_value"},
		"unsealed": {map[string]cluster.Secret{"A": {}}, nil, cluster.KindInvalid, "config_value"},
	} {
		t.Run(name, func(t *testing.T) {
			e := r.refuse(ChangeConfig{By: by(2), App: "blog", Set: c.set, Unset: c.unset}, c.kind, c.code)
			if name == "absent" && !strings.Contains(e.Reason, "DATABASE_URL") {
				t.Errorf("reason %q does not name the nearest key", e.Reason)
			}
		})
	}
}

func TestRollback(t *testing.T) {
	r := withApp(t)
	r.refuse(Rollback{By: by(1), App: "blog"}, cluster.KindConflict, "no_release")
	r.must(ChangeConfig{By: by(1), App: "blog", Set: set("A", "1")})
	r.deploy(1, cluster.DeploymentSucceeded) // v1, A=1
	r.refuse(Rollback{By: by(1), App: "blog"}, cluster.KindConflict, "no_rollback")
	r.end(2, r.must(ChangeConfig{By: by(2), App: "blog", Set: set("A", "2")}).Deployment, cluster.DeploymentSucceeded) // v2, A=2
	r.deploy(3, cluster.DeploymentFailed)                                                                              // v3
	r.deploy(4, cluster.DeploymentSucceeded)                                                                           // v4

	r.refuse(Rollback{By: by(5), App: "blog", To: 3}, cluster.KindConflict, "release_failed")
	r.refuse(Rollback{By: by(5), App: "blog", To: 4}, cluster.KindConflict, "release_current")
	r.refuse(Rollback{By: by(5), App: "blog", To: 9}, cluster.KindNotFound, "release")

	out := r.must(Rollback{By: by(6), App: "blog", To: 1})
	rel, _ := r.state.Release("blog", out.Release)
	if out.Release != 5 || rel.RollbackOf != 1 || string(rel.Config["A"].Box) != "1" || rel.Description != "Rollback to v1" {
		t.Errorf("release is %+v", rel)
	}
	if got := string(r.app("blog").Config["A"].Box); got != "1" {
		t.Errorf("the app's config is %q, want v1's", got)
	}
	r.end(7, out.Deployment, cluster.DeploymentFailed)
	if got := string(r.app("blog").Config["A"].Box); got != "2" {
		t.Errorf("config is %q after a failed rollback, want v4's", got)
	}
	out = r.must(Rollback{By: by(8), App: "blog"})
	if rel, _ := r.state.Release("blog", out.Release); rel.RollbackOf != 2 {
		t.Errorf("went back to %s, want v2: the newest success before v4", rel.RollbackOf)
	}
}

func TestRetentionKeepsWhatIsInUse(t *testing.T) {
	r := withApp(t)
	r.withNode(nodeA)
	r.deploy(1, cluster.DeploymentSucceeded)
	r.must(ApplyPlan{By: by(1), Plan: cluster.Plan{Place: []cluster.Placement{{App: "blog", Type: "web", Slot: 1, Attempt: 1, Release: 1, Node: nodeA}}}})
	r.deploy(2, cluster.DeploymentSucceeded) // serves
	for i := range 60 {
		r.must(StartBuild{By: by(i), App: "blog"})
		r.deploy(3+i, cluster.DeploymentFailed)
	}
	var kept []cluster.ReleaseVersion
	for rel := range r.state.Releases("blog") {
		kept = append(kept, rel.Version)
	}
	if len(kept) != keptReleases+2 || kept[0] != 1 || kept[1] != 2 || kept[2] != 43 {
		t.Errorf("kept %v, want v1 (runs), v2 (serves) and the newest 20", kept)
	}
	if n := len(slices.Collect(r.state.Deployments("blog"))); n != keptDeployments {
		t.Errorf("%d deployments kept, want %d", n, keptDeployments)
	}
	if n := len(slices.Collect(r.state.Builds("blog"))); n != 60 {
		t.Errorf("%d builds kept, want all 60: they run", n)
	}
}

// A broken deploy that is tried again and again must not push out what the app
// could be rolled back to.
func TestRetentionKeepsSomethingToRollBackTo(t *testing.T) {
	r := withApp(t)
	for i := range 8 {
		r.deploy(1+i, cluster.DeploymentSucceeded)
	}
	for i := range 60 {
		r.deploy(9+i, cluster.DeploymentFailed)
	}
	var good []cluster.ReleaseVersion
	for rel := range r.state.Releases("blog") {
		if rel.State == cluster.ReleaseSucceeded {
			good = append(good, rel.Version)
		}
	}
	if want := []cluster.ReleaseVersion{4, 5, 6, 7, 8}; !slices.Equal(good, want) {
		t.Errorf("kept of those that worked: %v, want %v", good, want)
	}
	if out := r.must(Rollback{By: by(80), App: "blog"}); out.Release != 69 {
		t.Errorf("the rollback made %s", out.Release)
	}
}

func TestBuilds(t *testing.T) {
	r := withApp(t)
	r.refuse(StartBuild{By: by(1), App: "none"}, cluster.KindNotFound, "app")
	id := r.must(StartBuild{By: by(1), App: "blog", Commit: "4f2c9e1"}).Build
	r.refuse(FinishBuild{By: by(2), ID: id, State: cluster.BuildRunning}, cluster.KindInvalid, "build_state")
	r.refuse(FinishBuild{By: by(2), ID: "b-99", State: cluster.BuildFailed}, cluster.KindNotFound, "build")
	r.refuse(FinishBuild{By: by(2), ID: id, State: cluster.BuildSucceeded}, cluster.KindInvalid, "image")
	done := FinishBuild{By: by(2), ID: id, State: cluster.BuildSucceeded, Method: "go", Reason: "go.mod", Image: testImage}
	r.must(done)
	r.same(done)
	r.refuse(FinishBuild{By: by(3), ID: id, State: cluster.BuildFailed}, cluster.KindConflict, "build_ended")
	b, _ := r.state.Build(id)
	if b.State != cluster.BuildSucceeded || b.Method != "go" || !b.FinishedAt.Equal(by(2).At) {
		t.Errorf("build is %+v", b)
	}
	other := r.must(StartBuild{By: by(4), App: "blog"}).Build
	r.must(FinishBuild{By: by(5), ID: other, State: cluster.BuildFailed, Failure: "no\nGo files"})
	if e := r.lastEvent(); e.Action != "build.failed" || e.Text != fmt.Sprintf("build %s failed: no Go files", other) {
		t.Errorf("event is %+v", e)
	}
	for i := range 60 {
		r.must(FinishBuild{By: by(6), ID: r.must(StartBuild{By: by(6 + i), App: "blog"}).Build, State: cluster.BuildFailed})
	}
	r.must(StartBuild{By: by(99), App: "blog"})
	if n := len(slices.Collect(r.state.Builds("blog"))); n != keptBuilds {
		t.Errorf("%d builds kept, want %d", n, keptBuilds)
	}
}

func TestScale(t *testing.T) {
	r := withApp(t)
	scale := func(t cluster.ProcessType, n int) Scale {
		return Scale{By: by(9), App: "blog", Quantities: map[cluster.ProcessType]int{t: n}}
	}
	r.must(scale("anything", 3)) // no release yet: nobody knows the types
	r.deploy(1, cluster.DeploymentSucceeded)
	r.refuse(scale("web", -1), cluster.KindInvalid, "scale")
	r.refuse(scale("web", cluster.MaxReplicas+1), cluster.KindInvalid, "scale")
	r.refuse(scale("release", 1), cluster.KindInvalid, "process_type")
	r.refuse(Scale{By: by(9), App: "blog"}, cluster.KindInvalid, "scale")
	e := r.refuse(scale("wokrer", 1), cluster.KindNotFound, "process_type")
	if !strings.Contains(e.Reason, "worker") {
		t.Errorf("reason %q does not name the nearest type", e.Reason)
	}
	r.must(scale("web", 3))
	if e := r.lastEvent(); e.Action != "scale.changed" || e.Text != "web 1 → 3" {
		t.Errorf("event is %+v", e)
	}
	r.same(scale("web", 3))
	r.must(scale("web", cluster.MaxReplicas), scale("web", 0))
}

func TestRestart(t *testing.T) {
	r := withApp(t)
	r.refuse(Restart{By: by(1), App: "blog"}, cluster.KindConflict, "no_release")
	r.deploy(1, cluster.DeploymentSucceeded)
	r.refuse(Restart{By: by(2), App: "blog", Types: []cluster.ProcessType{"wbe"}}, cluster.KindNotFound, "process_type")
	r.must(Restart{By: by(2), App: "blog", Types: []cluster.ProcessType{"web", "web"}})
	r.must(Restart{By: by(3), App: "blog"})
	if g := r.app("blog").Generation; g["web"] != 2 || g["worker"] != 1 {
		t.Errorf("generations are %v", g)
	}
}
