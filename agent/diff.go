package agent

import (
	"slices"
	"strings"

	"paas/api"
	"paas/cluster"
)

// known is what the agent knows of an allocation that it has, or had, a replica for.
type known struct {
	Desired   cluster.DesiredState // as the replica was told; zero if it has no replica
	State     cluster.AllocationState
	Container string
}

// live reports whether a replica of k's works on it.
func (k known) live() bool { return k.Desired != cluster.DesiredUnknown && !k.State.Terminal() }

// shouldRun reports whether an allocation in s is expected to have a running container.
func shouldRun(s cluster.AllocationState) bool {
	return s == cluster.AllocationStarting || s == cluster.AllocationHealthy || s == cluster.AllocationUnhealthy
}

// actionKind says what an action does.
type actionKind uint8

const (
	actionStart  actionKind = iota // a replica for Assignment, adopting Container if there is one
	actionTell                     // its replica that Assignment is wanted now
	actionStop                     // the replica of ID: nobody wants it any more
	actionForget                   // what is known of ID
	actionLook                     // the replica of ID should look at its container
	actionRemove                   // Container, which belongs to nobody
)

var actionNames = []string{"start", "tell", "stop", "forget", "look", "remove"}

func (k actionKind) String() string { return actionNames[k] }

// action is one step from what is to what should be.
type action struct {
	Kind       actionKind
	ID         cluster.AllocationID
	Assignment api.Assignment
	Container  string
}

// diff is what must be done so that the node has exactly what is assigned. It is
// pure, its result is in a fixed order, and it is empty when nothing is to do: a
// terminal allocation is not tried again. Of one-off commands only those that an
// earlier life of the agent left are its business.
func diff(life string, assigned []api.Assignment, have map[cluster.AllocationID]known, containers []container) []action {
	wanted := map[cluster.AllocationID]api.Assignment{}
	for _, a := range assigned {
		wanted[a.ID] = a
	}
	owned := owners(wanted, have, containers)
	var out []action
	for _, a := range assigned {
		k, ok := have[a.ID]
		c := owned[a.ID]
		switch {
		case ok && k.State.Terminal():
		case !k.live():
			out = append(out, action{Kind: actionStart, ID: a.ID, Assignment: a, Container: c.ID})
		case a.Desired > k.Desired:
			out = append(out, action{Kind: actionTell, ID: a.ID, Assignment: a})
		case shouldRun(k.State) && !c.Running:
			out = append(out, action{Kind: actionLook, ID: a.ID})
		}
	}
	for id, k := range have {
		if _, ok := wanted[id]; ok {
			continue
		}
		switch {
		case !k.live():
			out = append(out, action{Kind: actionForget, ID: id})
		case k.Desired != cluster.DesiredStop:
			out = append(out, action{Kind: actionStop, ID: id})
		}
	}
	for _, c := range containers {
		if stray := c.OneOff == "" && owned[c.Allocation].ID != c.ID; stray || c.OneOff != "" && c.OneOff != life {
			out = append(out, action{Kind: actionRemove, ID: c.Allocation, Container: c.ID})
		}
	}
	slices.SortStableFunc(out, func(x, y action) int {
		if x.Kind != y.Kind {
			return int(x.Kind) - int(y.Kind)
		}
		if x.ID != y.ID {
			return strings.Compare(string(x.ID), string(y.ID))
		}
		return strings.Compare(x.Container, y.Container)
	})
	return out
}

// owners says which container is each allocation's. Of several the one that its
// replica knows wins, then one that runs, then the lowest ID; those of
// allocations that are neither wanted nor cared for belong to nobody.
func owners(wanted map[cluster.AllocationID]api.Assignment, have map[cluster.AllocationID]known, containers []container) map[cluster.AllocationID]container {
	owned := map[cluster.AllocationID]container{}
	better := func(c, than container) bool {
		k := have[c.Allocation]
		if mine, other := c.ID == k.Container, than.ID == k.Container; mine != other {
			return mine
		}
		if c.Running != than.Running {
			return c.Running
		}
		return c.ID < than.ID
	}
	for _, c := range containers {
		_, ok := wanted[c.Allocation]
		k := have[c.Allocation]
		if c.OneOff != "" || k.State.Terminal() || !ok && !k.live() {
			continue
		}
		if o, ok := owned[c.Allocation]; !ok || better(c, o) {
			owned[c.Allocation] = c
		}
	}
	return owned
}
