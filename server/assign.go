package server

import (
	"maps"
	"slices"
	"strconv"
	"sync"

	"paas/api"
	"paas/cluster"
)

// assigner says what each node should have and what routers should serve. What it
// computed is kept until the state says otherwise, so that a change of one app
// wakes no node that it does not concern.
type assigner struct {
	*control

	mu sync.Mutex
	// state is what the rest was made from: the newest that anybody came with. It is
	// guarded by mu, as is the rest.
	state *cluster.State
	nodes map[cluster.NodeID][]*cluster.Allocation
	sets  map[cluster.NodeID]*api.AssignmentSet
	table *cluster.RouteTable
	// roster is the cluster's hosts.
	roster *cluster.Roster
	// envs holds the opened config of the releases in use. A release never changes,
	// so its address names it.
	envs map[*cluster.Release]map[string]cluster.Redacted
}

func newAssigner(c *control) *assigner {
	return &assigner{control: c, sets: map[cluster.NodeID]*api.AssignmentSet{}, envs: map[*cluster.Release]map[string]cluster.Redacted{}}
}

// desired returns what node should have, serve and know at st, or at a newer state
// that somebody else brought.
func (a *assigner) desired(st *cluster.State, node cluster.NodeID) (api.Desired, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refresh(st)
	set, err := a.set(node)
	return api.Desired{Assignments: set, Routes: a.table, Roster: a.roster}, err
}

// routes returns what routers should serve at st.
func (a *assigner) routes(st *cluster.State) *cluster.RouteTable {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refresh(st)
	return a.table
}

// refresh takes over a newer state.
func (a *assigner) refresh(st *cluster.State) {
	if a.state != nil && st.Index() <= a.state.Index() {
		return
	}
	a.state = st
	a.nodes = map[cluster.NodeID][]*cluster.Allocation{}
	for x := range st.Allocations() {
		a.nodes[x.Node] = append(a.nodes[x.Node], x)
	}
	if t := st.Routes(); a.table == nil || !sameRoutes(a.table, t) || awaited(st, a.table.Index) {
		a.table = t
	}
	if r := st.Roster(); a.roster == nil || !a.roster.Same(r) {
		a.roster = r
	}
	for rel := range a.envs {
		if now, err := st.Release(rel.App, rel.Version); err != nil || now != rel {
			delete(a.envs, rel)
		}
	}
}

// awaited reports whether the scheduler may wait for routers to acknowledge
// something newer than index, although the table does not show it.
func awaited(st *cluster.State, index uint64) bool {
	for x := range st.Allocations() {
		if x.Type == cluster.ProcessWeb && max(x.ObservedIndex, x.DesiredIndex) > index {
			return true
		}
	}
	return false
}

func sameRoutes(a, b *cluster.RouteTable) bool {
	if a.Domain != b.Domain || len(a.Routes) != len(b.Routes) {
		return false
	}
	for i := range a.Routes {
		x, y := a.Routes[i], b.Routes[i]
		if x.Host != y.Host || x.App != y.App || x.Internal != y.Internal || x.Idle != y.Idle || len(x.Upstreams) != len(y.Upstreams) {
			return false
		}
		for j := range x.Upstreams {
			if x.Upstreams[j] != y.Upstreams[j] {
				return false
			}
		}
	}
	return true
}

// set returns the node's assignments; the one from before while they are the same.
// Allocations and releases are of one state: an older one may not have the release
// of a new allocation.
func (a *assigner) set(node cluster.NodeID) (*api.AssignmentSet, error) {
	old, allocations := a.sets[node], a.nodes[node]
	var destroyed []cluster.VolumeID
	for _, v := range a.state.DestroyedOn(node) {
		destroyed = append(destroyed, v.ID)
	}
	if old != nil && sameAssignments(old.Assignments, allocations) && slices.Equal(old.Destroyed, destroyed) {
		return old, nil
	}
	set := &api.AssignmentSet{Index: a.state.Index(), Destroyed: destroyed}
	for _, x := range allocations {
		rel, err := a.state.Release(x.App, x.Release)
		if err != nil {
			rel = &cluster.Release{App: x.App, Version: x.Release} // it is to be stopped: that needs no release
		}
		one, err := a.assignment(rel, x.Type, x.Slot, rel.Processes[x.Type])
		if err != nil {
			return nil, err
		}
		one.ID, one.Desired, one.Mounts = x.ID, x.Desired, x.Mounts
		set.Assignments = append(set.Assignments, *one)
	}
	a.sets[node] = set
	return set, nil
}

// sameAssignments compares what can change: which allocations there are, and what
// is wanted of them. All else of an allocation is fixed when it is placed.
func sameAssignments(have []api.Assignment, want []*cluster.Allocation) bool {
	if len(have) != len(want) {
		return false
	}
	for i := range have {
		if have[i].ID != want[i].ID || have[i].Desired != want[i].Desired {
			return false
		}
	}
	return true
}

// oneOff is an assignment beside the app's formation.
func (a *assigner) oneOff(rel *cluster.Release, t cluster.ProcessType, slot int, process cluster.Process) (*api.Assignment, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	one, err := a.assignment(rel, t, slot, process)
	if err != nil {
		return nil, err
	}
	one.Desired = cluster.DesiredRun
	return one, nil
}

// assignment is one replica with its environment: the release's config, then what
// the platform says.
func (a *assigner) assignment(rel *cluster.Release, t cluster.ProcessType, slot int, process cluster.Process) (*api.Assignment, error) {
	one := &api.Assignment{App: rel.App, Type: t, Slot: slot, Release: rel.Version, Image: rel.Image, Process: process}
	config, ok := a.envs[rel]
	if !ok {
		var err error
		if config, err = a.unseal(rel.App, rel.Config); err != nil {
			return nil, err
		}
		a.envs[rel] = config
	}
	one.Env = maps.Clone(config)
	ours := map[string]string{"PAAS_APP": string(rel.App), "PAAS_PROCESS": string(t), "PAAS_INSTANCE": one.Instance(),
		"PAAS_RELEASE": rel.Version.String(), "DYNO": one.Instance()}
	if process.Port > 0 {
		ours["PORT"] = strconv.Itoa(process.Port)
	}
	for k, v := range ours {
		one.Env[k] = cluster.Redacted(v)
	}
	return one, nil
}
