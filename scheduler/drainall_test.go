package scheduler

import (
	"fmt"
	"testing"
	"time"

	"paas/cluster"
)

// TestDrainOfEveryNodeEndsNothing drains one node after the other just after a
// scale-up, when no replica has been healthy for long: with nowhere to go, all stay.
func TestDrainOfEveryNodeEndsNothing(t *testing.T) {
	s := newSim(t)
	var nodes []cluster.NodeID
	for i, zone := range []string{"a", "b", "c", "b"} {
		nodes = append(nodes, s.node(fmt.Sprintf("h%d", i+1), zone))
	}
	s.app("blog", formation{"web": 1})
	s.deploy("blog", fine, "web")
	s.settle()
	s.scale("blog", "web", len(nodes))
	s.until("all are healthy", func() bool { return len(s.well("blog")) == len(nodes) })
	for _, n := range nodes {
		s.now = s.now.Add(50 * time.Millisecond)
		s.set(n, draining)
		s.acknowledge()
		s.decide()
	}
	for range 100 {
		s.tick(100 * time.Millisecond)
	}
	if well := s.well("blog"); len(well) != len(nodes) {
		t.Fatalf("%v are healthy\n%s", well, s.dump())
	}
}

// well lists an app's instances that should run and do well.
func (s *sim) well(app cluster.AppName) (instances []string) {
	for a := range s.state.AllocationsOf(app) {
		if a.Desired == cluster.DesiredRun && a.Observed.State == cluster.AllocationHealthy {
			instances = append(instances, a.Instance())
		}
	}
	return instances
}
