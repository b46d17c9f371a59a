package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"paas/cluster"
)

// sim is a whole cluster in memory: a store that commits plans as strictly as it
// can, agents that start and stop replicas, routers that acknowledge tables. It
// has its own clock and fails the test as soon as a plan breaks a promise.
type sim struct {
	t       tester
	state   *cluster.State
	now     time.Time
	leading time.Time // since when; zero is for ever
	routers map[cluster.NodeID]cluster.RouterStatus
	// lagging routers acknowledge nothing new.
	lagging map[cluster.NodeID]bool
	// inFlight is what every router reports for drained replicas.
	inFlight map[cluster.AllocationID]int
	// fate says how replicas of a release do; absent means fine.
	fate map[release]fate
	// broken nodes start nothing that stays up.
	broken map[cluster.NodeID]bool
	// balk are nodes that give no replica a container, and how far one gets there.
	balk  map[cluster.NodeID]cluster.AllocationState
	moves int       // for the sake of the spread, so far
	next  time.Time // of the last plan
	last  cluster.Plan
}

type release struct {
	app     cluster.AppName
	version cluster.ReleaseVersion
}

// fate is what becomes of a release's replicas.
type fate int

const (
	fine fate = iota
	crashes
	runsOutOfMemory
	hasNoImage
	neverPasses
	staysStarting
)

const mib = 1 << 20

// tester is what testing.T and rapid.T share.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newSim(t tester) *sim {
	return &sim{
		t: t, state: &cluster.State{}, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		routers: map[cluster.NodeID]cluster.RouterStatus{}, lagging: map[cluster.NodeID]bool{},
		inFlight: map[cluster.AllocationID]int{}, fate: map[release]fate{}, broken: map[cluster.NodeID]bool{}, balk: map[cluster.NodeID]cluster.AllocationState{},
	}
}

// change commits one command.
func (s *sim) change(f func(d *cluster.Draft)) {
	d := s.state.Draft(s.state.Index() + 1)
	f(d)
	s.state = d.State()
}

// node adds a node that is up, runs apps and a router, and has 1 GiB and 4 CPUs.
func (s *sim) node(name, zone string, with ...func(*cluster.Node)) cluster.NodeID {
	id := cluster.NodeID(name)
	n := cluster.Node{
		ID: id, Name: name, Zone: zone, CreatedAt: s.now, Apps: true, Router: true, State: cluster.NodeUp,
		StateAt: s.now, Arch: "amd64", MemoryBytes: 1024 * mib, CPUMilli: 4000,
	}
	for _, f := range with {
		f(&n)
	}
	s.change(func(d *cluster.Draft) { d.PutNode(n) })
	return id
}

func memory(n int64) func(*cluster.Node) { return func(x *cluster.Node) { x.MemoryBytes = n * mib } }
func noApps(x *cluster.Node)             { x.Apps = false }
func noRouter(x *cluster.Node)           { x.Router = false }

// set changes a node.
func (s *sim) set(id cluster.NodeID, f func(*cluster.Node)) {
	s.t.Helper()
	n, err := s.state.Node(id)
	if err != nil {
		s.t.Fatal(err)
	}
	changed := *n
	f(&changed)
	if changed.State != n.State {
		changed.StateAt = s.now
	}
	s.change(func(d *cluster.Draft) { d.PutNode(changed) })
}

func down(n *cluster.Node)     { n.State = cluster.NodeDown }
func up(n *cluster.Node)       { n.State = cluster.NodeUp }
func draining(n *cluster.Node) { n.Draining = true }
func cordoned(n *cluster.Node) { n.Cordoned = true }

// formation is a process table with quantities, for app and scale.
type formation map[cluster.ProcessType]int

// app adds an app without a release.
func (s *sim) app(name cluster.AppName, f formation) cluster.AppName {
	s.change(func(d *cluster.Draft) {
		d.PutApp(cluster.App{Name: name, CreatedAt: s.now, Formation: f})
	})
	return name
}

// setApp changes an app.
func (s *sim) setApp(name cluster.AppName, f func(*cluster.App)) {
	s.t.Helper()
	a, err := s.state.App(name)
	if err != nil {
		s.t.Fatal(err)
	}
	changed := *a
	f(&changed)
	s.change(func(d *cluster.Draft) { d.PutApp(changed) })
}

func (s *sim) scale(name cluster.AppName, t cluster.ProcessType, n int) {
	s.setApp(name, func(a *cluster.App) {
		a.Formation = cluster.CloneConfig(a.Formation)
		a.Formation[t] = n
	})
}

