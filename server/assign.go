package server

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"

	"paas/api"
	"paas/cluster"
)

// assigner says what each node should have and what routers should serve. It takes
// over states by what differs from the one before, so that a command costs what it
// changed, and it wakes the nodes that it concerns. What it says depends on the newest
// state alone: any number of states may be missed.
type assigner struct {
	*control

	mu sync.Mutex
	// state is what the rest was made from: the newest that anybody came with. It is
	// guarded by mu, as is the rest.
	state   *cluster.State
	marks   cluster.Marks // of state
	shares  map[cluster.AppName]*share
	nodes   map[cluster.NodeID]*station
	table   *cluster.RouteTable
	routers map[cluster.NodeID]bool
	// roster is the cluster's hosts.
	roster *cluster.Roster
	// envs holds the opened config of the releases in use. A release never changes,
	// so its address names it.
	envs map[*cluster.Release]map[string]cluster.Redacted
}

// station is what one node should have.
type station struct {
	allocations map[cluster.AppName][]*cluster.Allocation
	destroyed   []cluster.VolumeID
	set         *api.AssignmentSet // made from these; nil: not yet
	changed     chan struct{}      // closed when anything for this node changes; nil: nobody waits
}

func newAssigner(c *control) *assigner {
	return &assigner{control: c, shares: map[cluster.AppName]*share{}, nodes: map[cluster.NodeID]*station{},
		envs: map[*cluster.Release]map[string]cluster.Redacted{}}
}

// Run takes over each state, and so wakes who waits, until ctx ends.
func (a *assigner) Run(ctx context.Context) error {
	for {
		st := a.store.State()
		a.mu.Lock()
		a.refresh(st)
		a.mu.Unlock()
		select {
		case <-a.store.Changed(st.Index()):
		case <-ctx.Done():
			return nil
		}
	}
}

// desired returns what node should have, serve and know at st, or at a newer state
// that somebody else brought, and a channel that is closed when that changes and Run
// is under way. Nodes without a router have nothing to serve.
func (a *assigner) desired(st *cluster.State, node cluster.NodeID) (api.Desired, <-chan struct{}, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refresh(st)
	n := a.station(node)
	if n.changed == nil {
		n.changed = make(chan struct{})
	}
	set, err := a.set(n)
	all := api.Desired{Assignments: set, Roster: a.roster}
	if a.routers[node] {
		all.Routes = a.table
	}
	return all, n.changed, err
}

// routes returns what routers should serve at st.
func (a *assigner) routes(st *cluster.State) *cluster.RouteTable {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refresh(st)
	return a.table
}

func (a *assigner) station(node cluster.NodeID) *station {
	n := a.nodes[node]
	if n == nil {
		n = &station{allocations: map[cluster.AppName][]*cluster.Allocation{}}
		for _, v := range a.state.DestroyedOn(node) {
			n.destroyed = append(n.destroyed, v.ID)
		}
		a.nodes[node] = n
	}
	return n
}

// wake tells who waits that there is something else for the node.
func (n *station) wake() {
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

// reassign is wake for another set.
func (n *station) reassign() {
	n.set = nil
	n.wake()
}

// set returns the node's assignments; the one from before while they are the same.
// Allocations and releases are of one state: an older one may not have the release
// of a new allocation.
func (a *assigner) set(n *station) (*api.AssignmentSet, error) {
	if n.set != nil {
		return n.set, nil
	}
	set := &api.AssignmentSet{Index: a.state.Index(), Destroyed: n.destroyed}
	for _, app := range slices.Sorted(maps.Keys(n.allocations)) {
		for _, x := range n.allocations[app] {
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
	}
	n.set = set
	return set, nil
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
