package scheduler

import (
	"testing"
	"time"

	"paas/cluster"
)

func TestEvidence(t *testing.T) {
	started := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		o    cluster.Observation
		want string
	}{
		{"nothing yet", cluster.Observation{}, ""},
		{"pulling", cluster.Observation{State: cluster.AllocationPulling}, ""},
		{"starting", cluster.Observation{State: cluster.AllocationStarting, ContainerID: "c", StartedAt: started}, ""},
		{"healthy", cluster.Observation{State: cluster.AllocationHealthy, ContainerID: "c", StartedAt: started}, ""},
		{"exited", cluster.Observation{State: cluster.AllocationBackoff, ContainerID: "c", StartedAt: started}, "rollout.crashed"},
		{"healthy after an exit", cluster.Observation{State: cluster.AllocationHealthy, Restarts: 1}, "rollout.crashed"},
		{"killed by the kernel", cluster.Observation{State: cluster.AllocationBackoff, OOM: true, ExitCode: 137}, "rollout.oom"},
		{"check streak", cluster.Observation{State: cluster.AllocationUnhealthy, ContainerID: "c"}, "rollout.unhealthy"},
		{"boot limit, seen late", cluster.Observation{State: cluster.AllocationFailed, StartedAt: started, ExitCode: 143}, "rollout.unhealthy"},
		{"no image", cluster.Observation{State: cluster.AllocationFailed}, "rollout.image"},
	} {
		if got := evidence(&c.o); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestDefaultReasons(t *testing.T) {
	o := &cluster.Observation{ExitCode: 3}
	for code, want := range map[string]string{
		codeCrashed: "exited with code 3", codeOOM: "ran out of memory and was killed",
		codeUnhealthy: "does not pass its check", codeImage: "could not be started",
	} {
		if got := defaultReason(code, o); got != want {
			t.Errorf("%s: got %q, want %q", code, got, want)
		}
	}
}
