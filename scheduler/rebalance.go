package scheduler

import (
	"cmp"
	"slices"
	"time"

	"paas/cluster"
)

// What scale-downs and returning nodes leave uneven is made even again by moves: a
// new attempt elsewhere, which ends the one it names once it serves. Only a process
// type that is at rest gets one, so that it has one at a time and none while its app
// deploys. Each move makes the counts by zone more even, or those by host without
// making those by zone less so: with nodes that stay as they are there is a last one.

const (
	// settleTime is how long a node has been up before replicas move to it. One that
	// comes and goes gets what has to run, and nothing for the sake of order.
	settleTime = 30 * time.Second
	// moveTime is how long a move may take until the replica is ready: as long as a
	// deployment without progress.
	moveTime = cluster.DefaultProgress
	// movePause is how long a move that failed is remembered, and the next one waits.
	movePause = 15 * time.Minute
	// movesPerNode bounds how many replicas are moving to one node at a time.
	movesPerNode = 2
	// unevenBy is the difference that a move makes smaller; one less cannot be.
	unevenBy = 2
)

// restless is a process type that may be uneven.
type restless struct {
	app   *appView
	group *group
}

// onTheMove reports whether r is to take the place of the one that holds its slot,
// and is on the best way to: its first trouble ends it.
func (p *pass) onTheMove(g *group, r *replica) bool {
	s := g.slot(r)
	if s == nil || s.keeper == nil || s.keeper == r || !r.moves(s.keeper) || !r.sound() || evidence(&r.a.Observed) != "" {
		return false
	}
	until := p.patience(r.a.CreatedAt, moveTime+r.rollout.MinHealthy)
	p.wake(until)
	p.wake(r.readyAt)
	return until.After(p.now)
}

// moves reports whether r was made to take the place of o.
func (r *replica) moves(o *replica) bool { return r.a.Moves != "" && r.a.Moves == o.a.ID }

// remembered reports whether r is what is left of a move that failed a short while
// ago: as long as it is known the move is not tried again.
func (p *pass) remembered(r *replica) bool {
	if r.a.Moves == "" || r.node == nil {
		return false
	}
	if a, err := p.state.Allocation(r.a.Moves); err != nil || a.Desired != cluster.DesiredRun {
		return false
	}
	until := r.a.CreatedAt.Add(movePause)
	p.wake(until)
	return until.After(p.now)
}

// watchMoves counts the moves under way, and notes process types at rest.
func (p *pass) watchMoves(v *appView) {
	active := v.rolling != nil || p.state.ActiveDeployment(v.app.Name) != nil
	for _, g := range v.groups {
		for _, r := range g.replicas {
			if p.onTheMove(g, r) {
				p.moving[p.world.byID[r.a.Node]]++
			}
		}
		if active || !g.inPlace() || !p.world.mayBeUneven(g) {
			continue
		}
		if slices.ContainsFunc(g.replicas, func(r *replica) bool { return !r.ready }) {
			p.awaitReady(g)
			continue
		}
		p.restless = append(p.restless, restless{v, g})
	}
}

// inPlace reports whether all that is there of g is one replica per slot, up to date
// and free to go elsewhere.
func (g *group) inPlace() bool {
	if g.removed || g.wanted == 0 || len(g.volumes) > 0 || len(g.replicas) != g.wanted {
		return false
	}
	for i := range g.slots {
		k := g.slots[i].keeper
		if k == nil || k.leaving || k.bound() {
			return false
		}
	}
	return true
}

// mayBeUneven is a cheap look that misses nothing: whether zones that could have
// replicas differ by two, or a host has two.
func (w *world) mayBeUneven(g *group) bool {
	inZone, onHost := map[string]int{}, map[int]int{}
	for i := range g.slots {
		h := w.byID[g.slots[i].keeper.a.Node]
		inZone[w.hosts[h].node.Zone]++
		if onHost[h]++; onHost[h] == unevenBy {
			return true
		}
	}
	least, most := g.wanted, 0
	for _, zone := range w.openZones {
		least, most = min(least, inZone[zone]), max(most, inZone[zone])
	}
	return most-least >= unevenBy
}

