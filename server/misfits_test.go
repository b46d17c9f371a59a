package server

import (
	"testing"

	"paas/cluster"
)

// Who watches a drain waits for the newest state to be planned for, even when that
// changes nothing: it may never hear of another state.
func TestMisfitsTellThatTheyAreTheSame(t *testing.T) {
	m := newMisfits()
	plan := func(index uint64, app cluster.AppName) *cluster.Plan {
		return &cluster.Plan{Index: index, Unplaced: []cluster.Unplaced{{App: app, Type: "web", Reasons: []string{"no room"}}}}
	}
	for _, c := range []struct {
		name string
		plan *cluster.Plan
		news bool
	}{
		{"the first ones", plan(1, "blog"), true},
		{"the same state", plan(1, "blog"), false},
		{"the same in a newer state", plan(2, "blog"), true},
		{"others", plan(2, "shop"), true},
	} {
		_, changed := m.of("blog")
		m.planned(c.plan)
		woken := false
		select {
		case <-changed:
			woken = true
		default:
		}
		if woken != c.news || m.at() != c.plan.Index {
			t.Errorf("%s: woken %v, at %d", c.name, woken, m.at())
		}
	}
}
