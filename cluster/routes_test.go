package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Failing checks take at most half of an app's replicas, rounded down, out of
// service; what never passed one was never in it.
func TestFailingChecksLeaveHalfInService(t *testing.T) {
	for _, c := range []struct {
		wanted   int
		replicas string // h healthy, u unhealthy, n unhealthy without an address, b in backoff, l unhealthy and leaving
		want     string // slots
	}{
		{1, "h", "1"},
		{1, "u", "1"},
		{1, "n", ""},
		{1, "b", ""},
		{1, "l", ""},
		{2, "hu", "1"},
		{2, "uu", "1 2"},
		{2, "ub", "1"},
		{3, "hhu", "1 2"},
		{3, "huu", "1 2 3"},
		{4, "huhu", "1 3"},
		{4, "hubn", "1 2"},
		{5, "hhuuu", "1 2 3 4 5"},
	} {
		d := (&State{}).Draft(7)
		d.PutApp(App{Name: "blog", Formation: map[ProcessType]int{ProcessWeb: c.wanted}})
		for i, r := range c.replicas {
			a := Allocation{ID: AllocationID(fmt.Sprintf("a-%d", i+1)), App: "blog", Type: ProcessWeb, Slot: i + 1, Desired: DesiredRun}
			a.Observed = map[rune]Observation{'h': {State: AllocationHealthy, Address: "10.0.0.1:80"}, 'u': {State: AllocationUnhealthy, Address: "10.0.0.1:80"},
				'n': {State: AllocationUnhealthy}, 'b': {State: AllocationBackoff}, 'l': {State: AllocationUnhealthy, Address: "10.0.0.1:80"}}[r]
			if r == 'l' {
				a.Desired = DesiredDrain
			}
			d.PutAllocation(a)
		}
		var got []string
		for _, u := range d.State().Routes().Routes[0].Upstreams {
			got = append(got, strings.TrimPrefix(u.Instance, "web."))
		}
		slices.Sort(got)
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%d wanted, %s: %s", c.wanted, c.replicas, diff)
		}
	}
}

// Routers are told where nothing is wanted: scaled to zero, or never deployed.
func TestRoutesSayWhatIsIdle(t *testing.T) {
	d := (&State{}).Draft(7)
	d.PutApp(App{Name: "asleep", Current: 3, Formation: map[ProcessType]int{ProcessWeb: 0}})
	d.PutApp(App{Name: "new"})
	d.PutApp(App{Name: "wanted", Current: 1})
	idle := map[AppName]bool{}
	for _, r := range d.State().Routes().Routes {
		idle[r.App] = r.Idle
	}
	if diff := cmp.Diff(map[AppName]bool{"asleep": true, "new": true, "wanted": false}, idle); diff != "" {
		t.Error(diff)
	}
}
