package server

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/store"
)

// fleet hears the agents and tells them what they should have. It implements
// api.NodeEvents. What routers acknowledge and when a node was last heard is
// memory; only what changes in the cluster goes through the store.
type fleet struct {
	*control
	welcome  func() api.Welcome
	assign   *assigner
	evidence *evidence
	spaces   *spaces
	lives    *lives
	// routed has capacity 1: a router's status changed. Sent by NodeRouter, received by the scheduler.
	routed chan struct{}
	// heard has capacity 1: a node that was not up spoke. Sent by NodeAlive, received by the leases.
	heard chan struct{}

	mu      sync.Mutex
	alive   map[cluster.NodeID]time.Time            // when it was last heard; guarded by mu
	routers map[cluster.NodeID]cluster.RouterStatus // guarded by mu
}

func newFleet(c *control, a *assigner, e *evidence, welcome func() api.Welcome) *fleet {
	return &fleet{control: c, assign: a, evidence: e, welcome: welcome, spaces: newSpaces(c.self), lives: newLives(),
		routed: make(chan struct{}, 1), heard: make(chan struct{}, 1),
		alive: map[cluster.NodeID]time.Time{}, routers: map[cluster.NodeID]cluster.RouterStatus{}}
}

// NodeJoined implements api.NodeEvents.
func (f *fleet) NodeJoined(ctx context.Context, h api.Hello) (api.Welcome, error) {
	n := h.Node
	if err := f.lives.enter(n.ID, h.Process); err != nil {
		return api.Welcome{}, err
	}
	now := time.Now().UTC()
	by := store.By{Actor: "agent " + n.Name, At: now}
	known, err := f.store.State().Node(n.ID)
	if err != nil || !sameReport(known, &n) {
		if err != nil {
			n.CreatedAt = now
		}
		if _, err := f.store.Propose(ctx, store.RegisterNode{By: by, Node: n}); err != nil {
			return api.Welcome{}, err
		}
	}
	if err := f.observe(ctx, by, n.ID, h.Observed); err != nil {
		return api.Welcome{}, err
	}
	f.NodeAlive(n.ID, h.Space)
	return f.welcome(), nil
}

// sameReport compares what an agent reports of its host.
func sameReport(a, b *cluster.Node) bool {
	return a.Name == b.Name && a.Zone == b.Zone && a.Server == b.Server && a.Router == b.Router && a.Apps == b.Apps &&
		a.Address == b.Address && a.Arch == b.Arch && a.Version == b.Version && a.DockerVersion == b.DockerVersion &&
		a.MemoryBytes == b.MemoryBytes && a.CPUMilli == b.CPUMilli && a.FeatureLevel == b.FeatureLevel && maps.Equal(a.Labels, b.Labels)
}

// NodeObserved implements api.NodeEvents.
func (f *fleet) NodeObserved(ctx context.Context, node cluster.NodeID, news api.News) error {
	by := store.By{Actor: "agent " + nodeName(f.store.State(), node), At: time.Now().UTC()}
	if err := f.observe(ctx, by, node, news.Observed); err != nil {
		return err
	}
	return f.lose(ctx, by, node, news.Gone)
}

// lose proposes the end of destroyed volumes that nothing is left of.
func (f *fleet) lose(ctx context.Context, by store.By, node cluster.NodeID, gone []cluster.VolumeID) error {
	awaited := slices.ContainsFunc(f.store.State().DestroyedOn(node), func(v *cluster.Volume) bool { return slices.Contains(gone, v.ID) })
	if !awaited {
		return nil
	}
	_, err := f.store.Propose(ctx, store.ForgetVolumes{By: by, Node: node, Volumes: gone})
	return err
}

