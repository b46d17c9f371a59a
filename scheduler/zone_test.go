package scheduler

import (
	"fmt"
	"testing"
	"time"

	"paas/cluster"
)

// TestALostZoneOfALargeClusterIsMadeUpForAndRestored: 50 nodes in 3 zones, 100 apps of
// 10 replicas. All that a zone had is placed elsewhere in one plan, and serves as soon
// as it starts; when the zone returns its share comes back a few at a time, and what
// served before a move serves after it.
func TestALostZoneOfALargeClusterIsMadeUpForAndRestored(t *testing.T) {
	s := newSim(t)
	zoneOf := func(i int) string { return string(rune('a' + i%3)) }
	for i := range 50 {
		s.node(fmt.Sprintf("node-%02d", i), zoneOf(i), memory(6400), func(n *cluster.Node) { n.Router = i < 6 })
	}
	for i := range 100 {
		name := s.app(cluster.AppName(fmt.Sprintf("app-%02d", i)), formation{"web": 8, "worker": 2})
		s.deploy(name, fine, "web", "worker")
	}
	s.settle()
	if n := s.healthy(); n != 1000 {
		t.Fatalf("%d replicas serve", n)
	}
	setZone := func(f func(*cluster.Node)) {
		for i := range 50 {
			if zoneOf(i) == "b" {
				s.set(cluster.NodeID(fmt.Sprintf("node-%02d", i)), f)
			}
		}
	}
	setZone(down)
	lost := 1000 - s.healthy()
	if p := s.decide(); len(p.Place) != lost || len(p.Unplaced) != 0 {
		t.Fatalf("of %d lost replicas %d are placed at once, %d nowhere", lost, len(p.Place), len(p.Unplaced))
	}
	gone := s.now
	s.until("full capacity is there", func() bool { return s.healthy() >= 1000 })
	t.Logf("zone lost: %d replicas, full capacity after %s of agents that take 0.1 s per step", lost, s.now.Sub(gone))
	s.settle()

	setZone(up)
	back, before, peak := s.now, s.moves, 0
	for s.now.Sub(back) < 10*time.Minute {
		at := s.moves
		for range 6 {
			s.tick(10 * time.Second)
			if n := s.healthy(); n < 1000 {
				t.Fatalf("%d of 1000 serve while the zone gets its share", n)
			}
		}
		peak = max(peak, s.moves-at)
	}
	s.settle()
	for app := range s.state.Apps() {
		for _, typ := range []cluster.ProcessType{"web", "worker"} {
			if how := s.uneven(app.Name, typ); how != "" {
				t.Fatalf("%s/%s is uneven: %s", app.Name, typ, how)
			}
		}
	}
	t.Logf("zone back: %d moves, at most %d a minute", s.moves-before, peak)
	if n := s.moves - before; n == 0 || n > 2*lost {
		t.Errorf("%d moves to restore the spread of %d replicas", n, lost)
	}
}

// healthy counts the replicas that pass their check on nodes that are up.
func (s *sim) healthy() int {
	count := 0
	for a := range s.state.Allocations() {
		n, err := s.state.Node(a.Node)
		if err == nil && n.State == cluster.NodeUp && a.Desired == cluster.DesiredRun && a.Observed.State == cluster.AllocationHealthy {
			count++
		}
	}
	return count
}
