package scheduler

import (
	"time"

	"paas/cluster"
)

// check holds a plan to what always must be true, computed here in another way
// than the scheduler does it.
func (s *sim) check(in Input, p *cluster.Plan) {
	s.t.Helper()
	after := s.after(p)
	s.checkCapacity(p)
	s.checkMinimum(p, after)
	s.checkLeast(p, after)
	s.checkEvicted(after)
	s.checkSpread(p, after)
	s.checkOrder(p)
	s.checkMoves(p)
	if !p.Next.IsZero() && !p.Next.After(in.Now) {
		s.t.Fatalf("next pass at %s, which is not after %s", p.Next, in.Now)
	}
}

// leaving is the plan's effect on allocations.
type leaving map[cluster.AllocationID]bool

func (s *sim) after(p *cluster.Plan) leaving {
	out := leaving{}
	for _, id := range p.Drain {
		out[id] = true
	}
	for _, id := range p.Stop {
		out[id] = true
	}
	return out
}

// checkCapacity: what is reserved on a node that gets something is within what it has.
func (s *sim) checkCapacity(p *cluster.Plan) {
	s.t.Helper()
	used := map[cluster.NodeID]int64{}
	for a := range s.state.Allocations() {
		if a.Live() {
			used[a.Node] += s.needs(a.App, a.Release, a.Type)
		}
	}
	for _, x := range p.Place {
		used[x.Node] += s.needs(x.App, x.Release, x.Type)
		if n, err := s.state.Node(x.Node); err != nil || used[x.Node] > n.MemoryBytes {
			s.t.Fatalf("%s.%d does not fit on %s: %d MiB\n%s", x.Type, x.Slot, x.Node, used[x.Node]/mib, s.dump())
		}
	}
}

func (s *sim) needs(app cluster.AppName, v cluster.ReleaseVersion, t cluster.ProcessType) int64 {
	r, err := s.state.Release(app, v)
	if err != nil {
		return 0
	}
	return r.Processes[t].MemoryBytes
}

// serving is the test's own idea of a replica that people can rely on.
func (s *sim) serving(a *cluster.Allocation) bool {
	n, err := s.state.Node(a.Node)
	if err != nil || n.State == cluster.NodeDown || a.Desired != cluster.DesiredRun ||
		a.Observed.State != cluster.AllocationHealthy {
		return false
	}
	age := s.now.Sub(a.HealthyAt)
	return age >= cluster.DefaultMinHealthy && (a.Type != cluster.ProcessWeb || s.tableHas(a.ObservedIndex) || age >= 10*time.Second)
}

func (s *sim) tableHas(index uint64) bool {
	for n := range s.state.Nodes() {
		if st, ok := s.routers[n.ID]; n.Router && n.State == cluster.NodeUp && (!ok || st.Index < index) {
			return false
		}
	}
	return true
}

// reported sums what the live routers last said is in flight.
func (s *sim) reported(id cluster.AllocationID) int {
	sum := 0
	for n := range s.state.Nodes() {
		if n.Router && n.State == cluster.NodeUp {
			sum += s.routers[n.ID].InFlight[id]
		}
	}
	return sum
}

// checkMinimum: no plan takes a process type below its quantity.
func (s *sim) checkMinimum(p *cluster.Plan, gone leaving) {
	s.t.Helper()
	for app := range s.state.Apps() {
		if app.Destroying {
			continue
		}
		before, after := map[cluster.ProcessType]int{}, map[cluster.ProcessType]int{}
		for a := range s.state.AllocationsOf(app.Name) {
			if !s.serving(a) {
				continue
			}
			if !s.bars(a) {
				before[a.Type]++
			}
			if !gone[a.ID] {
				after[a.Type]++
			}
		}
		for t, had := range before {
			if floor := min(had, s.wanted(app, t)); after[t] < floor {
				s.t.Fatalf("%s/%s goes from %d to %d, below %d: %+v\n%s", app.Name, t, had, after[t], floor, p, s.dump())
			}
		}
	}
}

// checkLeast: whatever checks say, no plan ends so many of the replicas that run
// that fewer are left than failing checks may leave; the only one has to go
// sometimes, to make room for another.
func (s *sim) checkLeast(p *cluster.Plan, gone leaving) {
	s.t.Helper()
	for app := range s.state.Apps() {
		if app.Destroying {
			continue
		}
		before, after := map[cluster.ProcessType]int{}, map[cluster.ProcessType]int{}
		for a := range s.state.AllocationsOf(app.Name) {
			if s.lasts(a) && !s.bars(a) {
				before[a.Type]++
			}
			if s.asked(a) && !gone[a.ID] {
				after[a.Type]++
			}
		}
		for t, had := range before {
			want := s.wanted(app, t)
			floor := min(had, want-max(1, want/2))
			if after[t] < floor {
				s.t.Fatalf("%s/%s goes from %d to %d that run, below %d: %+v\n%s", app.Name, t, had, after[t], floor, p, s.dump())
			}
		}
	}
}

