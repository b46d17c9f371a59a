package server

import (
	"slices"

	"paas/cluster"
)

// How an assigner takes over a newer state.

// share is what one app is in the assigner's state.
type share struct {
	app       *cluster.App
	mark      cluster.Mark // of its allocations
	nodes     map[cluster.NodeID][]*cluster.Allocation
	upstreams []cluster.Upstream
	// served is when the routed allocations last changed, or what is wanted of them.
	served uint64
}

// refresh takes over a newer state.
func (a *assigner) refresh(st *cluster.State) {
	if a.state != nil && st.Index() <= a.state.Index() {
		return
	}
	first, was, now := a.state == nil, a.marks, st.Marks()
	a.state, a.marks = st, now
	moved := first || was.Nodes != now.Nodes
	if moved || was.Removed != now.Removed {
		a.takeHosts()
	}
	if moved || was.Apps != now.Apps || was.Allocations != now.Allocations {
		a.takeApps(moved)
	}
	if first || was.Volumes != now.Volumes {
		a.takeVolumes()
	}
	if was.Releases != now.Releases {
		a.dropEnvs()
	}
	if moved || was.Apps != now.Apps || was.Allocations != now.Allocations || was.Domains != now.Domains || a.table.Domain != st.Settings().Domain {
		a.takeRoutes()
	}
}

// takeHosts is for nodes that came, went or changed.
func (a *assigner) takeHosts() {
	a.routers = map[cluster.NodeID]bool{}
	for n := range a.state.Nodes() {
		if n.Router {
			a.routers[n.ID] = true
		}
	}
	r := a.state.Roster()
	if a.roster != nil && a.roster.Same(r) {
		return
	}
	a.roster = r
	for id, n := range a.nodes {
		n.wake()
		if _, member := r.Member(id); !member && len(n.allocations) == 0 {
			delete(a.nodes, id)
		}
	}
}

// takeApps takes over the apps that changed; all of them when nodes may have moved to
// other zones.
func (a *assigner) takeApps(moved bool) {
	shares := make(map[cluster.AppName]*share, len(a.shares))
	for app := range a.state.Apps() {
		old, mark := a.shares[app.Name], a.state.MarkOf(app.Name)
		if old != nil && !moved && old.app == app && old.mark == mark {
			shares[app.Name] = old
			continue
		}
		now := a.share(app, mark)
		shares[app.Name] = now
		a.distribute(app.Name, old, now)
	}
	for name, old := range a.shares {
		if shares[name] == nil {
			a.distribute(name, old, &share{})
		}
	}
	a.shares = shares
}

// share looks at one app.
func (a *assigner) share(app *cluster.App, mark cluster.Mark) *share {
	s := &share{app: app, mark: mark, nodes: map[cluster.NodeID][]*cluster.Allocation{}, upstreams: a.state.Upstreams(app.Name)}
	for x := range a.state.AllocationsOf(app.Name) {
		s.nodes[x.Node] = append(s.nodes[x.Node], x)
		if x.Type == cluster.ProcessWeb {
			s.served = max(s.served, x.ObservedIndex, x.DesiredIndex)
		}
	}
	return s
}

// distribute gives nodes their parts of an app in place of those from before.
func (a *assigner) distribute(app cluster.AppName, old, now *share) {
	for node, list := range now.nodes {
		n := a.station(node)
		if !sameAssignments(n.allocations[app], list) {
			n.reassign()
		}
		n.allocations[app] = list
	}
	if old == nil {
		return
	}
	for node := range old.nodes {
		if now.nodes[node] == nil {
			n := a.station(node)
			delete(n.allocations, app)
			n.reassign()
		}
	}
}

// sameAssignments compares what can change: which allocations there are, and what
// is wanted of them. All else of an allocation is fixed when it is placed.
func sameAssignments(a, b []*cluster.Allocation) bool {
	return slices.EqualFunc(a, b, func(x, y *cluster.Allocation) bool { return x.ID == y.ID && x.Desired == y.Desired })
}

// takeVolumes takes over which volumes nodes should get rid of.
func (a *assigner) takeVolumes() {
	destroyed := map[cluster.NodeID][]cluster.VolumeID{}
	for v := range a.state.Volumes() {
		if v.Destroyed && v.Node != "" {
			destroyed[v.Node] = append(destroyed[v.Node], v.ID)
		}
	}
	for id, n := range a.nodes {
		if !slices.Equal(n.destroyed, destroyed[id]) {
			n.destroyed = destroyed[id]
			n.reassign()
		}
	}
}

// dropEnvs forgets the configs of releases that are gone.
func (a *assigner) dropEnvs() {
	for rel := range a.envs {
		if now, err := a.state.Release(rel.App, rel.Version); err != nil || now != rel {
			delete(a.envs, rel)
		}
	}
}

// takeRoutes replaces the table if it shows another picture, or if the scheduler may
// wait for routers to acknowledge something newer than it, although it does not show.
func (a *assigner) takeRoutes() {
	t := a.state.RoutesTo(func(app cluster.AppName) []cluster.Upstream {
		if s := a.shares[app]; s != nil {
			return s.upstreams
		}
		return nil
	})
	served := uint64(0)
	for _, s := range a.shares {
		served = max(served, s.served)
	}
	if a.table != nil && served <= a.table.Index && sameRoutes(a.table, t) {
		return
	}
	a.table = t
	for id := range a.routers {
		a.station(id).wake()
	}
}

func sameRoutes(a, b *cluster.RouteTable) bool {
	return a.Domain == b.Domain && slices.EqualFunc(a.Routes, b.Routes, func(x, y cluster.Route) bool {
		return x.Host == y.Host && x.App == y.App && x.Internal == y.Internal && x.Idle == y.Idle && sameUpstreams(x.Upstreams, y.Upstreams)
	})
}

// sameUpstreams knows at once that a list is the same as itself.
func sameUpstreams(a, b []cluster.Upstream) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}
