package router

import (
	"testing"

	"paas/cluster"
)

// A router that hears nobody is deaf itself; one that misses a few hosts is not.
func TestARouterThatHearsNobodyIsDeaf(t *testing.T) {
	for name, c := range map[string]struct {
		others map[cluster.NodeID]bool // whether they are out
		want   bool
	}{
		"the only other host":   {nil, false},
		"one of two":            {map[cluster.NodeID]bool{"b": false}, false},
		"both":                  {map[cluster.NodeID]bool{"b": true}, true},
		"two of three":          {map[cluster.NodeID]bool{"b": true, "c": false}, false},
		"everybody, of several": {map[cluster.NodeID]bool{"b": true, "c": true}, true},
	} {
		n := &remote{node: "a"}
		r := &Router{remotes: map[cluster.NodeID]*remote{"a": n, "idle": {node: "idle"}}}
		for id, out := range c.others {
			o := &remote{node: id}
			o.watched.Store(true)
			o.out.Store(out)
			r.remotes[id] = o
		}
		if got := r.deaf(n); got != c.want {
			t.Errorf("%s silent: deaf %v, want %v", name, got, c.want)
		}
	}
}
