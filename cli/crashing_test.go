package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/api"
	"paas/cluster"
)

func TestCrashLoopsAreTold(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name    string
		desired cluster.DesiredState
		o       cluster.Observation
		want    []string
	}{
		{"waits for its third start", cluster.DesiredRun, cluster.Observation{State: cluster.AllocationBackoff, Restarts: 2, ExitCode: 3},
			[]string{"web.1 does not stay up: it has ended 3 times, the last time with exit code 3"}},
		{"is up for a moment", cluster.DesiredRun, cluster.Observation{State: cluster.AllocationHealthy, Restarts: 5, OOM: true, ExitCode: 137, StartedAt: now.Add(-time.Minute)},
			[]string{"web.1 does not stay up: it has ended 5 times, the last time for lack of memory"}},
		{"has come to rest", cluster.DesiredRun, cluster.Observation{State: cluster.AllocationHealthy, Restarts: 5, StartedAt: now.Add(-time.Hour)}, nil},
		{"ended once", cluster.DesiredRun, cluster.Observation{State: cluster.AllocationBackoff, ExitCode: 1}, nil},
		{"is leaving", cluster.DesiredStop, cluster.Observation{State: cluster.AllocationBackoff, Restarts: 9}, nil},
	} {
		list := &api.ProcessList{Allocations: []api.AllocationInfo{{Instance: "web.1", Allocation: cluster.Allocation{Desired: c.desired, Observed: c.o}}}}
		if d := cmp.Diff(c.want, crashing(list, now)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}
