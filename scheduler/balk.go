package scheduler

import (
	"slices"
	"time"

	"paas/cluster"
)

// A node may be up and yet start nothing: its engine does not answer, its disk is full,
// it cannot fetch an image. That is found out by what becomes of replicas there, type
// by type, and remembered for a while: others are asked first, and the zone rule, which
// would insist on that node, leaves it out. When that is forgotten, what became uneven
// is made even again by moves, which are one at a time, and try the node again.

const (
	// startTime is how long an agent may take to begin with a replica, which takes it
	// no time, and fetchTime how long to fetch its image. Where another node has it
	// already that one's turn must come before a rollout without progress is given up.
	startTime      = time.Minute
	fetchTime      = 10 * time.Minute
	otherFetchTime = cluster.DefaultProgress - startTime
	// startTries is how often a container may not come to be, until others are asked.
	startTries = 2
	// balkMemory is how long a node is remembered for once it was given up on: longer
	// than the next one may take, or two of them would pass a replica on to each other.
	balkMemory = movePause
)

// balked reports whether a's node had its chance to give it a container, and did not.
// It says when time alone will make it so.
func (p *pass) balked(g *group, a *cluster.Allocation) (yes bool, at time.Time) {
	o := &a.Observed
	if !o.StartedAt.IsZero() || len(a.Mounts) > 0 {
		return false, time.Time{}
	}
	switch o.State {
	case cluster.AllocationFailed:
		return true, time.Time{}
	case cluster.AllocationBackoff:
		return o.Restarts >= startTries, time.Time{}
	case cluster.AllocationPending: // if others become healthy there, it is only their turn
		at = p.patience(later(a.CreatedAt, p.world.hosts[p.world.byID[a.Node]].worked), startTime)
	case cluster.AllocationPulling:
		at = p.patience(a.CreatedAt, g.fetchTime())
	case cluster.AllocationStopping, cluster.AllocationStopped:
	default:
		return false, time.Time{}
	}
	if a.Desired != cluster.DesiredRun { // it was told to end after that time, or those tries, and had not begun
		return o.Restarts >= startTries || a.DesiredAt.Sub(a.CreatedAt) >= startTime, time.Time{}
	}
	return !at.After(p.now), at
}

// fetchTime is how long a node may take to fetch the image of g's replicas.
func (g *group) fetchTime() time.Duration {
	if slices.ContainsFunc(g.replicas, func(r *replica) bool { return r.fresh && !r.a.Observed.StartedAt.IsZero() }) {
		return otherFetchTime
	}
	return fetchTime
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// findBalking finds the nodes that do not start g's replicas, and which of those could
// run elsewhere.
func (p *pass) findBalking(g *group) {
	if g.removed {
		return
	}
	note := func(node cluster.NodeID) {
		if g.balking == nil {
			g.balking = map[cluster.NodeID]bool{}
		}
		g.balking[node] = true
	}
	for _, r := range g.replicas {
		if !r.fresh || r.lost() || r.a.Slot > g.wanted {
			continue
		}
		balks, at := p.balked(g, r.a)
		if !balks && r.dead() && r.running() {
			note(r.a.Node) // its agent gave it up: it may do better elsewhere
		}
		if r.balks = balks; balks {
			note(r.a.Node)
		}
		if !at.IsZero() && p.world.elsewhere(g, r.a.Node) {
			p.wake(at)
		}
	}
	if len(g.balking) == 0 || !p.world.elsewhere(g, "") {
		return
	}
	for _, r := range g.replicas {
		r.stuck = r.balks && r.running() && !r.dead()
	}
}

// teaches reports whether r, of which nothing is left, is what keeps its node from being
// tried again at once: the newest there that balked, for a while.
func (p *pass) teaches(v *appView, r *replica) bool {
	if !r.balks || r.node == nil {
		return false
	}
	for i := range v.replicas {
		o := &v.replicas[i]
		if o.balks && o.a.Type == r.a.Type && o.a.Node == r.a.Node && o.a.CreatedAt.After(r.a.CreatedAt) {
			return false
		}
	}
	until := r.a.DesiredAt.Add(balkMemory) // a wait for an image may have taken as long
	p.wake(until)
	return until.After(p.now)
}

// elsewhere reports whether a node has room for one more replica of g that does not
// balk and is another than not.
func (w *world) elsewhere(g *group, not cluster.NodeID) bool {
	for i := range w.hosts {
		h := &w.hosts[i]
		if h.node.ID != not && !g.balking[h.node.ID] && refused(h, g.demand) == nil {
			return true
		}
	}
	return false
}

// nodesFault reports whether that r did not start may be its node's fault and not its
// release's: it is not if two nodes say the same and none does better, nor if there
// is no other to ask.
func (p *pass) nodesFault(v *appView, r *replica) bool {
	if !r.a.Observed.StartedAt.IsZero() || r.bound() {
		return false
	}
	for _, g := range v.groups {
		if g.typ != r.a.Type {
			continue
		}
		others, started := 0, false
		for id := range g.balking {
			if id != r.a.Node {
				others++
			}
		}
		for _, o := range g.replicas {
			started = started || o.fresh && !o.a.Observed.StartedAt.IsZero()
		}
		return (others == 0 || started) && p.world.elsewhere(g, r.a.Node)
	}
	return false
}
