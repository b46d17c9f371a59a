package scheduler

import (
	"slices"
	"testing"
	"time"

	"paas/cluster"
)

// ways are how a node fails to give a replica a container: its engine says nothing, its
// image cannot be fetched there, its engine refuses.
var ways = []cluster.AllocationState{cluster.AllocationPending, cluster.AllocationPulling, cluster.AllocationFailed, cluster.AllocationBackoff}

// patience is how long it takes at most until another node is asked instead.
func patience(way cluster.AllocationState) time.Duration {
	switch way {
	case cluster.AllocationPending:
		return startTime + 5*time.Second
	case cluster.AllocationPulling:
		return fetchTime + 5*time.Second
	}
	return 5 * time.Second
}

// healthyWithin runs until n replicas are healthy, and returns how long that took.
func (s *sim) healthyWithin(n int, most time.Duration) time.Duration {
	s.t.Helper()
	begun := s.now
	for s.healthy() < n {
		if s.now.Sub(begun) > most {
			s.t.Fatalf("%d of %d are healthy after %s\n%s", s.healthy(), n, most, s.dump())
		}
		s.tick(100 * time.Millisecond)
	}
	return s.now.Sub(begun)
}

// The zone rule wants the second and the fourth replica in a zone whose only node
// starts nothing.
func TestANodeThatStartsNothingHoldsUpNoScaleUp(t *testing.T) {
	for _, way := range ways {
		t.Run(way.String(), func(t *testing.T) {
			s := newSim(t)
			s.node("a1", "a")
			app := s.app("blog", formation{"web": 1})
			s.deploy(app, fine, "web")
			s.settle()
			s.node("b1", "b")
			s.balk["b1"] = way
			s.scale(app, "web", 2)
			t.Logf("another node serves after %s", s.healthyWithin(2, patience(way)))
			s.scale(app, "web", 4)
			s.healthyWithin(4, 5*time.Second) // it is known by now
			wantWhere(t, s, map[cluster.NodeID]int{"a1": 4})

			s.balk = map[cluster.NodeID]cluster.AllocationState{}
			healed, moves := s.now, s.moves
			for s.where(app)["b1"] < 2 {
				if s.tick(time.Second); s.now.Sub(healed) > balkMemory+10*time.Minute {
					t.Fatalf("not even again\n%s", s.dump())
				}
				if s.healthy() < 4 {
					t.Fatalf("%d of 4 serve while the spread is restored", s.healthy())
				}
			}
			s.settle()
			wantWhere(t, s, map[cluster.NodeID]int{"a1": 2, "b1": 2})
			t.Logf("even again %s after it healed, in %d moves", s.now.Sub(healed), s.moves-moves)
		})
	}
}

// Two nodes that start nothing do not pass a replica on to each other for ever: what one
// did is remembered while the other is tried.
func TestTwoNodesThatStartNothingHoldUpNoScaleUp(t *testing.T) {
	for _, way := range ways {
		t.Run(way.String(), func(t *testing.T) {
			s := newSim(t)
			s.node("a1", "a")
			app := s.app("blog", formation{"web": 1})
			s.deploy(app, fine, "web")
			s.settle()
			s.node("b1", "b")
			s.node("c1", "c")
			s.balk["b1"], s.balk["c1"] = way, way
			s.scale(app, "web", 2)
			t.Logf("the third node serves after %s", s.healthyWithin(2, 2*patience(way)))
		})
	}
}

func TestANodeThatStartsNothingHoldsUpNoRollout(t *testing.T) {
	for _, way := range ways {
		t.Run(way.String(), func(t *testing.T) {
			s := spreadOver(t, formation{"web": 6}, "a1", "b1", "c1")
			s.balk["b1"] = way
			begun := s.now
			d := s.deploy("blog", fine, "web")
			for !s.deployment(d).State.Ended() {
				s.tick(100 * time.Millisecond)
			}
			// Others have the image: an agent that is fetching it is not waited for as long.
			if x := s.deployment(d); x.State != cluster.DeploymentSucceeded || s.now.Sub(begun) > min(patience(way), otherFetchTime)+30*time.Second {
				t.Fatalf("the deployment has %s after %s: %+v", x.State, s.now.Sub(begun), x.Failure)
			}
			wantWhere(t, s, map[cluster.NodeID]int{"a1": 3, "c1": 3})
		})
	}
}

// What no node can start is the release's fault, and said as soon as two agree.
func TestAReleaseThatTwoNodesCannotStartFails(t *testing.T) {
	s := spreadOver(t, formation{"web": 1}, "a1", "b1", "c1")
	begun := s.now
	d := s.deploy("blog", hasNoImage, "web")
	s.until("it ends", func() bool { return s.deployment(d).State.Ended() })
	f := s.deployment(d).Failure
	if f == nil || f.Code != codeImage || s.now.Sub(begun) > 5*time.Second {
		t.Fatalf("after %s: %+v", s.now.Sub(begun), f)
	}
	s.settle()
	wantRuns(t, s, "web.1 v1")
}

// Where nobody else has room, the node is waited for, and where no node starts
// anything none is worn out.
func TestNodesThatAllStartNothingAreNotWornOut(t *testing.T) {
	for _, way := range ways {
		t.Run(way.String(), func(t *testing.T) {
			s := spreadOver(t, formation{"web": 1}, "a1", "b1", "c1")
			for _, id := range []cluster.NodeID{"a1", "b1", "c1"} {
				s.balk[id] = way
			}
			s.scale("blog", "web", 3)
			placed, most := 0, 0
			for range 1800 {
				placed += len(s.tick(time.Second).Place)
				most = max(most, len(slices.Collect(s.state.Allocations())))
			}
			if placed > 2*40 || most > 12 {
				t.Errorf("%d placements in half an hour, at most %d replicas known at a time\n%s", placed, most, s.dump())
			}
			clear(s.balk)
			s.settle()
			wantWhere(t, s, map[cluster.NodeID]int{"a1": 1, "b1": 1, "c1": 1})
		})
	}
}

// A host that starts many replicas lets some wait for their turn: that is no trouble.
func TestAQueueIsNoBalking(t *testing.T) {
	s := spreadOver(t, formation{"web": 1}, "a1", "b1")
	s.scale("blog", "web", 2)
	s.decide()
	waits, busy := s.find("blog", "web.2"), s.app("shop", formation{"web": 1})
	s.deploy(busy, fine, "web")
	s.decide()
	for range 5 {
		s.now = s.now.Add(50 * time.Second)
		other := *s.find(busy, "web.1")
		other.Node = waits.Node
		other.Observe(cluster.Observation{State: cluster.AllocationHealthy, StartedAt: s.now, HealthySince: s.now}, s.state.Index(), s.now)
		s.change(func(d *cluster.Draft) { d.PutAllocation(other) })
		if p := Compute(s.input()); len(p.Place)+len(p.Stop) > 0 {
			t.Fatalf("it is not waited for: %+v", p)
		}
	}
	s.now = s.now.Add(startTime)
	if p := Compute(s.input()); len(p.Place) != 1 || p.Place[0].Node == waits.Node {
		t.Fatalf("nothing starts there any more: %+v", p)
	}
}
