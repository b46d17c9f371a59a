package store

import (
	"slices"
	"strings"
	"testing"

	"paas/cluster"
)

// serving is an app with a serving release v1 and node A.
func serving(t *testing.T) *replica {
	r := withApp(t)
	r.withNode(nodeA)
	r.deploy(1, cluster.DeploymentSucceeded)
	return r
}

func web(slot, attempt int) cluster.Placement {
	return cluster.Placement{App: "blog", Type: "web", Slot: slot, Attempt: attempt, Release: 1, Node: nodeA}
}

func place(n int, p ...cluster.Placement) ApplyPlan {
	return ApplyPlan{By: by(n), Plan: cluster.Plan{Place: p}}
}

func TestPlacementMakesAnAllocation(t *testing.T) {
	r := serving(t)
	r.must(place(2, web(1, 1)))
	a := onlyAllocation(t, r)
	if a.Instance() != "web.1" || a.Desired != cluster.DesiredRun || a.DesiredIndex != r.state.Index() || !a.DesiredAt.Equal(by(2).At) || !a.CreatedAt.Equal(by(2).At) {
		t.Errorf("allocation is %+v", a)
	}
	if again, err := r.state.Allocation(a.ID); err != nil || again != a {
		t.Errorf("looked up: %v, %v", again, err)
	}
}

func TestPlacementsThatDoNotFitAreRejectedOneByOne(t *testing.T) {
	r := serving(t)
	r.must(place(2, web(1, 1)))
	foreign := web(9, 1)
	foreign.Node = nodeB
	wrong := web(9, 1)
	wrong.Release = 7
	typ := web(9, 1)
	typ.Type = "clock"
	app := web(9, 1)
	app.App = "none"
	out := r.must(place(3, web(1, 1), web(2, 1), web(2, 1), foreign, wrong, typ, app, web(0, 1), web(9, 0), web(1, 2)))
	if out.Rejected != 8 {
		t.Errorf("%d rejected, want 8", out.Rejected)
	}
	var got []string
	for a := range r.state.Allocations() {
		got = append(got, a.Instance())
	}
	if want := []string{"web.1", "web.2", "web.1"}; !slices.Equal(got, want) {
		t.Errorf("allocations %v, want %v", got, want)
	}
	if out := r.same(place(4, web(1, 1))); out.Rejected != 1 {
		t.Errorf("outcome %+v", out)
	}
}

func TestPlacementRespectsTheNode(t *testing.T) {
	for name, prepare := range map[string]Command{
		"down":         SetNodeState{By: by(2), ID: nodeA, State: cluster.NodeDown},
		"no apps":      RegisterNode{By: by(2), Node: cluster.Node{ID: nodeA, Name: "a", Zone: "a", MemoryBytes: 1 << 40, CPUMilli: 9999, Arch: "amd64"}},
		"other arch":   RegisterNode{By: by(2), Node: cluster.Node{ID: nodeA, Name: "a", Zone: "a", Apps: true, MemoryBytes: 1 << 40, CPUMilli: 9999, Arch: "arm64"}},
		"small memory": RegisterNode{By: by(2), Node: cluster.Node{ID: nodeA, Name: "a", Zone: "a", Apps: true, MemoryBytes: 1 << 20, CPUMilli: 9999, Arch: "amd64"}},
		"small CPU":    RegisterNode{By: by(2), Node: cluster.Node{ID: nodeA, Name: "a", Zone: "a", Apps: true, MemoryBytes: 1 << 40, CPUMilli: 99, Arch: "amd64"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := withApp(t)
			r.withNode(nodeA)
			c := release(1)
			c.Image.Arch = "amd64"
			r.end(1, r.must(c).Deployment, cluster.DeploymentSucceeded)
			r.must(prepare)
			if out := r.same(place(3, web(1, 1))); out.Rejected != 1 {
				t.Errorf("outcome %+v, want a rejection", out)
			}
		})
	}
}

func TestCapacityCountsWhatIsStillThere(t *testing.T) {
	r := serving(t)
	var all []cluster.Placement
	for i := range 11 {
		all = append(all, web(i+1, 1))
	}
	if out := r.must(place(2, all...)); out.Rejected != 1 {
		t.Fatalf("%d rejected, want 1: ten fit", out.Rejected)
	}
	var first *cluster.Allocation
	for a := range r.state.Allocations() {
		first = a
		break
	}
	r.must(ApplyPlan{By: by(3), Plan: cluster.Plan{Stop: []cluster.AllocationID{first.ID}}})
	r.same(place(4, web(11, 1))) // told to stop is not gone
	r.must(observe(5, first.ID, cluster.Observation{State: cluster.AllocationStopped}), place(6, web(11, 1)))
}

