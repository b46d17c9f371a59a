package router

import (
	"math/rand/v2"
	"slices"
	"time"
)

// spillFrom is how many requests a replica of the own zone has in flight before
// another zone's is even considered; it then takes over when it has less than
// half as many.
const spillFrom = 8

// pool is the replicas of one app as this router sees them.
type pool struct {
	near []*upstream // own zone
	far  []*upstream
}

// pick chooses a replica that is not in skip, or returns nil if there is none.
// Ejected ones are taken only when there is nothing else.
func (p *pool) pick(skip []*upstream, now time.Time) *upstream {
	usable := func(u *upstream) bool { return !u.out(now) && !slices.Contains(skip, u) }
	near := twoChoices(p.near, usable)
	if near != nil && near.load() < spillFrom {
		return near
	}
	far := twoChoices(p.far, usable)
	switch {
	case near == nil && far == nil:
		rest := func(u *upstream) bool { return !slices.Contains(skip, u) }
		if u := twoChoices(p.near, rest); u != nil {
			return u
		}
		return twoChoices(p.far, rest)
	case near == nil:
		return far
	case far != nil && near.load() > 2*far.load():
		return far
	}
	return near
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