// checkEvicted: a node that drains ends no replica that does well and is up to date
// before another one does well in its place.
func (s *sim) checkEvicted(gone leaving) {
	s.t.Helper()
	well := func(a *cluster.Allocation) bool {
		return s.asked(a) && a.Observed.State == cluster.AllocationHealthy
	}
	for id := range gone {
		a, err := s.state.Allocation(id)
		if err != nil {
			s.t.Fatal(err)
		}
		app, err := s.state.App(a.App)
		n, nodeErr := s.state.Node(a.Node)
		if err != nil || nodeErr != nil || app.Destroying || !n.Draining || !well(a) || a.Slot > s.wanted(app, a.Type) || a.Generation < app.Generation[a.Type] {
			continue
		}
		if r := s.target(app); r == nil || r.Version != a.Release || r.State == cluster.ReleaseFailed {
			continue
		}
		stands := false
		for o := range s.state.AllocationsOf(a.App) {
			stands = stands || o.ID != a.ID && o.Type == a.Type && o.Slot == a.Slot && well(o) && !gone[o.ID]
		}
		if !stands {
			s.t.Fatalf("%s of %s ends for its node's drain, and nothing does well in its place\n%s", a.ID, a.Instance(), s.dump())
		}
	}
}

// lasts reports whether a can be asked and there is no other reason to end it:
// its release did not fail, its node is not to be left.
func (s *sim) lasts(a *cluster.Allocation) bool {
	if !s.asked(a) {
		return false
	}
	n, _ := s.state.Node(a.Node)
	r, err := s.state.Release(a.App, a.Release)
	return err == nil && r.State != cluster.ReleaseFailed && !n.Draining
}

// asked is the test's own idea of a replica that can be asked, well or ill.
func (s *sim) asked(a *cluster.Allocation) bool {
	n, err := s.state.Node(a.Node)
	if err != nil || n.State == cluster.NodeDown || a.Desired != cluster.DesiredRun {
		return false
	}
	return a.Observed.State == cluster.AllocationHealthy || a.Observed.State == cluster.AllocationUnhealthy
}

// wanted is the quantity of a type of the release that should run.
func (s *sim) wanted(app *cluster.App, t cluster.ProcessType) int {
	r := s.target(app)
	if r == nil {
		return 0
	}
	if _, ok := r.Processes[t]; !ok {
		return 0
	}
	return app.Quantity(t)
}

func (s *sim) target(app *cluster.App) *cluster.Release {
	v := app.Current
	if d := s.state.ActiveDeployment(app.Name); d != nil {
		v = d.Release
	}
	r, err := s.state.Release(app.Name, v)
	if err != nil {
		return nil
	}
	return r
}

// checkSpread: no placement makes a live zone have two more than another.
func (s *sim) checkSpread(p *cluster.Plan, gone leaving) {
	s.t.Helper()
	for i, x := range p.Place {
		if len(s.state.AttachedTo(x.App, x.Type)) > 0 {
			continue // it goes where its data is
		}
		count := map[string]int{}
		for n := range s.state.Nodes() {
			r, _ := s.state.Release(x.App, x.Release)
			proc := r.Processes[x.Type]
			if n.Schedulable() && proc.MemoryBytes <= n.MemoryBytes && proc.RefusedBy(n) == nil && !s.unable(n.ID, &x) {
				count[n.Zone] = 0
			}
		}
		add := func(id cluster.NodeID) string {
			n, err := s.state.Node(id)
			if err != nil {
				return ""
			}
			if c, live := count[n.Zone]; live {
				count[n.Zone] = c + 1
			}
			return n.Zone
		}
		app, _ := s.state.App(x.App)
		slots := map[int]bool{x.Slot: true}
		stuck := map[string]int{} // replicas that may hold a place in their zone, or not any more
		for a := range s.state.AllocationsOf(x.App) {
			n, err := s.state.Node(a.Node)
			stays := a.Type == x.Type && a.Release == x.Release && a.Generation >= app.Generation[x.Type] && a.Slot <= s.wanted(app, x.Type)
			if stays && err == nil && n.State != cluster.NodeDown && !n.Draining && !a.Observed.Ailing && a.Desired == cluster.DesiredRun && !gone[a.ID] && a.Live() {
				if slots[a.Slot] {
					return // doubled by a node that returned; one of them goes
				}
				slots[a.Slot] = true
				if s.startsNothing(a) {
					stuck[n.Zone]++
				} else {
					add(a.Node)
				}
			}
		}
		for _, y := range p.Place[:i] {
			if y.App == x.App && y.Type == x.Type {
				add(y.Node)
			}
		}
		zone := add(x.Node)
		for other, c := range count {
			if count[zone]-c-stuck[other] > 1 {
				s.t.Fatalf("%s.%d makes zone %s have %d, zone %s %d\n%s", x.Type, x.Slot, zone, count[zone], other, c, s.dump())
			}
		}
	}
}