func (s *sim) restart(name cluster.AppName, t cluster.ProcessType) {
	s.setApp(name, func(a *cluster.App) {
		a.Generation = cluster.CloneConfig(a.Generation)
		a.Generation[t]++
	})
}

// process is a process type that needs the given MiB.
func process(needs int64) cluster.Process {
	return cluster.Process{MemoryBytes: needs * mib, CPUMilli: 10}
}

// deploy makes a release of the given process types, 100 MiB each, and starts
// its deployment.
func (s *sim) deploy(name cluster.AppName, how fate, types ...cluster.ProcessType) cluster.DeploymentID {
	procs := map[cluster.ProcessType]cluster.Process{}
	for _, t := range types {
		procs[t] = process(100)
	}
	return s.deployRelease(name, how, cluster.Release{Processes: procs})
}

func (s *sim) deployRelease(name cluster.AppName, how fate, r cluster.Release) cluster.DeploymentID {
	s.t.Helper()
	a, err := s.state.App(name)
	if err != nil {
		s.t.Fatal(err)
	}
	changed := *a
	changed.Latest++
	r.App, r.Version, r.State, r.CreatedAt = name, changed.Latest, cluster.ReleasePending, s.now
	s.fate[release{name, r.Version}] = how
	var id cluster.DeploymentID
	s.change(func(d *cluster.Draft) {
		id = cluster.DeploymentID(fmt.Sprintf("d-%d", d.NextSequence()))
		d.PutApp(changed)
		d.PutRelease(r)
		d.PutDeployment(cluster.Deployment{
			ID: id, App: name, Release: r.Version, From: a.Current, State: cluster.DeploymentRolling,
			CreatedAt: s.now, ProgressAt: s.now,
		})
	})
	return id
}

// input is what the leader would ask with.
func (s *sim) input() Input {
	return Input{State: s.state, Routers: maps.Clone(s.routers), Now: s.now, LeadingSince: s.leading}
}

// lead makes somebody else the leader, who has heard of no router yet.
func (s *sim) lead() {
	s.leading = s.now
	clear(s.routers)
}

// decide computes, checks and commits one plan.
func (s *sim) decide() cluster.Plan {
	s.t.Helper()
	in := s.input()
	p := Compute(in)
	s.check(in, &p)
	s.last, s.next = p, p.Next
	if !p.Empty() {
		s.commit(&p)
	}
	return p
}

// commit applies a plan as the store does, but refuses instead of dropping what
// does not fit: a plan from the newest state always has to.
func (s *sim) commit(p *cluster.Plan) {
	s.t.Helper()
	s.change(func(d *cluster.Draft) {
		for _, u := range p.Deployments {
			s.commitDeployment(d, u)
		}
		for _, id := range p.Drain {
			s.move(d, id, cluster.DesiredDrain, cluster.DesiredRun)
		}
		for _, id := range p.Stop {
			s.move(d, id, cluster.DesiredStop, cluster.DesiredRun, cluster.DesiredDrain)
		}
		for _, id := range p.Forget {
			s.commitForget(d, id)
		}
		for _, x := range p.Place {
			s.commitPlacement(d, x)
		}
		for _, app := range p.RemoveApps {
			d.RemoveApp(app)
		}
	})
}

func (s *sim) commitPlacement(d *cluster.Draft, x cluster.Placement) {
	s.t.Helper()
	st := d.State()
	n, err := st.Node(x.Node)
	if err != nil || !n.Schedulable() {
		s.t.Fatalf("%s.%d placed on %s, which is not schedulable", x.Type, x.Slot, x.Node)
	}
	mounts := s.mount(d, x)
	r, err := st.Release(x.App, x.Release)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, ok := r.Processes[x.Type]; !ok {
		s.t.Fatalf("%s has no process %s", r.Version, x.Type)
	}
	for a := range st.AllocationsOf(x.App) {
		if a.Type == x.Type && a.Slot == x.Slot && a.Attempt >= x.Attempt {
			s.t.Fatalf("%s attempt %d placed, but there is %d", a.Instance(), x.Attempt, a.Attempt)
		}
	}
	d.PutAllocation(cluster.Allocation{
		ID:  cluster.AllocationID(fmt.Sprintf("a-%d", d.NextSequence())),
		App: x.App, Type: x.Type, Slot: x.Slot, Attempt: x.Attempt, Release: x.Release, Generation: x.Generation,
		Node: x.Node, CreatedAt: s.now, Mounts: mounts, Moves: x.Moves, Desired: cluster.DesiredRun, DesiredIndex: st.Index(), DesiredAt: s.now,
	})
}

