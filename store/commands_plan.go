package store

import (
	"fmt"

	"paas/cluster"
)

// Room is made before it is given away: moves, then what is forgotten, then
// deployments, which decide what releases may run, then placements.
func (c ApplyPlan) apply(d *cluster.Draft) (Outcome, error) {
	overtaken := c.overtaken(d.State())
	moved := c.move(d, c.Plan.Drain, cluster.DesiredDrain, overtaken) + c.move(d, c.Plan.Stop, cluster.DesiredStop, overtaken) + c.forget(d)
	for _, u := range c.Plan.Deployments {
		if c.updateDeployment(d, u) {
			moved++
		}
	}
	placed := c.place(d)
	moved += placed + c.removeApps(d)
	out := Outcome{Rejected: len(c.Plan.Place) - placed}
	if moved == 0 {
		return out, errUnchanged
	}
	return out, nil
}

// overtaken says for which apps the plan may have been right when it was computed
// and is not any more: somebody changed what is wanted, or a replica that may have
// stood in for another turned bad. What should run for such an app is not ended by
// this plan. The news of a rollout that gets on do not count: they would let no
// plan for a large app through.
func (c ApplyPlan) overtaken(s *cluster.State) func(cluster.AppName) bool {
	known := map[cluster.AppName]bool{}
	return func(name cluster.AppName) bool {
		old, ok := known[name]
		if !ok {
			old = c.outdated(s, name)
			known[name] = old
		}
		return old
	}
}

func (c ApplyPlan) outdated(s *cluster.State, name cluster.AppName) bool {
	app, err := s.App(name)
	if err != nil || app.Destroying {
		return false // everything of it goes anyway
	}
	if app.Index > c.Plan.Index {
		return true
	}
	for a := range s.AllocationsOf(name) {
		if a.ObservedIndex > c.Plan.Index && a.Desired == cluster.DesiredRun && a.Observed.Bad() {
			return true
		}
	}
	return false
}

// move sets what the scheduler wants of allocations, forward only, and returns
// how many it moved.
func (c ApplyPlan) move(d *cluster.Draft, ids []cluster.AllocationID, to cluster.DesiredState, overtaken func(cluster.AppName) bool) int {
	moved := 0
	for _, id := range ids {
		found, err := d.State().Allocation(id)
		if err != nil || found.Desired >= to || found.Desired == cluster.DesiredRun && overtaken(found.App) {
			continue
		}
		a := *found
		a.Desired, a.DesiredIndex, a.DesiredAt = to, d.State().Index(), c.At
		d.PutAllocation(a)
		moved++
	}
	return moved
}

// forget drops allocations of which nothing is left: stopped as desired, or on a
// node that is no longer a member.
func (c ApplyPlan) forget(d *cluster.Draft) int {
	forgotten := 0
	for _, id := range c.Plan.Forget {
		a, err := d.State().Allocation(id)
		if err != nil || a.Desired != cluster.DesiredStop {
			continue
		}
		if _, err := d.State().Node(a.Node); err == nil && a.Live() {
			continue
		}
		d.RemoveAllocation(a)
		forgotten++
	}
	return forgotten
}

// place makes the allocations that still fit and returns how many.
func (c ApplyPlan) place(d *cluster.Draft) int {
	if len(c.Plan.Place) == 0 {
		return 0
	}
	load := loadOf(d.State())
	placed := 0
	for _, p := range c.Plan.Place {
		need, ok := admissible(d.State(), p)
		if !ok || !load.fits(d.State(), p.Node, need) {
			continue
		}
		load.add(p.Node, need)
		mounts := mount(d, p)
		d.PutAllocation(cluster.Allocation{
			ID:  cluster.AllocationID(fmt.Sprintf("a-%d", d.NextSequence())),
			App: p.App, Type: p.Type, Slot: p.Slot, Attempt: p.Attempt, Release: p.Release, Generation: p.Generation,
			Node: p.Node, CreatedAt: c.At, Mounts: mounts, Moves: p.Moves,
			Desired: cluster.DesiredRun, DesiredIndex: d.State().Index(), DesiredAt: c.At, ObservedIndex: d.State().Index(),
		})
		placed++
	}
	return placed
}

// removeApps drops apps being destroyed of which nothing runs that could be
// reached: a node that is down drops what it has when it returns.
func (c ApplyPlan) removeApps(d *cluster.Draft) int {
	removed := 0
	for _, name := range c.Plan.RemoveApps {
		app, err := d.State().App(name)
		if err != nil || !app.Destroying || runs(d.State(), name) {
			continue
		}
		d.RemoveApp(name)
		c.event(d, cluster.Event{Action: "app.destroyed", App: name, Target: string(name), Text: fmt.Sprintf("app %s destroyed", name)})
		removed++
	}
	return removed
}

func runs(s *cluster.State, app cluster.AppName) bool {
	for a := range s.AllocationsOf(app) {
		if n, err := s.Node(a.Node); err == nil && n.State != cluster.NodeDown && a.Live() {
			return true
		}
	}
	return false
}