// rebalance plans at most one move for each process type that is uneven.
func (p *pass) rebalance() {
	for _, x := range p.restless {
		g := x.group
		g.spread = p.world.spreadOf(g)
		from, to := p.evenZones(g)
		if from == nil {
			from, to = p.evenHosts(g)
		}
		if from == nil {
			continue
		}
		p.moving[to]++
		p.world.take(g, to)
		p.plan.Place = append(p.plan.Place, cluster.Placement{
			App: x.app.app.Name, Type: g.typ, Slot: from.a.Slot, Attempt: from.a.Attempt + 1, Release: x.app.target.Version,
			Generation: g.generation, Node: p.world.hosts[to].node.ID, Moves: from.a.ID,
		})
	}
}

// evenZones finds a move from the zone that has most to one that has at least two
// less; nil if there is none.
func (p *pass) evenZones(g *group) (from *replica, to int) {
	zones := sortedKeys(g.spread.inZone)
	slices.SortStableFunc(zones, func(a, b string) int { return cmp.Compare(g.spread.inZone[a], g.spread.inZone[b]) })
	if len(zones) == 0 {
		return nil, 0
	}
	full := zones[len(zones)-1]
	most := g.spread.inZone[full]
	for _, zone := range zones {
		if most-g.spread.inZone[zone] < unevenBy {
			return nil, 0
		}
		if to := p.target(g, func(h int) bool { return p.world.hosts[h].node.Zone == zone }); to >= 0 {
			return g.mover(p.world, func(h int) bool { return p.world.hosts[h].node.Zone == full }), to
		}
	}
	return nil, 0
}

// evenHosts finds a move from a host to one that has at least two less, in the same
// zone or in one that has less; nil if there is none.
func (p *pass) evenHosts(g *group) (from *replica, to int) {
	hosts := sortedKeys(g.spread.onHost)
	slices.SortStableFunc(hosts, func(a, b int) int { return cmp.Compare(g.spread.onHost[b], g.spread.onHost[a]) })
	for _, source := range hosts {
		if g.spread.onHost[source] < unevenBy {
			break
		}
		zone := p.world.hosts[source].node.Zone
		count, live := g.spread.inZone[zone]
		if !live {
			continue
		}
		to := p.target(g, func(h int) bool {
			other := p.world.hosts[h].node.Zone
			return g.spread.onHost[source]-g.spread.onHost[h] >= unevenBy && (other == zone || count > g.spread.inZone[other])
		})
		if to >= 0 {
			return g.mover(p.world, func(h int) bool { return h == source }), to
		}
	}
	return nil, 0
}

// target returns the best host of those that suit for one more replica of g, or -1.
// If there is only one that has not been up for long, it is looked at again.
func (p *pass) target(g *group, suits func(host int) bool) int {
	best, settles := -1, time.Time{}
	for i := range p.world.hosts {
		h := &p.world.hosts[i]
		if !suits(i) || refused(h, g.demand) != nil || p.moving[i] >= movesPerNode {
			continue
		}
		if at := h.node.StateAt.Add(settleTime); at.After(p.now) {
			if settles.IsZero() || at.Before(settles) {
				settles = at
			}
			continue
		}
		if best < 0 || p.world.better(g, i, best) {
			best = i
		}
	}
	if best < 0 {
		p.wake(settles)
	}
	return best
}

// mover is the replica to be moved off the fullest of the hosts that suit: the one
// in the highest slot.
func (g *group) mover(w *world, suits func(host int) bool) *replica {
	var found *replica
	count := 0
	for i := range g.slots {
		k := g.slots[i].keeper
		h := w.byID[k.a.Node]
		if suits(h) && g.spread.onHost[h] >= count {
			found, count = k, g.spread.onHost[h]
		}
	}
	return found
}
