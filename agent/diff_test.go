package agent

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"paas/api"
	"paas/cluster"
)

const (
	run   = cluster.DesiredRun
	drain = cluster.DesiredDrain
	stop  = cluster.DesiredStop
)

func want(id cluster.AllocationID, d cluster.DesiredState) api.Assignment {
	return api.Assignment{ID: id, App: "blog", Type: "web", Slot: 1, Desired: d}
}

func TestDiff(t *testing.T) {
	healthy := func(d cluster.DesiredState) known {
		return known{Desired: d, State: cluster.AllocationHealthy, Container: "c1"}
	}
	c1 := container{ID: "c1", Allocation: "a-1", Running: true}
	for name, c := range map[string]struct {
		assigned   []api.Assignment
		have       map[cluster.AllocationID]known
		containers []container
		want       []string
	}{
		"nothing":        {},
		"new":            {assigned: []api.Assignment{want("a-1", run)}, want: []string{"start a-1 "}},
		"adopt":          {assigned: []api.Assignment{want("a-1", run)}, containers: []container{c1}, want: []string{"start a-1 c1"}},
		"adopt to stop":  {assigned: []api.Assignment{want("a-1", stop)}, containers: []container{c1}, want: []string{"start a-1 c1"}},
		"as wanted":      {assigned: []api.Assignment{want("a-1", run)}, have: map[cluster.AllocationID]known{"a-1": healthy(run)}, containers: []container{c1}},
		"drain":          {assigned: []api.Assignment{want("a-1", drain)}, have: map[cluster.AllocationID]known{"a-1": healthy(run)}, containers: []container{c1}, want: []string{"tell a-1 "}},
		"never backward": {assigned: []api.Assignment{want("a-1", run)}, have: map[cluster.AllocationID]known{"a-1": healthy(stop)}, containers: []container{c1}},
		"unwanted":       {have: map[cluster.AllocationID]known{"a-1": healthy(run)}, containers: []container{c1}, want: []string{"stop a-1 "}},
		"being stopped":  {have: map[cluster.AllocationID]known{"a-1": healthy(stop)}, containers: []container{c1}},
		"died unseen":    {assigned: []api.Assignment{want("a-1", run)}, have: map[cluster.AllocationID]known{"a-1": healthy(run)}, want: []string{"look a-1 "}},
		"failed for good": {assigned: []api.Assignment{want("a-1", run)},
			have: map[cluster.AllocationID]known{"a-1": {State: cluster.AllocationFailed}}},
		"failed, forgotten": {have: map[cluster.AllocationID]known{"a-1": {State: cluster.AllocationFailed}}, want: []string{"forget a-1 "}},
		"failed, left something": {assigned: []api.Assignment{want("a-1", run)}, containers: []container{c1},
			have: map[cluster.AllocationID]known{"a-1": {State: cluster.AllocationFailed}}, want: []string{"remove a-1 c1"}},
		"stray":            {containers: []container{c1}, want: []string{"remove a-1 c1"}},
		"stray, seen once": {have: map[cluster.AllocationID]known{"a-1": {State: cluster.AllocationHealthy, Container: "c1"}}, containers: []container{c1}, want: []string{"forget a-1 ", "remove a-1 c1"}},
		"doubled": {assigned: []api.Assignment{want("a-1", run)}, have: map[cluster.AllocationID]known{"a-1": healthy(run)},
			containers: []container{{ID: "c0", Allocation: "a-1", Running: true}, c1}, want: []string{"remove a-1 c0"}},
		"doubled, unknown": {assigned: []api.Assignment{want("a-1", run)},
			containers: []container{{ID: "c0", Allocation: "a-1"}, c1}, want: []string{"start a-1 c1", "remove a-1 c0"}},
		"one-off":          {containers: []container{{ID: "c2", OneOff: "now", Running: true}}},
		"one-off, left":    {containers: []container{{ID: "c2", OneOff: "before", Running: true}}, want: []string{"remove  c2"}},
		"one-off of ours":  {assigned: []api.Assignment{want("a-1", run)}, containers: []container{{ID: "c2", Allocation: "a-1", OneOff: "now"}}, want: []string{"start a-1 "}},
		"starting, no one": {assigned: []api.Assignment{want("a-1", run)}, have: map[cluster.AllocationID]known{"a-1": {Desired: run, State: cluster.AllocationBackoff}}},
	} {
		var got []string
		for _, a := range diff("now", c.assigned, c.have, c.containers) {
			got = append(got, fmt.Sprintf("%s %s %s", a.Kind, a.ID, a.Container))
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// TestDiffConverges plays diff's actions on a model node: whatever it begins
// with, the second pass over what came out does nothing, and what runs is what
// is assigned.
func TestDiffConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Custom(func(t *rapid.T) cluster.AllocationID {
			return cluster.AllocationID(fmt.Sprintf("a-%d", rapid.IntRange(1, 5).Draw(t, "n")))
		})
		var assigned []api.Assignment
		for _, x := range rapid.SliceOfDistinct(id, rapid.ID).Draw(t, "assigned") {
			assigned = append(assigned, want(x, rapid.SampledFrom([]cluster.DesiredState{run, drain, stop}).Draw(t, "desired")))
		}
		have := map[cluster.AllocationID]known{}
		for _, x := range rapid.SliceOfDistinct(id, rapid.ID).Draw(t, "have") {
			have[x] = known{Desired: cluster.DesiredState(rapid.IntRange(0, 3).Draw(t, "told")),
				State:     cluster.AllocationState(rapid.IntRange(0, int(cluster.AllocationFailed)).Draw(t, "state")),
				Container: rapid.SampledFrom([]string{"", "c1", "c2", "c3"}).Draw(t, "container")}
		}
		var containers []container
		for i := range rapid.IntRange(0, 6).Draw(t, "containers") {
			containers = append(containers, container{ID: fmt.Sprintf("c%d", i), Allocation: id.Draw(t, "of"), Running: rapid.Bool().Draw(t, "running"),
				OneOff: rapid.SampledFrom([]string{"", "", "now", "before"}).Draw(t, "one-off")})
		}
		for range 4 { // stop, then forget, then clean
			have, containers = play(diff("now", assigned, have, containers), have, containers)
		}
		if left := diff("now", assigned, have, containers); len(left) > 0 {
			t.Fatalf("not settled: %v", left)
		}
		checkNode(t, assigned, containers)
	})
}