func observe(n int, id cluster.AllocationID, o cluster.Observation) Observe {
	return Observe{By: by(n), Node: nodeA, Observations: []AllocationObservation{{ID: id, Observation: o}}}
}

func TestDesiredOnlyMovesForward(t *testing.T) {
	r := serving(t)
	r.must(place(2, web(1, 1)))
	id := onlyAllocation(t, r).ID
	ids := []cluster.AllocationID{id, "a-99"}
	drain, stop := cluster.Plan{Drain: ids}, cluster.Plan{Stop: ids}
	forget := ApplyPlan{By: by(9), Plan: cluster.Plan{Forget: ids}}
	r.same(forget)
	r.must(ApplyPlan{By: by(3), Plan: drain})
	drained := r.state.Index()
	r.same(ApplyPlan{By: by(4), Plan: drain})
	if a := onlyAllocation(t, r); a.Desired != cluster.DesiredDrain || a.DesiredIndex != drained {
		t.Errorf("allocation is %+v", a)
	}
	r.must(ApplyPlan{By: by(5), Plan: stop})
	r.same(ApplyPlan{By: by(6), Plan: drain})
	r.same(forget) // it still runs
	r.must(observe(7, id, cluster.Observation{State: cluster.AllocationStopped}), forget)
	if n := len(slices.Collect(r.state.Allocations())); n != 0 {
		t.Errorf("%d allocations left", n)
	}
}

func TestPlacementOfAReleaseThatFailedIsRejected(t *testing.T) {
	r := serving(t)
	out := r.must(release(2))
	p := web(1, 1)
	p.Release = out.Release
	r.must(place(3, p)) // its deployment is active
	r.end(4, out.Deployment, cluster.DeploymentFailed)
	p.Slot = 2
	r.same(place(5, p))
}

// A plan that others overtook ends nothing that should run: what it counted on may
// be gone. The scheduler computes it again.
func TestPlanThatWasOvertakenEndsNothing(t *testing.T) {
	healthy := cluster.Observation{State: cluster.AllocationHealthy, Address: "10.0.0.2:8080"}
	crashed := cluster.Observation{State: cluster.AllocationBackoff, Restarts: 1, ExitCode: 1}
	for what, c := range map[string]struct {
		between Command
		skipped bool
	}{
		"nothing":                  {nil, false},
		"another app":              {CreateApp{By: by(5), Name: "shop"}, false},
		"a replica that gets on":   {observe(5, "a-3", cluster.Observation{State: cluster.AllocationStarting}), false},
		"a stand-in that crashed":  {observe(5, "a-3", crashed), true},
		"a stand-in that restarts": {observe(5, "a-3", cluster.Observation{State: cluster.AllocationStarting, Restarts: 1}), true},
		"more replicas":            {Scale{By: by(5), App: "blog", Quantities: map[cluster.ProcessType]int{"web": 5}}, true},
		"the end of its app":       {DestroyApp{By: by(5), Name: "blog"}, false},
	} {
		r := serving(t)
		r.must(place(2, web(1, 1)))
		first := onlyAllocation(t, r).ID
		p := web(1, 2)
		r.must(place(3, p), observe(4, first, healthy))
		for a := range r.state.Allocations() {
			if a.ID != first && a.ID != "a-3" {
				t.Fatalf("the stand-in is %s", a.ID)
			}
		}
		r.must(observe(4, "a-3", healthy))
		plan := ApplyPlan{By: by(6), Plan: cluster.Plan{Index: r.state.Index(), Drain: []cluster.AllocationID{first}}}
		if c.between != nil {
			r.must(c.between)
		}
		r.must(plan)
		a, err := r.state.Allocation(first)
		if err != nil {
			t.Fatal(err)
		}
		if skipped := a.Desired == cluster.DesiredRun; skipped != c.skipped {
			t.Errorf("%s: skipped %v, want %v", what, skipped, c.skipped)
		}
		plan.Plan.Index = r.state.Index()
		r.must(plan)
		if a, _ := r.state.Allocation(first); a.Desired != cluster.DesiredDrain {
			t.Errorf("%s: a newer plan leaves it %s", what, a.Desired)
		}
	}
}