func (s *sim) move(d *cluster.Draft, id cluster.AllocationID, to cluster.DesiredState, from ...cluster.DesiredState) {
	s.t.Helper()
	a, err := d.State().Allocation(id)
	if err != nil {
		s.t.Fatal(err)
	}
	if !slices.Contains(from, a.Desired) {
		s.t.Fatalf("%s of %s moved from %s to %s", a.ID, a.Instance(), a.Desired, to)
	}
	changed := *a
	changed.Desired, changed.DesiredIndex, changed.DesiredAt = to, d.State().Index(), s.now
	d.PutAllocation(changed)
}

func (s *sim) commitForget(d *cluster.Draft, id cluster.AllocationID) {
	s.t.Helper()
	a, err := d.State().Allocation(id)
	if err != nil {
		s.t.Fatal(err)
	}
	_, gone := d.State().Node(a.Node)
	if a.Desired != cluster.DesiredStop || (a.Live() && gone == nil) {
		s.t.Fatalf("%s of %s forgotten while it is %s and wanted to %s", a.ID, a.Instance(), a.Observed.State, a.Desired)
	}
	d.RemoveAllocation(a)
}

func (s *sim) commitDeployment(d *cluster.Draft, u cluster.DeploymentUpdate) {
	s.t.Helper()
	x, err := d.State().Deployment(u.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	changed := *x
	changed.ProgressAt = s.now
	if u.State != cluster.DeploymentUnknown {
		changed.State, changed.Failure = u.State, u.Failure
	}
	d.PutDeployment(changed)
	app, _ := d.State().App(x.App)
	rel, _ := d.State().Release(x.App, x.Release)
	a, r := *app, *rel
	switch u.State {
	case cluster.DeploymentSucceeded:
		a.Current, r.State = r.Version, cluster.ReleaseSucceeded
	case cluster.DeploymentFailed, cluster.DeploymentCancelled:
		r.State = cluster.ReleaseFailed
	}
	d.PutApp(a)
	d.PutRelease(r)
}

// observe records news of one allocation, if it is news.
func (s *sim) observe(a *cluster.Allocation, o cluster.Observation) {
	if a.Observed == o {
		return
	}
	s.change(func(d *cluster.Draft) {
		changed := *a
		changed.Observe(o, d.State().Index(), s.now)
		d.PutAllocation(changed)
	})
}

// act lets one agent move one allocation one step on.
func (s *sim) act(a *cluster.Allocation) {
	n, err := s.state.Node(a.Node)
	if err != nil || n.State != cluster.NodeUp {
		return
	}
	o := a.Observed
	if a.Desired == cluster.DesiredStop {
		switch {
		case o.State.Terminal():
			return
		case o.State == cluster.AllocationPending || o.State == cluster.AllocationStopping:
			o.State = cluster.AllocationStopped
		default: // what became of it before is still known
			o.State, o.Reason, o.Address, o.HealthySince, o.Ailing = cluster.AllocationStopping, "", "", time.Time{}, false
		}
		s.observe(a, o)
		return
	}
	s.observe(a, s.live(a, o))
}

// live is the next observation of an allocation that should run.
func (s *sim) live(a *cluster.Allocation, o cluster.Observation) cluster.Observation {
	how := s.fate[release{a.App, a.Release}]
	if s.broken[a.Node] {
		how = crashes
	}
	if to, balks := s.balk[a.Node]; balks && (o.StartedAt.IsZero() || o.State == cluster.AllocationBackoff) {
		return s.refuse(o, to)
	}
	switch o.State {
	case cluster.AllocationPending:
		o.State = cluster.AllocationPulling
	case cluster.AllocationPulling:
		o.State, o.ContainerID, o.StartedAt = cluster.AllocationStarting, "c-"+string(a.ID), s.now
		if how == hasNoImage {
			o = cluster.Observation{State: cluster.AllocationFailed, Reason: "image not found"}
		}
	case cluster.AllocationStarting:
		o = s.start(o, how)
	case cluster.AllocationUnhealthy, cluster.AllocationBackoff:
		if how == fine {
			if o.StartedAt.IsZero() {
				o.ContainerID, o.StartedAt = "c-"+string(a.ID), s.now
			}
			o.State, o.HealthySince, o.Ailing = cluster.AllocationHealthy, s.now, false
			o.Address = "10.0.0.1:8080"
		}
	}
	return o
}

// refuse is how far a replica gets on a node that balks.
func (s *sim) refuse(o cluster.Observation, to cluster.AllocationState) cluster.Observation {
	if to == cluster.AllocationBackoff {
		o.Restarts++
	}
	if o.State = to; to != cluster.AllocationPending {
		o.Reason = "no space left on device"
	}
	return o
}

func (s *sim) start(o cluster.Observation, how fate) cluster.Observation {
	switch how {
	case crashes:
		o.State, o.Restarts, o.ExitCode, o.Reason = cluster.AllocationBackoff, o.Restarts+1, 1, "exited with code 1 after 0.8s"
	case runsOutOfMemory:
		o.State, o.Restarts, o.ExitCode, o.OOM = cluster.AllocationBackoff, o.Restarts+1, 137, true
	case neverPasses:
		o.State, o.Reason = cluster.AllocationUnhealthy, "no answer on port 8080 within 60s"
	case staysStarting:
	default:
		o.State, o.HealthySince, o.Address = cluster.AllocationHealthy, s.now, "10.0.0.1:8080"
	}
	return o
}

// agents lets every agent move each of its allocations one step.
func (s *sim) agents() {
	for _, a := range slices.Collect(s.state.Allocations()) {
		s.act(a)
	}
}

// acknowledge lets the routers that do not lag take the newest table.
func (s *sim) acknowledge() {
	for n := range s.state.Nodes() {
		if !n.Router || n.State != cluster.NodeUp || s.lagging[n.ID] {
			continue
		}
		s.routers[n.ID] = cluster.RouterStatus{Node: n.ID, Index: s.state.Index(), InFlight: maps.Clone(s.inFlight)}
	}
}

// tick is one round of everybody, d later.
func (s *sim) tick(d time.Duration) cluster.Plan {
	s.t.Helper()
	s.now = s.now.Add(d)
	s.agents()
	s.acknowledge()
	return s.decide()
}

// settle runs until nothing changes any more and nothing waits for the clock.
func (s *sim) settle() {
	s.t.Helper()
	for range 3000 {
		before := s.state.Index()
		p := s.tick(100 * time.Millisecond)
		if s.state.Index() != before {
			continue
		}
		if p.Next.IsZero() {
			return
		}
		s.now = p.Next
	}
	s.t.Fatalf("the cluster does not settle; last plan %+v\n%s", s.last, s.dump())
}

// until ticks until ok, or fails.
func (s *sim) until(what string, ok func() bool) {
	s.t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		s.tick(100 * time.Millisecond)
	}
	s.t.Fatalf("never %s\n%s", what, s.dump())
}

