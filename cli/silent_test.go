package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/api"
	"paas/cluster"
)

func TestSilentReplicasAreTold(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	replica := func(name string, state cluster.AllocationState, silent time.Duration) api.AllocationInfo {
		a := api.AllocationInfo{Instance: name, Allocation: cluster.Allocation{Type: "web", Desired: cluster.DesiredRun, Observed: cluster.Observation{State: state}}}
		if silent > 0 {
			a.SilentSince = now.Add(-silent)
		}
		return a
	}
	for _, c := range []struct {
		name  string
		all   []api.AllocationInfo
		warns []string
		words []string
	}{
		{"all answer", []api.AllocationInfo{replica("web.1", cluster.AllocationHealthy, 0)}, nil, []string{"healthy"}},
		{"one of two", []api.AllocationInfo{replica("web.1", cluster.AllocationHealthy, 30*time.Second), replica("web.2", cluster.AllocationHealthy, 0)},
			[]string{"web.1 takes requests and has answered none for 30s; the others get them"}, []string{"healthy, not answering for 30s", "healthy"}},
		{"the only one", []api.AllocationInfo{replica("web.1", cluster.AllocationHealthy, 5*time.Minute)},
			[]string{"web.1 takes requests and has answered none for 5m; no other can take them"}, []string{"healthy, not answering for 5m"}},
		{"its check fails, too", []api.AllocationInfo{replica("web.1", cluster.AllocationUnhealthy, time.Second)},
			[]string{"web.1 takes requests and has answered none for 1s; no other can take them"}, []string{"unhealthy, not answering for 1s"}},
	} {
		if d := cmp.Diff(c.warns, answerless(&api.ProcessList{Allocations: c.all}, now)); d != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", c.name, d)
		}
		var words []string
		for _, a := range c.all {
			_, word := allocationState(&a, now)
			words = append(words, word)
		}
		if d := cmp.Diff(c.words, words); d != "" {
			t.Errorf("%s: states (-want +got):\n%s", c.name, d)
		}
	}
}
