package router

import (
	"math/rand/v2"
	"slices"
	"time"

	"paas/cluster"
)

// A replica farther away is considered only when the nearer one has that many
// requests in flight; it then takes over when it has less than half as many.
const (
	// spillHere: the next host of the zone is a fraction of a millisecond away, and an
	// app with one worker would make the second one wait.
	spillHere = 2
	// spillZone: another zone is some milliseconds away, and its traffic has a price.
	spillZone = 8
)

// pool is the replicas of one app as this router sees them.
type pool struct {
	here []*upstream // own host
	near []*upstream // own zone
	far  []*upstream
}

// add puts a replica where it is for a router on a node of a zone.
func (p *pool) add(u *upstream, node cluster.NodeID, zone string) {
	to := &p.far
	switch {
	case u.Node == node:
		to = &p.here
	case u.Zone == zone:
		to = &p.near
	}
	*to = append(*to, u)
}

// pick chooses a replica that is not in skip, or returns nil if there is none.
// Ejected ones are taken only when there is nothing else.
func (p *pool) pick(skip []*upstream, now time.Time) *upstream {
	if u := p.best(func(u *upstream) bool { return !u.out(now) && !slices.Contains(skip, u) }); u != nil {
		return u
	}
	return p.best(func(u *upstream) bool { return !slices.Contains(skip, u) })
}

// best chooses one of the usable ones, the nearest first.
func (p *pool) best(usable func(*upstream) bool) *upstream {
	u := twoChoices(p.here, usable)
	u = spill(u, p.near, spillHere, usable)
	return spill(u, p.far, spillZone, usable)
}

// spill returns u, or one of others if u has from in flight and that one less than
// half as many.
func spill(u *upstream, others []*upstream, from int64, usable func(*upstream) bool) *upstream {
	if u != nil && u.load() < from {
		return u
	}
	other := twoChoices(others, usable)
	if u == nil || other != nil && u.load() > 2*other.load() {
		return other
	}
	return u
}

// twoChoices draws two of the usable ones and returns the less loaded: close to
// the best of all of them, without every router running to the same one.
func twoChoices(ups []*upstream, usable func(*upstream) bool) *upstream {
	a := draw(ups, usable, nil)
	if a == nil || len(ups) == 1 {
		return a
	}
	if b := draw(ups, usable, a); b != nil && b.load() < a.load() {
		return b
	}
	return a
}

// draw returns the first usable upstream other than not from a random place on.
func draw(ups []*upstream, usable func(*upstream) bool, not *upstream) *upstream {
	if len(ups) == 0 {
		return nil
	}
	start := rand.IntN(len(ups))
	for i := range ups {
		u := ups[(start+i)%len(ups)]
		if u != not && usable(u) {
			return u
		}
	}
	return nil
}