// dump shows what there is.
func (s *sim) dump() string {
	out := ""
	for n := range s.state.Nodes() {
		out += fmt.Sprintf("node %s zone=%s %s cordoned=%t draining=%t mem=%d\n", n.ID, n.Zone, n.State, n.Cordoned, n.Draining, n.MemoryBytes/mib)
	}
	for a := range s.state.Apps() {
		out += fmt.Sprintf("app %s current=%s formation=%v gen=%v destroying=%t\n", a.Name, a.Current, a.Formation, a.Generation, a.Destroying)
		if d := s.state.ActiveDeployment(a.Name); d != nil {
			out += fmt.Sprintf("  deployment %s of %s\n", d.ID, d.Release)
		}
	}
	for a := range s.state.Allocations() {
		out += fmt.Sprintf("%s %s/%s#%d %s gen=%d on %s %s/%s\n", a.ID, a.App, a.Instance(), a.Attempt, a.Release, a.Generation, a.Node, a.Desired, a.Observed.State)
	}
	return out
}

// run lists an app's replicas that should run: "web.1#2 v3 node-a".
func (s *sim) run(app cluster.AppName) []string {
	var out []string
	for a := range s.state.AllocationsOf(app) {
		if a.Desired == cluster.DesiredRun {
			out = append(out, fmt.Sprintf("%s %s", a.Instance(), a.Release))
		}
	}
	slices.Sort(out)
	return out
}

// where counts an app's running replicas by node.
func (s *sim) where(app cluster.AppName) map[cluster.NodeID]int {
	out := map[cluster.NodeID]int{}
	for a := range s.state.AllocationsOf(app) {
		if a.Desired == cluster.DesiredRun {
			out[a.Node]++
		}
	}
	return out
}

// find returns the newest replica of an instance that should run.
func (s *sim) find(app cluster.AppName, instance string) *cluster.Allocation {
	s.t.Helper()
	var found *cluster.Allocation
	for a := range s.state.AllocationsOf(app) {
		if a.Instance() == instance && a.Desired == cluster.DesiredRun {
			found = a
		}
	}
	if found == nil {
		s.t.Fatalf("no %s of %s runs\n%s", instance, app, s.dump())
	}
	return found
}

func (s *sim) deployment(id cluster.DeploymentID) *cluster.Deployment {
	s.t.Helper()
	d, err := s.state.Deployment(id)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}
