package scheduler

import (
	"testing"
	"time"

	"paas/cluster"
)

// TestTimeWithoutALeaderIsNobodysDelay: a server that was restarted, or away for
// an hour, in the middle of a rollout goes on with it. What then makes no progress
// fails after the same time as ever.
func TestTimeWithoutALeaderIsNobodysDelay(t *testing.T) {
	s := settled(t, formation{"web": 1}, "web")
	d := s.deploy("blog", staysStarting, "web")
	s.tick(time.Second)
	s.now = s.now.Add(time.Hour)
	s.lead()
	s.acknowledge()
	p := s.decide()
	if got := s.deployment(d); got.State != cluster.DeploymentRolling {
		t.Fatalf("at the first pass the deployment is %s: %+v", got.State, got.Failure)
	}
	if want := s.leading.Add(cluster.DefaultProgress); !p.Next.Equal(want) {
		t.Fatalf("next %s, want the deadline %s", p.Next, want)
	}
	late := s.leading.Add(cluster.DefaultProgress)
	s.now = late.Add(-time.Millisecond)
	s.decide()
	if got := s.deployment(d); got.State != cluster.DeploymentRolling {
		t.Fatalf("before the deadline the deployment is %s", got.State)
	}
	s.now = late
	s.decide()
	if got := s.deployment(d); got.State != cluster.DeploymentFailed || got.Failure.Code != "rollout.deadline" {
		t.Fatalf("at the deadline the deployment is %s: %+v", got.State, got.Failure)
	}

	s = settled(t, formation{"web": 1}, "web")
	d = s.deploy("blog", fine, "web")
	s.tick(time.Second)
	s.now = s.now.Add(time.Hour)
	s.lead()
	s.settle()
	if got := s.deployment(d); got.State != cluster.DeploymentSucceeded {
		t.Fatalf("after the restart the deployment is %s: %+v", got.State, got.Failure)
	}
}

// TestANewLeaderHearsRoutersBeforeItEndsReplicas: the routers' silence began with
// the leader. A router that starts again serves from its last table, which may
// have a replica that was drained long ago.
func TestANewLeaderHearsRoutersBeforeItEndsReplicas(t *testing.T) {
	s := settled(t, formation{"web": 1}, "web")
	s.deployRelease("blog", fine, cluster.Release{Rollout: cluster.Rollout{Drain: time.Hour}, Processes: map[cluster.ProcessType]cluster.Process{"web": process(100)}})
	s.settle()
	d := s.deploy("blog", fine, "web")
	draining := func() *cluster.Allocation {
		for a := range s.state.AllocationsOf("blog") {
			if a.Desired == cluster.DesiredDrain {
				return a
			}
		}
		return nil
	}
	s.until("an old replica drains", func() bool { return draining() != nil })
	s.now = s.now.Add(5 * time.Minute)
	s.lead()
	s.decide()
	if draining() == nil {
		t.Fatalf("it was stopped before any router was heard; deployment %s\n%s", s.deployment(d).State, s.dump())
	}
	s.now = s.leading.Add(routerPatience)
	s.decide()
	if draining() != nil {
		t.Fatalf("a router that stays silent is waited for\n%s", s.dump())
	}
}
