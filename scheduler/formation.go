package scheduler

import (
	"cmp"
	"slices"
	"time"

	"paas/cluster"
)

// appView is one app as a pass sees it.
type appView struct {
	app *cluster.App
	// rolling is the deployment that is replacing replicas, or nil.
	rolling *cluster.Deployment
	// target is the release that should run; nil means none.
	target   *cluster.Release
	groups   []*group // by type
	replicas []replica
	releases map[cluster.ReleaseVersion]*cluster.Release
}

// group is one process type of an app.
type group struct {
	typ        cluster.ProcessType
	wanted     int  // slots 1..wanted
	removed    bool // the target release does not have the type
	generation uint64
	demand     demand
	volumes    []*cluster.Volume
	held       bool // somebody who holds one of volumes has not ended
	replicas   []*replica
	slots      []slot // index 0 is slot 1
	spread     *spread
	// balking are the nodes on which replicas do not get a container: see balked.
	balking map[cluster.NodeID]bool
}

// slot is one wanted place in the formation.
type slot struct {
	keeper  *replica // the up-to-date replica that holds the slot
	cover   *replica // another live one that serves meanwhile
	last    *replica // the highest attempt
	attempt int      // of last
}

// replica is an allocation with what this pass knows about it.
type replica struct {
	a       *cluster.Allocation
	node    *cluster.Node // nil when it is gone for good
	rollout cluster.Rollout
	failed  bool // its release failed
	fresh   bool // of the target release and generation
	ready   bool
	readyAt time.Time // when time alone makes it ready; zero: it needs news
	leaving bool      // this plan ends it
	balks   bool      // it does not get a container where it is
	stuck   bool      // it balks, and could run elsewhere
}

// view looks at an app. It is not ok when the release that should run is
// missing: then whatever runs is left alone.
func (p *pass) view(app *cluster.App) (*appView, bool) {
	v := &appView{app: app, releases: map[cluster.ReleaseVersion]*cluster.Release{}}
	version := app.Current
	if d := p.state.ActiveDeployment(app.Name); d != nil && d.State == cluster.DeploymentRolling {
		v.rolling, version = d, d.Release
	}
	if version != 0 {
		r, err := p.state.Release(app.Name, version)
		if err != nil {
			return nil, false
		}
		v.target, v.releases[version] = r, r
	}
	allocs := p.world.allocs[app.Name]
	v.replicas = make([]replica, len(allocs))
	for i, a := range allocs {
		v.replicas[i] = p.look(v, a)
	}
	v.buildGroups()
	for _, g := range v.groups {
		p.bind(v, g)
		p.findBalking(g)
		g.fillSlots()
	}
	return v, true
}

// look makes a replica of an allocation.
func (p *pass) look(v *appView, a *cluster.Allocation) replica {
	rel, seen := v.releases[a.Release]
	if !seen {
		rel, _ = p.state.Release(a.App, a.Release)
		v.releases[a.Release] = rel
	}
	r := replica{a: a, node: p.world.node(a.Node)}
	if rel != nil {
		r.rollout, r.failed = rel.Rollout, rel.State == cluster.ReleaseFailed
	}
	r.fresh = v.target != nil && a.Release == v.target.Version && a.Generation >= v.app.Generation[a.Type]
	r.ready, r.readyAt = p.readiness(&r)
	return r
}

// buildGroups sorts the replicas into the types that are wanted or still there.
func (v *appView) buildGroups() {
	byType := map[cluster.ProcessType]*group{}
	if v.target != nil {
		for t := range v.target.Processes {
			if t == cluster.ProcessRelease {
				continue
			}
			byType[t] = &group{
				typ: t, wanted: v.app.Quantity(t), generation: v.app.Generation[t], demand: demandOf(v.target, t),
			}
		}
	}
	for i := range v.replicas {
		r := &v.replicas[i]
		g := byType[r.a.Type]
		if g == nil {
			g = &group{typ: r.a.Type, removed: true}
			byType[r.a.Type] = g
		}
		g.replicas = append(g.replicas, r)
	}
	for _, g := range byType {
		v.groups = append(v.groups, g)
	}
	slices.SortFunc(v.groups, func(a, b *group) int { return cmp.Compare(a.typ, b.typ) })
}