func TestObserve(t *testing.T) {
	r := serving(t)
	r.must(place(2, web(1, 1)))
	id := onlyAllocation(t, r).ID
	healthy := cluster.Observation{State: cluster.AllocationHealthy, Address: "10.0.0.2:8080", HealthySince: by(3).At}
	r.must(observe(3, id, healthy))
	at := r.state.Index()
	if a := onlyAllocation(t, r); a.ObservedIndex != at || !a.Routed() || !a.HealthyAt.Equal(by(3).At) {
		t.Errorf("allocation is %+v", a)
	}
	if ups := r.state.Routes().Routes[0].Upstreams; len(ups) != 1 || ups[0].Zone != "a" {
		t.Errorf("upstreams are %+v", ups)
	}
	r.same(observe(4, id, healthy))
	r.same(observe(4, "a-99", healthy))
	anew := healthy // it was ill between two messages; its host's clock is a day behind
	anew.HealthySince = by(-86400).At
	r.must(observe(4, id, anew))
	if a := onlyAllocation(t, r); !a.HealthyAt.Equal(by(4).At) {
		t.Errorf("healthy at %s, want %s", a.HealthyAt, by(4).At)
	}
	foreign := observe(4, id, cluster.Observation{State: cluster.AllocationFailed})
	foreign.Node = nodeB
	r.same(foreign)

	before := r.state.Index()
	r.must(observe(5, id, cluster.Observation{State: cluster.AllocationBackoff, ExitCode: 1, Reason: "exited with code 1 after 0.8s"}))
	r.must(observe(6, id, cluster.Observation{State: cluster.AllocationStarting, ExitCode: 1, Restarts: 1}))
	r.must(observe(7, id, cluster.Observation{State: cluster.AllocationHealthy, ExitCode: 1, Restarts: 1}))
	if a := onlyAllocation(t, r); !a.HealthyAt.Equal(by(7).At) {
		t.Errorf("healthy again at %s, want %s", a.HealthyAt, by(7).At)
	}
	r.must(observe(8, id, cluster.Observation{State: cluster.AllocationStarting, ExitCode: 137, OOM: true, Restarts: 2}))
	r.must(observe(9, id, cluster.Observation{State: cluster.AllocationFailed, Restarts: 2}))
	if got, want := r.actions(before), []string{"instance.crashed", "instance.crashed", "instance.failed"}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	if a := onlyAllocation(t, r); !a.HealthyAt.IsZero() {
		t.Errorf("failed, and healthy at %s", a.HealthyAt)
	}
	r.same(observe(10, id, healthy)) // what is gone stays gone
}

func TestCrashLoopDoesNotFloodTheAudit(t *testing.T) {
	r := serving(t)
	r.must(place(2, web(1, 1)))
	id := onlyAllocation(t, r).ID
	before := r.state.Index()
	for n := range 1000 { // a day of a replica that exits as soon as it runs
		r.must(observe(3+2*n, id, cluster.Observation{State: cluster.AllocationBackoff, ExitCode: 1, Restarts: n}))
		r.must(observe(4+2*n, id, cluster.Observation{State: cluster.AllocationStarting, ExitCode: 1, Restarts: n + 1}))
	}
	var texts []string
	for e := range r.state.EventsSince(before) {
		texts = append(texts, e.Text)
	}
	if len(texts) != 4+7 { // the first four, then 8, 16 … 512
		t.Fatalf("%d events: %q", len(texts), texts)
	}
	if last := texts[len(texts)-1]; !strings.Contains(last, "(512 times)") {
		t.Errorf("the last one is %q", last)
	}
}

func TestExitThatWasAskedForIsNoCrash(t *testing.T) {
	r := serving(t)
	r.must(place(2, web(1, 1)))
	id := onlyAllocation(t, r).ID
	r.must(ApplyPlan{By: by(3), Plan: cluster.Plan{Stop: []cluster.AllocationID{id}}})
	before := r.state.Index()
	r.must(observe(4, id, cluster.Observation{State: cluster.AllocationBackoff, ExitCode: 143}))
	if got := r.actions(before); len(got) != 0 {
		t.Errorf("events %v, want none", got)
	}
}