// unable reports whether a node had its chance to start what x asks for, and did not.
func (s *sim) unable(id cluster.NodeID, x *cluster.Placement) bool {
	for a := range s.state.AllocationsOf(x.App) {
		gaveUp := a.Observed.State == cluster.AllocationFailed
		if a.Node == id && a.Type == x.Type && a.Release == x.Release && (gaveUp || s.startsNothing(a)) {
			return true
		}
	}
	return false
}

// startsNothing reports whether a had a chance to get a container, and did not. It may
// get one more, and when it has not its replacement may still be waited with.
func (s *sim) startsNothing(a *cluster.Allocation) bool {
	o := &a.Observed
	gaveUp := o.State == cluster.AllocationFailed || o.State == cluster.AllocationBackoff || o.Restarts >= startTries || s.now.Sub(a.CreatedAt) >= time.Minute
	return gaveUp && o.StartedAt.IsZero()
}

// checkOrder: a web replica that routers may know is told to stop only after a
// drain that every live router finished, or whose time ran out.
func (s *sim) checkOrder(p *cluster.Plan) {
	s.t.Helper()
	for _, id := range p.Stop {
		a, err := s.state.Allocation(id)
		if err != nil {
			s.t.Fatal(err)
		}
		app, _ := s.state.App(a.App)
		n, err := s.state.Node(a.Node)
		if a.Type != cluster.ProcessWeb || app.Destroying || err != nil || n.State == cluster.NodeDown || !a.Live() {
			continue
		}
		r, _ := s.state.Release(a.App, a.Release)
		switch {
		case a.Desired == cluster.DesiredRun && a.Observed.State != cluster.AllocationHealthy && r.State == cluster.ReleaseFailed:
		case a.Desired == cluster.DesiredRun && !a.Routed() && a.Observed.State != cluster.AllocationStarting &&
			a.Observed.State != cluster.AllocationUnhealthy:
		case a.Desired == cluster.DesiredDrain && s.now.Sub(a.DesiredAt) >= cluster.DefaultDrain:
		case a.Desired == cluster.DesiredDrain && s.reported(a.ID) == 0 &&
			(s.tableHas(a.DesiredIndex) || s.now.Sub(a.DesiredAt) >= 10*time.Second):
		default:
			s.t.Fatalf("%s of %s is told to stop while it may serve\n%s", a.ID, a.Instance(), s.dump())
		}
	}
}

// checkMoves: what moves for the sake of the spread does so one by one, from one that
// serves to a node that has been up for a while, and never while its app deploys.
func (s *sim) checkMoves(p *cluster.Plan) {
	s.t.Helper()
	moved := map[string]bool{}
	for _, x := range p.Place {
		if x.Moves == "" {
			continue
		}
		key := string(x.App) + "/" + string(x.Type)
		a, err := s.state.Allocation(x.Moves)
		n, _ := s.state.Node(x.Node)
		app, _ := s.state.App(x.App)
		there := 0
		for o := range s.state.AllocationsOf(x.App) {
			if o.Type == x.Type {
				there++
			}
		}
		switch {
		case moved[key] || there != s.wanted(app, x.Type):
			s.t.Fatalf("%s moves although something of it is on the way already\n%s", key, s.dump())
		case err != nil || !s.serving(a) || a.Slot != x.Slot || a.Node == x.Node:
			s.t.Fatalf("%s.%d moves from %+v\n%s", key, x.Slot, a, s.dump())
		case s.state.ActiveDeployment(x.App) != nil:
			s.t.Fatalf("%s moves while it deploys\n%s", key, s.dump())
		case s.now.Sub(n.StateAt) < 30*time.Second:
			s.t.Fatalf("%s.%d moves to %s, which is up for %s", key, x.Slot, x.Node, s.now.Sub(n.StateAt))
		}
		moved[key] = true
		s.moves++
	}
}

// uneven says how an app's replicas of a type could be spread better by one move, by
// what their nodes have free; "" if they could not.
func (s *sim) uneven(app cluster.AppName, t cluster.ProcessType) string {
	free := map[cluster.NodeID]int64{}
	for n := range s.state.Nodes() {
		free[n.ID] = n.MemoryBytes
	}
	zone, host, needs := map[string]int{}, map[cluster.NodeID]int{}, int64(0)
	for a := range s.state.Allocations() {
		n, err := s.state.Node(a.Node)
		if err != nil || !a.Live() {
			continue
		}
		size := s.needs(a.App, a.Release, a.Type)
		free[a.Node] -= size
		if a.App == app && a.Type == t {
			zone[n.Zone]++
			host[a.Node]++
			needs = size
		}
	}
	for n := range s.state.Nodes() {
		if !n.Schedulable() || free[n.ID] < needs {
			continue
		}
		for id, count := range host {
			from, _ := s.state.Node(id)
			if !from.Schedulable() {
				continue
			}
			better := zone[from.Zone]-zone[n.Zone] >= 2 ||
				count-host[n.ID] >= 2 && (from.Zone == n.Zone || zone[from.Zone] > zone[n.Zone])
			if better {
				return string(id) + " → " + string(n.ID)
			}
		}
	}
	return ""
}