// fillSlots finds who holds and who covers each wanted slot.
func (g *group) fillSlots() {
	g.slots = make([]slot, g.wanted)
	for _, r := range g.replicas {
		s := g.slot(r)
		if s == nil {
			continue
		}
		if r.a.Attempt > s.attempt {
			s.last, s.attempt = r, r.a.Attempt
		}
		if r.sound() && (s.keeper == nil || r.betterThan(s.keeper)) {
			s.keeper = r
		}
	}
	g.findCovers()
}

// findCovers is repeated when replicas leave.
func (g *group) findCovers() {
	for i := range g.slots {
		g.slots[i].cover = nil
	}
	for _, r := range g.replicas {
		s := g.slot(r)
		if s == nil || r == s.keeper || !r.present() {
			continue
		}
		if s.cover == nil || r.betterThan(s.cover) {
			s.cover = r
		}
	}
}

// slot returns the wanted slot of r, or nil.
func (g *group) slot(r *replica) *slot {
	if r.a.Slot < 1 || r.a.Slot > len(g.slots) {
		return nil
	}
	return &g.slots[r.a.Slot-1]
}

// satisfied reports whether every wanted slot has a ready, up-to-date replica.
// One that a node drain will move later counts.
func (g *group) satisfied() bool {
	missing := len(g.slots)
	if missing == 0 {
		return true
	}
	done := make([]bool, len(g.slots))
	for _, r := range g.replicas {
		if g.slot(r) != nil && r.fresh && r.ready && !done[r.a.Slot-1] {
			done[r.a.Slot-1] = true
			missing--
		}
	}
	return missing == 0
}

// running reports whether r should run and this plan leaves it so.
func (r *replica) running() bool { return r.a.Desired == cluster.DesiredRun && !r.leaving }

// lost reports whether r's node is down or gone.
func (r *replica) lost() bool { return r.node == nil || r.node.State == cluster.NodeDown }

// dead reports whether r is over for its agent: nothing of it runs, whatever
// should.
func (r *replica) dead() bool { return r.a.Observed.State.Terminal() }

// present reports whether r runs or will, and can be counted on to be there.
func (r *replica) present() bool { return r.running() && !r.lost() && !r.dead() && !r.stuck }

// evicted reports whether r has to leave its node while that still works. One with a
// volume could run nowhere else: it serves until its node ends.
func (r *replica) evicted() bool {
	return !r.bound() && r.node != nil && (r.node.Draining || !r.node.Apps)
}

// sound reports whether r may keep its slot.
func (r *replica) sound() bool { return r.fresh && r.present() && !r.evicted() && !r.ailing() }

// ailing reports whether r runs but should be replaced, as its agent says.
func (r *replica) ailing() bool { return r.a.Observed.Ailing }

// healthy reports whether r's check passes.
func (r *replica) healthy() bool { return r.a.Observed.State == cluster.AllocationHealthy }

// up reports whether r runs and can be asked, whatever its check says.
func (r *replica) up() bool {
	s := r.a.Observed.State
	return r.present() && (s == cluster.AllocationHealthy || s == cluster.AllocationUnhealthy)
}

// mayServe reports whether a router may know r, or will before a plan commits.
func (r *replica) mayServe() bool {
	switch r.a.Observed.State {
	case cluster.AllocationStarting, cluster.AllocationHealthy, cluster.AllocationUnhealthy:
		return true
	}
	return false
}

// betterThan prefers what serves, then what is nearer to serving, then what was made
// to take the other's place, then the older.
func (r *replica) betterThan(o *replica) bool {
	if r.ready != o.ready {
		return r.ready
	}
	if r.healthy() != o.healthy() {
		return r.healthy()
	}
	if r.balks != o.balks {
		return o.balks
	}
	if r.ready && r.moves(o) != o.moves(r) {
		return r.moves(o)
	}
	return r.a.Attempt < o.a.Attempt
}