// observe proposes what is new. Evidence is kept first: whoever sees the
// observation in the state finds it.
func (f *fleet) observe(ctx context.Context, by store.By, node cluster.NodeID, observed []api.Observed) error {
	st := f.store.State()
	var own []api.Observed
	var news []store.AllocationObservation
	for _, o := range observed {
		a, err := st.Allocation(o.ID)
		if err != nil || a.Node != node {
			continue // nobody speaks for another host's replicas
		}
		own = append(own, o)
		if !sameObservation(a.Observed, o.Observation) {
			news = append(news, store.AllocationObservation{ID: o.ID, Observation: o.Observation})
		}
	}
	f.evidence.keep(node, own)
	if len(news) == 0 {
		return nil
	}
	_, err := f.store.Propose(ctx, store.Observe{By: by, Node: node, Observations: news})
	return err
}

// sameObservation compares times as moments, whatever wire they came over.
func sameObservation(a, b cluster.Observation) bool {
	if !a.StartedAt.Equal(b.StartedAt) || !a.HealthySince.Equal(b.HealthySince) {
		return false
	}
	a.StartedAt, a.HealthySince = b.StartedAt, b.HealthySince
	return a == b
}

// NodeRouter implements api.NodeEvents.
func (f *fleet) NodeRouter(_ context.Context, status cluster.RouterStatus) error {
	if n, err := f.store.State().Node(status.Node); err != nil || !n.Router {
		return nil // it has none: its word would hold up drains
	}
	f.mu.Lock()
	f.routers[status.Node] = status
	f.mu.Unlock()
	nudge(f.routed)
	return nil
}

// statuses returns what each router acknowledged last.
func (f *fleet) statuses() map[cluster.NodeID]cluster.RouterStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.routers)
}

// silent is since when replicas have answered nothing of what routers sent them;
// of several routers the one that waits longest counts.
func (f *fleet) silent() map[cluster.AllocationID]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[cluster.AllocationID]time.Time{}
	for _, r := range f.routers {
		for id, since := range r.Silent {
			if first, ok := all[id]; !ok || since.Before(first) {
				all[id] = since
			}
		}
	}
	return all
}

// NodeAlive implements api.NodeEvents.
func (f *fleet) NodeAlive(node cluster.NodeID, space []cluster.Space) {
	f.mu.Lock()
	f.alive[node] = time.Now()
	f.mu.Unlock()
	if space != nil && node != f.self { // this host's own agent says it without a session
		f.spaces.measured(node, space)
	}
	if n, err := f.store.State().Node(node); err == nil && n.State != cluster.NodeUp {
		nudge(f.heard)
	}
}

// NodeLeft implements api.NodeEvents. A session's end says nothing about the
// node: its lease does.
func (f *fleet) NodeLeft(cluster.NodeID) {}

// NodeDesired implements api.NodeEvents.
func (f *fleet) NodeDesired(ctx context.Context, node cluster.NodeID, has api.Indexes) (api.Desired, error) {
	for {
		all, changed, err := f.assign.desired(f.store.State(), node)
		if err != nil {
			return api.Desired{}, err
		}
		var news api.Desired
		if all.Assignments.Index > has.Assignments {
			news.Assignments = all.Assignments
		}
		if all.Routes != nil && all.Routes.Index > has.Routes {
			news.Routes = all.Routes
		}
		if all.Roster.Index > has.Roster {
			news.Roster = all.Roster
		}
		if news != (api.Desired{}) {
			return news, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return api.Desired{}, context.Cause(ctx)
		}
	}
}

// forget drops what was heard in an earlier tenure: since then others were told.
func (f *fleet) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.alive)
	clear(f.routers)
	f.evidence.forget()
}

// heardAt is when a node spoke last; zero if this server has not heard it.
func (f *fleet) heardAt(id cluster.NodeID) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.alive[id].UTC()
}

func (f *fleet) forgetRouter(id cluster.NodeID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.routers, id)
}

// forgetStrangers drops what was heard of nodes that were removed.
func (f *fleet) forgetStrangers(st *cluster.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gone := func(id cluster.NodeID) bool {
		_, err := st.Node(id)
		return err != nil
	}
	maps.DeleteFunc(f.alive, func(id cluster.NodeID, _ time.Time) bool { return gone(id) })
	maps.DeleteFunc(f.routers, func(id cluster.NodeID, _ cluster.RouterStatus) bool { return gone(id) })
}
