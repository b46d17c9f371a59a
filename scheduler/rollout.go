package scheduler

import (
	"cmp"
	"slices"
	"time"

	"paas/cluster"
)

// Replacements of a replica that its agent gave up on come no faster than this,
// doubling with each attempt.
const (
	minRetry = time.Second
	maxRetry = time.Minute
)

// retire ends what is no longer wanted, as far as what serves allows it.
func (p *pass) retire(v *appView, g *group) {
	p.retireLost(g)
	p.retireFailed(g)
	p.makeWay(v, g)
	if g.removed && v.rolling != nil && !v.complete() {
		return // an old type serves until the new release stands
	}
	p.retireSurplus(g)
	g.findCovers()
}

// retireLost stops replicas on nodes that are down once something else serves;
// until then they may well be alive behind a dead agent, and stay routed.
func (p *pass) retireLost(g *group) {
	serving := slices.ContainsFunc(g.replicas, func(r *replica) bool { return r.ready })
	for _, r := range g.replicas {
		if !r.running() || !r.lost() {
			continue
		}
		s := g.slot(r)
		replaced := s != nil && (s.keeper != nil || s.cover != nil)
		if r.node == nil || s == nil || (replaced && serving) {
			p.stop(r)
		}
	}
}

// retireFailed stops at once what a failed release left unhealthy, and what its
// agent gave up on and is replaced.
func (p *pass) retireFailed(g *group) {
	for _, r := range g.replicas {
		if !r.running() || r.lost() {
			continue
		}
		s := g.slot(r)
		// What the replacement of an ailing one came to has to be seen until the next
		// is due: see tooSoon.
		pausing := s != nil && s.last == r && s.cover != nil && s.cover.ailing()
		replaced := s == nil || s.keeper != nil || s.cover != nil
		over := r.dead() && !pausing && (replaced || s.last != r) || r.stuck && replaced
		if over || (r.failed && !r.fresh && !r.healthy()) {
			p.stop(r)
		}
	}
}

// retireSurplus ends old, excess, moved and doubled replicas. Two rules hold:
// one that is ready goes only if enough ready ones remain, and one that is not
// goes only if a ready up-to-date one stands in for it and, should it run
// already, enough others run too.
func (p *pass) retireSurplus(g *group) {
	ready, fresh := 0, 0
	var old []*replica
	for _, r := range g.replicas {
		if !r.present() {
			continue
		}
		s := g.slot(r)
		keeper := s != nil && s.keeper == r
		if !keeper && !p.onTheMove(g, r) {
			old = append(old, r)
		}
		if r.ready {
			ready++
			if keeper {
				fresh++
			}
		}
	}
	if len(old) == 0 {
		return
	}
	p.awaitReady(g)
	slices.SortFunc(old, g.retireOrder)
	left := len(old)
	for _, r := range old {
		if r.ready && (ready-1 < g.wanted || !g.replaceable(r)) {
			continue
		}
		if !r.ready && !g.worthless(r) && fresh+left-1 < g.wanted || !g.spares(r) {
			continue
		}
		p.drain(r)
		left--
		if r.ready {
			ready--
		}
	}
}

// awaitReady wakes the scheduler when a replica becomes ready by time alone.
func (p *pass) awaitReady(g *group) {
	for _, r := range g.replicas {
		if r.running() && !r.ready {
			p.wake(r.readyAt)
		}
	}
}

// retireOrder: what does not serve first, and of that what does not even run;
// then the highest excess slots, then slot by slot, those of a failed release
// before others.
func (g *group) retireOrder(a, b *replica) int {
	class := func(r *replica) int {
		switch excess := g.slot(r) == nil; {
		case !r.ready && excess:
			return 0
		case !r.ready:
			return 1
		case excess:
			return 2
		}
		return 3
	}
	if c := cmp.Or(cmp.Compare(class(a), class(b)), compareBool(a.up(), b.up())); c != 0 {
		return c
	}
	if g.slot(a) == nil {
		return cmp.Or(cmp.Compare(b.a.Slot, a.a.Slot), cmp.Compare(a.a.Attempt, b.a.Attempt))
	}
	return cmp.Or(compareBool(b.failed, a.failed), cmp.Compare(a.a.Slot, b.a.Slot), cmp.Compare(a.a.Attempt, b.a.Attempt))
}