// play does what actions say, at once.
func play(actions []action, have map[cluster.AllocationID]known, containers []container) (map[cluster.AllocationID]known, []container) {
	drop := func(gone func(container) bool) {
		var left []container
		for _, c := range containers {
			if !gone(c) {
				left = append(left, c)
			}
		}
		containers = left
	}
	end := func(id cluster.AllocationID) {
		drop(func(c container) bool { return c.Allocation == id && c.OneOff == "" })
		have[id] = known{Desired: stop, State: cluster.AllocationStopped}
	}
	for id, k := range have {
		if k.live() && k.Desired == stop {
			end(id) // what was told to stop does, by itself
		}
	}
	for _, a := range actions {
		switch a.Kind {
		case actionStart, actionTell, actionLook:
			k := have[a.ID]
			if a.Kind != actionLook {
				k.Desired = a.Assignment.Desired
			}
			if k.Desired == stop {
				end(a.ID)
				continue
			}
			drop(func(c container) bool { return c.Allocation == a.ID && c.OneOff == "" })
			k.State, k.Container = cluster.AllocationHealthy, "new-"+string(a.ID)
			containers = append(containers, container{ID: k.Container, Allocation: a.ID, Running: true})
			have[a.ID] = k
		case actionStop:
			end(a.ID)
		case actionForget:
			delete(have, a.ID)
		case actionRemove:
			drop(func(c container) bool { return c.ID == a.Container })
		}
	}
	return have, containers
}

// checkNode: nothing runs that is not assigned, and nothing twice.
func checkNode(t *rapid.T, assigned []api.Assignment, containers []container) {
	wanted, seen := map[cluster.AllocationID]bool{}, map[cluster.AllocationID]bool{}
	for _, a := range assigned {
		wanted[a.ID] = true
	}
	for _, c := range containers {
		if c.OneOff != "" {
			if c.OneOff != "now" {
				t.Fatalf("one-off of an earlier life is left: %v", c)
			}
			continue
		}
		if !wanted[c.Allocation] || seen[c.Allocation] {
			t.Fatalf("stray or doubled: %v", c)
		}
		seen[c.Allocation] = true
	}
}