func TestRegisterNodeKeepsWhatOthersWrite(t *testing.T) {
	r := withApp(t)
	r.refuse(RegisterNode{By: by(1), Node: cluster.Node{ID: "x"}}, cluster.KindInvalid, "node_id")
	r.refuse(RegisterNode{By: by(1), Node: cluster.Node{ID: nodeA, Name: "a", Zone: "No Zone"}}, cluster.KindInvalid, "zone")
	n := cluster.Node{ID: nodeA, Name: "a", Zone: "a", Apps: true, State: cluster.NodeUp, MemoryBytes: 1 << 30, Cordoned: true}
	r.must(RegisterNode{By: by(1), Node: n})
	got, _ := r.state.Node(nodeA)
	if got.Cordoned || !got.CreatedAt.Equal(by(1).At) || got.State != cluster.NodeUp {
		t.Errorf("node is %+v", got)
	}
	r.same(RegisterNode{By: by(2), Node: n})
	r.must(SetNodeState{By: by(3), ID: nodeA, State: cluster.NodeDown})
	if e := r.lastEvent(); e.Action != "node.down" {
		t.Errorf("event is %+v", e)
	}
	r.same(SetNodeState{By: by(4), ID: nodeA, State: cluster.NodeDown})
	n.Version, n.State = "2", cluster.NodeUp
	r.must(RegisterNode{By: by(5), Node: n})
	got, _ = r.state.Node(nodeA)
	if got.Version != "2" || got.State != cluster.NodeDown || !got.StateAt.Equal(by(3).At) || !got.CreatedAt.Equal(by(1).At) {
		t.Errorf("node is %+v", got)
	}
	r.refuse(SetNodeState{By: by(6), ID: nodeB, State: cluster.NodeUp}, cluster.KindNotFound, "node")
	r.refuse(SetNodeState{By: by(6), ID: nodeA, State: cluster.NodeUnknown}, cluster.KindInvalid, "node_state")
}

func token(id cluster.TokenID, scope cluster.Scope) cluster.Token {
	return cluster.Token{ID: id, Name: "laptop", Hash: make([]byte, 32), Scope: scope}
}

func TestTokens(t *testing.T) {
	r := withApp(t)
	id := cluster.TokenID(strings.Repeat("a", 12))
	late := token(id, cluster.ScopeRead)
	late.ExpiresAt = by(0).At
	scoped := token(id, cluster.ScopeRead)
	scoped.Apps = []cluster.AppName{"none"}
	noHash := token(id, cluster.ScopeRead)
	noHash.Hash = nil
	for code, c := range map[string]struct {
		token cluster.Token
		kind  cluster.Kind
	}{
		"token_id": {token("short", cluster.ScopeRead), cluster.KindInvalid}, "scope": {token(id, 9), cluster.KindInvalid},
		"expires_at": {late, cluster.KindInvalid}, "app": {scoped, cluster.KindNotFound}, "token": {noHash, cluster.KindInvalid},
	} {
		r.refuse(CreateToken{By: by(1), Token: c.token}, c.kind, code)
	}
	r.must(CreateToken{By: by(1), Token: token(id, cluster.ScopeDeploy)})
	r.refuse(CreateToken{By: by(2), Token: token(id, cluster.ScopeDeploy)}, cluster.KindConflict, "token_exists")
	if e := r.lastEvent(); e.Action != "token.created" || e.Target != string(id) {
		t.Errorf("event is %+v", e)
	}
	r.must(RevokeToken{By: by(3), ID: id})
	r.refuse(RevokeToken{By: by(3), ID: id}, cluster.KindNotFound, "token")
}

func TestOneTimeTokenWorksOnceAndGivesNoMore(t *testing.T) {
	r := withApp(t)
	once := token("000000000001", cluster.ScopeDeploy)
	once.Once, once.ExpiresAt, once.Apps = true, by(100).At, []cluster.AppName{"blog"}
	r.must(CreateToken{By: by(1), Token: once})
	exchange := ExchangeToken{By: by(2), Once: once.ID, Token: token("000000000002", cluster.ScopeAdmin)}
	late := exchange
	late.By = by(100)
	r.refuse(late, cluster.KindUnauthenticated, "token")
	r.must(exchange)
	got, err := r.state.Token("000000000002")
	if err != nil {
		t.Fatal(err)
	}
	if got.Scope != cluster.ScopeDeploy || got.Once || !slices.Equal(got.Apps, once.Apps) {
		t.Errorf("token is %+v, want no more than the one-time token", got)
	}
	exchange.Token.ID = "000000000003"
	r.refuse(exchange, cluster.KindUnauthenticated, "token")
	exchange.Once = "000000000002" // a lasting token cannot be exchanged
	r.refuse(exchange, cluster.KindUnauthenticated, "token")
}