// replaceable reports whether r's slot is not wanted or has another ready
// replica: its successor, or one more that is old too. Without the latter a
// formation of doubled old replicas would have no surge left to get out of.
func (g *group) replaceable(r *replica) bool {
	return g.slot(r) == nil || slices.ContainsFunc(g.replicas, func(o *replica) bool {
		return o != r && o.a.Slot == r.a.Slot && o.ready && o.present()
	})
}

// spares reports whether r may end for what runs: it is ready, of which others
// keep count, it does not run itself, something else ends it anyway, or enough
// others run. Whoever runs can be asked before time and routers make it ready. A
// node that drains is no reason to end one that does well before another does in
// its slot: time makes it ready, and then its successor has to be, too.
func (g *group) spares(r *replica) bool {
	if r.evicted() && r.healthy() && !r.ready && r.fresh && !r.failed {
		return g.slot(r) == nil || slices.ContainsFunc(g.replicas, func(o *replica) bool {
			return o != r && o.a.Slot == r.a.Slot && o.healthy() && o.present()
		})
	}
	return r.ready || !r.up() || r.doomed() || g.upBeside(r) >= g.least()
}

// upBeside is how many others than r can be asked and will be there: one that is
// ready ends only for another.
func (g *group) upBeside(r *replica) int {
	n := 0
	for _, o := range g.replicas {
		if o != r && o.up() && (o.ready || !o.doomed()) {
			n++
		}
	}
	return n
}

// doomed reports whether r has to go for another reason than its check: its
// release failed, or it has to leave its node.
func (r *replica) doomed() bool { return r.failed || r.evicted() }

// least is how many replicas run at any time, whatever their checks say, if so
// many ran before. The only one has to go sometimes, to make room for another.
func (g *group) least() int {
	return max(0, min(cluster.LeastServing(g.wanted), g.wanted-1))
}

// worthless reports whether nobody misses r, which is not ready: it is in
// excess, or it has to leave its node and its successor exists.
func (g *group) worthless(r *replica) bool {
	s := g.slot(r)
	return s == nil || (r.evicted() && !r.healthy() && s.keeper != nil)
}

// want asks for replicas: at once for slots that have none, within the surge
// for slots whose replica is to be replaced.
func (p *pass) want(v *appView, g *group) {
	if g.wanted == 0 {
		return
	}
	budget := g.wanted + v.target.Rollout.SurgeOf(g.wanted)
	for _, r := range g.replicas {
		if r.present() {
			budget--
		}
	}
	var covered []need
	for i := range g.slots {
		s := &g.slots[i]
		if s.keeper != nil {
			continue
		}
		if g.held {
			p.waitForVolume(v, g, i+1)
			continue
		}
		n := need{app: v.app.Name, release: v.target.Version, group: g, slot: i + 1, attempt: s.attempt + 1, last: s.last, since: p.now}
		switch {
		case s.last != nil && s.last.running() && (s.last.dead() || s.last.stuck) && s.last.fresh && p.tooSoon(s.last):
		case s.cover != nil:
			n.cover = s.cover
			covered = append(covered, n)
		default:
			n.since = p.emptySince(s)
			p.needs = append(p.needs, n)
			budget--
		}
	}
	slices.SortStableFunc(covered, func(a, b need) int { return compareBool(a.cover.ready, b.cover.ready) })
	p.needs = append(p.needs, covered[:max(0, min(budget, len(covered)))]...)
}

// tooSoon reports whether the replacement of a given-up replica has to wait.
func (p *pass) tooSoon(r *replica) bool {
	at := r.a.CreatedAt.Add(retryAfter(r.a.Attempt))
	p.wake(at)
	return at.After(p.now)
}

// retryAfter is the least age of a given-up attempt before the next one.
func retryAfter(attempt int) time.Duration {
	if attempt > 6 {
		return maxRetry
	}
	return min(maxRetry, minRetry<<max(0, attempt-1))
}

// emptySince is when a slot lost its replica: the oldest need is met first.
func (p *pass) emptySince(s *slot) time.Time {
	switch {
	case s.last == nil:
		return p.now
	case s.last.node != nil && s.last.lost():
		return s.last.node.StateAt
	case s.last.a.Desired != cluster.DesiredRun:
		return s.last.a.DesiredAt
	}
	return s.last.a.CreatedAt
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
