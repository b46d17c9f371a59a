package store

import (
	"slices"
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

func TestNothingBeforeBootstrapAndOnlyOneBootstrap(t *testing.T) {
	r := newReplica(t)
	r.refuse(CreateApp{By: by(1), Name: "blog"}, cluster.KindConflict, "no_cluster")
	bad := bootstrapCommand()
	bad.Settings.ID = "nope"
	r.refuse(bad, cluster.KindInvalid, "cluster_id")
	bad = bootstrapCommand()
	bad.Settings.Domain = "no domain"
	r.refuse(bad, cluster.KindInvalid, "domain")
	r.must(bootstrapCommand())
	if got := r.state.Settings().CreatedAt; !got.Equal(epoch) {
		t.Errorf("cluster created at %v, want the proposer's time", got)
	}
	r.refuse(bootstrapCommand(), cluster.KindConflict, "cluster_exists")
	local := newReplica(t)
	c := bootstrapCommand()
	c.Settings.Domain = "localhost"
	local.must(c)
}

func TestCommandWithoutATimeIsRefused(t *testing.T) {
	r := withApp(t)
	r.refuse(CreateApp{Name: "shop"}, cluster.KindInvalid, "at")
}

func TestCreateApp(t *testing.T) {
	r := withApp(t)
	for _, c := range []struct {
		app  CreateApp
		kind cluster.Kind
		code string
	}{
		{CreateApp{Name: "blog"}, cluster.KindConflict, "app_exists"},
		{CreateApp{Name: "Blog"}, cluster.KindInvalid, "app_name"},
		{CreateApp{Name: "../etc"}, cluster.KindInvalid, "app_name"},
		{CreateApp{Name: "dashboard"}, cluster.KindInvalid, "app_name"},
		{CreateApp{Name: "shop", DeployBranch: "--exec=x"}, cluster.KindInvalid, "branch"},
	} {
		c.app.By = by(2)
		r.refuse(c.app, c.kind, c.code)
	}
	r.must(CreateApp{By: by(3), Name: "shop", DeployBranch: "release/2"})
	a := r.app("shop")
	if a.CreatedBy != "ann" || !a.CreatedAt.Equal(by(3).At) || a.Index != r.state.Index() {
		t.Errorf("app is %+v", a)
	}
	if e := r.lastEvent(); e.Action != "app.created" || e.App != "shop" || e.Actor != "ann" || e.Index != r.state.Index() {
		t.Errorf("event is %+v", e)
	}
}

func TestUpdateApp(t *testing.T) {
	r := withApp(t)
	branch, bad := "trunk", "a..b"
	r.same(UpdateApp{By: by(2), Name: "blog"})
	r.refuse(UpdateApp{By: by(2), Name: "blog", DeployBranch: &bad}, cluster.KindInvalid, "branch")
	e := r.refuse(UpdateApp{By: by(2), Name: "blgo", DeployBranch: &branch}, cluster.KindNotFound, "app")
	if !strings.Contains(e.Reason, "blog") {
		t.Errorf("reason %q does not name the nearest app", e.Reason)
	}
	r.must(UpdateApp{By: by(2), Name: "blog", DeployBranch: &branch})
	if !r.app("blog").Deploys("trunk") {
		t.Error("the branch does not deploy")
	}
	r.same(UpdateApp{By: by(3), Name: "blog", DeployBranch: &branch})
}

func TestDestroyAppStopsEverythingAndFreesTheNameLast(t *testing.T) {
	r := withApp(t)
	r.withNode(nodeA)
	first := r.deploy(2, cluster.DeploymentSucceeded)
	r.must(
		AddDomain{By: by(3), App: "blog", Host: "www.blog.org"},
		ApplyPlan{By: by(4), Plan: cluster.Plan{Place: []cluster.Placement{{App: "blog", Type: "web", Slot: 1, Attempt: 1, Release: first.Release, Node: nodeA}}}},
		StartBuild{By: by(5), App: "blog"},
		CreateRelease{By: by(6), App: "blog", Description: "Deploy", Image: testImage, Processes: processes("web")},
	)
	before := r.state.Index()
	r.must(DestroyApp{By: by(7), Name: "blog"})
	if got, want := r.actions(before), []string{"deployment.cancelled", "build.cancelled", "app.destroying"}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	if r.state.ActiveDeployment("blog") != nil {
		t.Error("a deployment is still active")
	}
	if routes := r.state.Routes().Routes; len(routes) != 0 {
		t.Errorf("routes are left: %v", routes)
	}
	if _, err := r.state.Domain("www.blog.org"); err == nil {
		t.Error("its domain is left")
	}
	r.same(DestroyApp{By: by(8), Name: "blog"})
	for _, c := range []Command{
		CreateApp{By: by(8), Name: "blog"}, Scale{By: by(8), App: "blog", Quantities: map[cluster.ProcessType]int{"web": 1}},
		StartBuild{By: by(8), App: "blog"}, AddDomain{By: by(8), App: "blog", Host: "a.example.org"},
		ChangeConfig{By: by(8), App: "blog", Set: map[string]cluster.Secret{"A": sealed("x")}},
	} {
		r.refuse(c, cluster.KindConflict, "app_destroying")
	}

	remove := ApplyPlan{By: by(9), Plan: cluster.Plan{RemoveApps: []cluster.AppName{"blog"}}}
	r.same(remove) // its replica still runs
	id := onlyAllocation(t, r).ID
	r.must(
		ApplyPlan{By: by(10), Plan: cluster.Plan{Stop: []cluster.AllocationID{id}}},
		Observe{By: by(11), Node: nodeA, Observations: []AllocationObservation{{ID: id, Observation: cluster.Observation{State: cluster.AllocationStopped}}}},
		remove,
		CreateApp{By: by(12), Name: "blog"},
	)
	if n := len(slices.Collect(r.state.Releases("blog"))); n != 0 {
		t.Errorf("%d releases of the app before it are left", n)
	}
}

func TestTokensOfADestroyedAppOpenNothingOfTheNextOne(t *testing.T) {
	r := withApp(t)
	mine, both, other := token("000000000001", cluster.ScopeDeploy), token("000000000002", cluster.ScopeRead), token("000000000003", cluster.ScopeAdmin)
	mine.Apps, both.Apps = []cluster.AppName{"blog"}, []cluster.AppName{"blog", "shop"}
	r.must(CreateApp{By: by(2), Name: "shop"}, CreateToken{By: by(2), Token: mine}, CreateToken{By: by(2), Token: both}, CreateToken{By: by(2), Token: other},
		DestroyApp{By: by(3), Name: "blog"}, ApplyPlan{By: by(4), Plan: cluster.Plan{RemoveApps: []cluster.AppName{"blog"}}})
	before := r.state.Index()
	r.must(CreateApp{By: by(5), Name: "blog"})
	if got, want := r.actions(before), []string{"token.revoked", "app.created"}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	if _, err := r.state.Token(mine.ID); err == nil {
		t.Error("the token of the app before opens this one")
	}
	if x, err := r.state.Token(both.ID); err != nil || !slices.Equal(x.Apps, []cluster.AppName{"shop"}) {
		t.Errorf("the token of two apps: %+v %v, want it for shop alone", x, err)
	}
	if x, err := r.state.Token(other.ID); err != nil || x.Scope != cluster.ScopeAdmin {
		t.Errorf("the cluster's token: %+v %v", x, err)
	}
}

func TestDestroyedAppIsNotHeldByANodeThatIsDown(t *testing.T) {
	r := withApp(t)
	r.withNode(nodeA)
	out := r.deploy(2, cluster.DeploymentSucceeded)
	r.must(ApplyPlan{By: by(3), Plan: cluster.Plan{Place: []cluster.Placement{{App: "blog", Type: "web", Slot: 1, Attempt: 1, Release: out.Release, Node: nodeA}}}},
		DestroyApp{By: by(4), Name: "blog"}, SetNodeState{By: by(5), ID: nodeA, State: cluster.NodeDown},
		ApplyPlan{By: by(6), Plan: cluster.Plan{RemoveApps: []cluster.AppName{"blog"}}})
	if _, err := r.state.App("blog"); err == nil {
		t.Error("the app is still there")
	}
}

func onlyAllocation(t *testing.T, r *replica) *cluster.Allocation {
	t.Helper()
	all := slices.Collect(r.state.Allocations())
	if len(all) != 1 {
		t.Fatalf("%d allocations, want 1", len(all))
	}
	return all[0]
}

func TestDomains(t *testing.T) {
	r := withApp(t)
	r.must(CreateApp{By: by(2), Name: "shop"}, AddDomain{By: by(3), App: "blog", Host: "www.example.org"})
	for _, c := range []struct {
		app  cluster.AppName
		host cluster.Hostname
		kind cluster.Kind
		code string
	}{
		{"shop", "www.example.org", cluster.KindConflict, "domain_taken"},
		{"blog", "www.example.org", cluster.KindConflict, "domain_taken"},
		{"blog", "shop.apps.example.com", cluster.KindConflict, "domain_taken"},
		{"blog", "blog.apps.example.com", cluster.KindConflict, "domain_taken"},
		{"blog", "dashboard.apps.example.com", cluster.KindConflict, "domain_taken"},
		{"blog", "apps.example.com", cluster.KindConflict, "domain_taken"},
		{"blog", "*.example.org", cluster.KindInvalid, "hostname"},
		{"blog", "UPPER.example.org", cluster.KindInvalid, "hostname"},
		{"none", "x.example.org", cluster.KindNotFound, "app"},
	} {
		r.refuse(AddDomain{By: by(4), App: c.app, Host: c.host}, c.kind, c.code)
	}
	// A free label under the domain may be taken, and then no app can have that name.
	r.must(AddDomain{By: by(5), App: "blog", Host: "news.apps.example.com"})
	r.refuse(CreateApp{By: by(6), Name: "news"}, cluster.KindConflict, "domain_taken")

	r.refuse(RemoveDomain{By: by(7), App: "shop", Host: "www.example.org"}, cluster.KindNotFound, "domain")
	r.refuse(RemoveDomain{By: by(7), App: "blog", Host: "blog.apps.example.com"}, cluster.KindNotFound, "domain")
	r.must(RemoveDomain{By: by(8), App: "blog", Host: "www.example.org"})
	if e := r.lastEvent(); e.Action != "domain.removed" || e.Target != "www.example.org" {
		t.Errorf("event is %+v", e)
	}
}

func TestFilesAndLocks(t *testing.T) {
	r := withApp(t)
	r.refuse(PutFile{By: by(1), Key: "../x", Value: sealed("v")}, cluster.KindInvalid, "file_key")
	r.refuse(PutFile{By: by(1), Key: "x"}, cluster.KindInvalid, "file")
	r.must(PutFile{By: by(1), Key: "certs/a/a.crt", Value: sealed("1")}, PutFile{By: by(1), Key: "certs/a/a.key", Value: sealed("2")},
		PutFile{By: by(1), Key: "certs/ab", Value: sealed("3")}, DeleteFile{By: by(2), Key: "certs/a"})
	if files := slices.Collect(r.state.Files("")); len(files) != 1 || files[0].Key != "certs/ab" {
		t.Errorf("files left: %v", files)
	}
	r.same(DeleteFile{By: by(3), Key: "certs/a"})

	lock := func(n int, holder string) AcquireLock {
		return AcquireLock{By: by(n), Name: "issue", Holder: holder, TTL: 10 * time.Second}
	}
	r.refuse(AcquireLock{By: by(0), Name: "issue", Holder: "x"}, cluster.KindInvalid, "ttl")
	r.must(lock(0, "x"))
	r.refuse(lock(9, "y"), cluster.KindConflict, "lock_held")
	r.must(lock(9, "x")) // renewed until 19
	r.refuse(lock(18, "y"), cluster.KindConflict, "lock_held")
	r.must(lock(19, "y")) // the lease ran out
	r.same(ReleaseLock{By: by(20), Name: "issue", Holder: "x"})
	r.must(ReleaseLock{By: by(20), Name: "issue", Holder: "y"}, lock(20, "x"),
		AcquireLock{By: by(99), Name: "other", Holder: "z", TTL: time.Second})
	if _, ok := r.state.Lock("issue"); ok {
		t.Error("a lease that ran out was kept")
	}
}

func TestAuditRecordsAndValidates(t *testing.T) {
	r := withApp(t)
	r.refuse(Audit{By: by(1), Action: "Nonsense"}, cluster.KindInvalid, "action")
	r.refuse(Audit{By: by(1), Action: "config.revealed", App: "none"}, cluster.KindNotFound, "app")
	r.must(Audit{By: by(2), Action: "config.revealed", App: "blog", Target: "KEY", Text: "a\x1b[31mline\nand more"})
	if e := r.lastEvent(); e.Text != "a [31mline and more" || e.Target != "KEY" {
		t.Errorf("event is %+v", e)
	}
}
