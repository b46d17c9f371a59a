package scheduler

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/cluster"
)

// settled is a node with an app that runs its first release.
func settled(t *testing.T, f formation, types ...cluster.ProcessType) *sim {
	t.Helper()
	s := newSim(t)
	s.node("n1", "a")
	s.app("blog", f)
	s.deploy("blog", fine, types...)
	s.settle()
	return s
}

func wantRuns(t *testing.T, s *sim, want ...string) {
	t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, s.run("blog")); diff != "" {
		t.Fatalf("running replicas (-want +got):\n%s\n%s", diff, s.dump())
	}
}

func TestFirstDeployStartsEverythingAtOnce(t *testing.T) {
	s := newSim(t)
	s.node("n1", "a")
	s.app("blog", formation{"web": 3, "worker": 2})
	d := s.deploy("blog", fine, "web", "worker", "release")
	if p := s.decide(); len(p.Place) != 5 {
		t.Fatalf("placed %d, want 3 web and 2 worker: %+v", len(p.Place), p.Place)
	}
	s.settle()
	wantRuns(t, s, "web.1 v1", "web.2 v1", "web.3 v1", "worker.1 v1", "worker.2 v1")
	if got := s.deployment(d); got.State != cluster.DeploymentSucceeded {
		t.Fatalf("deployment is %s", got.State)
	}
}

func TestRollingReplacesWithinTheSurge(t *testing.T) {
	s := settled(t, formation{"web": 4}, "web")
	s.deploy("blog", fine, "web")
	s.until("done", func() bool {
		if n := len(s.run("blog")); n > 5 {
			t.Fatalf("%d replicas should run, surge of 4 is 1\n%s", n, s.dump())
		}
		return s.state.ActiveDeployment("blog") == nil
	})
	s.settle()
	wantRuns(t, s, "web.1 v2", "web.2 v2", "web.3 v2", "web.4 v2")
}

func TestOldReplicaStaysUntilRoutersKnowTheNewOne(t *testing.T) {
	s := settled(t, formation{"web": 1}, "web")
	s.lagging["n1"] = true
	s.deploy("blog", fine, "web")
	s.until("new replica healthy", func() bool {
		return len(s.run("blog")) == 2 && s.find("blog", "web.1").Observed.State == cluster.AllocationHealthy
	})
	start := s.now
	for s.now.Sub(start) < 9*time.Second {
		if p := s.tick(time.Second); len(p.Drain)+len(p.Stop) > 0 {
			t.Fatalf("old replica ends %s after the new one was healthy, no router knows it", s.now.Sub(start))
		}
	}
	s.until("a router that is stuck is given up on", func() bool { return len(s.last.Drain) == 1 })
}

func TestDeploymentSucceedsWhenNoRouterKnowsTheOldRelease(t *testing.T) {
	for _, c := range []struct {
		name string
		lags time.Duration
	}{{"router that keeps up", 0}, {"router that lags", 3 * time.Second}, {"router that is stuck", time.Hour}} {
		t.Run(c.name, func(t *testing.T) {
			s := settled(t, formation{"web": 1}, "web")
			d := s.deploy("blog", fine, "web")
			s.until("old replica drains", func() bool { return len(s.last.Drain) == 1 })
			s.lagging["n1"] = true
			drained := s.now
			s.until("deployment ends", func() bool {
				s.lagging["n1"] = s.now.Sub(drained) < c.lags
				return s.deployment(d).State == cluster.DeploymentSucceeded
			})
			took, want := s.now.Sub(drained), min(c.lags, routerPatience)
			if took < want || took > want+2*time.Second {
				t.Fatalf("succeeded %s after the drain began, want %s\n%s", took, want, s.dump())
			}
		})
	}
}

func TestMinimumHealthyTimeIsWaitedForByNext(t *testing.T) {
	s := settled(t, formation{"web": 1}, "web")
	s.deployRelease("blog", fine, cluster.Release{
		Processes: map[cluster.ProcessType]cluster.Process{"web": process(100)},
		Rollout:   cluster.Rollout{MinHealthy: 5 * time.Second},
	})
	s.until("new replica healthy", func() bool {
		return len(s.run("blog")) == 2 && s.find("blog", "web.1").Observed.State == cluster.AllocationHealthy
	})
	s.acknowledge()
	want := s.find("blog", "web.1").HealthyAt.Add(5 * time.Second)
	if p := s.decide(); !p.Next.Equal(want) || len(p.Drain) > 0 {
		t.Fatalf("next %s, want %s; drains %v", p.Next, want, p.Drain)
	}
	s.now = want
	if p := s.decide(); len(p.Drain) != 1 {
		t.Fatalf("nothing drained after the minimum healthy time: %+v", p)
	}
}

func TestDrainWaitsForRequestsAndForNoLongerThanItsDeadline(t *testing.T) {
	for _, c := range []struct {
		name     string
		inFlight int
		lagging  bool
		silent   bool
		want     time.Duration
	}{
		{name: "idle", want: 0},
		{name: "busy", inFlight: 1, want: cluster.DefaultDrain},
		{name: "router behind", lagging: true, want: cluster.DefaultDrain},
		{name: "router silent", silent: true, want: routerPatience},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := settled(t, formation{"web": 2}, "web")
			s.scale("blog", "web", 1)
			id := s.find("blog", "web.2").ID
			s.inFlight[id] = c.inFlight
			s.lagging["n1"] = c.lagging || c.silent
			if p := s.decide(); !slices.Equal(p.Drain, []cluster.AllocationID{id}) {
				t.Fatalf("drains %v, want web.2", p.Drain)
			}
			if c.silent {
				delete(s.routers, "n1")
			}
			start := s.now
			s.acknowledge()
			for p := s.decide(); len(p.Stop) == 0; p = s.decide() {
				if p.Next.IsZero() {
					t.Fatal("a drain that never ends")
				}
				s.now = p.Next
			}
			if got := s.now.Sub(start); got != c.want {
				t.Fatalf("stopped after %s, want %s", got, c.want)
			}
		})
	}
}

func TestFailedRolloutRevertsAndSaysWhy(t *testing.T) {
	for _, c := range []struct {
		how     fate
		code    string
		message string
		exit    int
	}{
		{crashes, "rollout.crashed", "web.1 on n1 exited with code 1 after 0.8s", 1},
		{runsOutOfMemory, "rollout.oom", "web.1 on n1 ran out of memory and was killed", 137},
		{hasNoImage, "rollout.image", "web.1 on n1 image not found", 0},
		{neverPasses, "rollout.unhealthy", "web.1 on n1 no answer on port 8080 within 60s", 0},
		{staysStarting, "rollout.deadline", "web.1 on n1 was not ready in time: it is starting", 0},
	} {
		t.Run(c.code, func(t *testing.T) {
			s := settled(t, formation{"web": 2}, "web")
			d := s.deploy("blog", c.how, "web")
			s.settle()
			wantRuns(t, s, "web.1 v1", "web.2 v1")
			f := s.deployment(d).Failure
			if f == nil || f.Code != c.code || f.Message != c.message || f.ExitCode != c.exit || f.Instance != "web.1" {
				t.Fatalf("failure is %+v", f)
			}
		})
	}
}

func TestHealthyReplicasOfAFailedReleaseServeUntilReplaced(t *testing.T) {
	s := settled(t, formation{"web": 3}, "web")
	s.deploy("blog", fine, "web")
	s.until("one new replica alone in its slot", func() bool {
		return slices.Contains(s.run("blog"), "web.1 v2") && !slices.Contains(s.run("blog"), "web.1 v1")
	})
	s.fate[release{"blog", 2}] = crashes
	s.settle() // sim.check holds the minimum at every step
	wantRuns(t, s, "web.1 v1", "web.2 v1", "web.3 v1")
}

func TestFirstDeploymentThatFailsLeavesNothing(t *testing.T) {
	s := newSim(t)
	s.node("n1", "a")
	s.app("blog", formation{"web": 2})
	s.deploy("blog", crashes, "web")
	s.settle()
	if n := len(slices.Collect(s.state.Allocations())); n != 0 {
		t.Fatalf("%d allocations are left\n%s", n, s.dump())
	}
}

func TestReleaseThatFitsNowhereFailsAtOnce(t *testing.T) {
	s := settled(t, formation{"web": 1}, "web")
	d := s.deployRelease("blog", fine, cluster.Release{Processes: map[cluster.ProcessType]cluster.Process{"web": process(2048)}})
	s.decide()
	f := s.deployment(d).Failure
	if f == nil || f.Code != "rollout.unplaceable" || !strings.Contains(f.Message, "n1 (zone a): 1 GiB free, needs 2 GiB") {
		t.Fatalf("failure is %+v", f)
	}
}

func TestFullClusterFailsAtTheDeadline(t *testing.T) {
	s := settled(t, formation{"web": 10}, "web") // 1000 of 1024 MiB: no room for a surge
	d := s.deploy("blog", fine, "web")
	p := s.decide()
	if len(p.Unplaced) == 0 || s.deployment(d).State != cluster.DeploymentRolling {
		t.Fatalf("plan is %+v", p)
	}
	if want := s.deployment(d).ProgressAt.Add(cluster.DefaultProgress); !p.Next.Equal(want) {
		t.Fatalf("next %s, want the deadline %s", p.Next, want)
	}
	s.settle()
	f := s.deployment(d).Failure
	if f == nil || f.Code != "rollout.unplaceable" || !strings.Contains(f.Message, "24 MiB free, needs 100 MiB") {
		t.Fatalf("failure is %+v", f)
	}
}

func TestSuccessCountsEvenAfterTheDeadline(t *testing.T) {
	s := settled(t, formation{"web": 1}, "web")
	d := s.deploy("blog", fine, "web")
	s.until("new replica healthy", func() bool {
		return len(s.run("blog")) == 2 && s.find("blog", "web.1").Observed.State == cluster.AllocationHealthy
	})
	s.now = s.now.Add(time.Hour) // nobody led for an hour
	s.settle()
	if got := s.deployment(d); got.State != cluster.DeploymentSucceeded {
		t.Fatalf("deployment is %s: %+v", got.State, got.Failure)
	}
}

func TestProgressMovesTheDeadline(t *testing.T) {
	s := settled(t, formation{"web": 3}, "web")
	d := s.deploy("blog", fine, "web")
	began := s.deployment(d).ProgressAt
	s.until("progress recorded", func() bool {
		return len(s.last.Deployments) == 1 && s.last.Deployments[0].State == cluster.DeploymentUnknown
	})
	if !s.deployment(d).ProgressAt.After(began) {
		t.Fatal("the deadline did not move")
	}
	if p := s.decide(); len(p.Deployments) > 0 {
		t.Fatalf("the same progress is recorded twice: %+v", p.Deployments)
	}
}

func TestTypesThatLeaveTheReleaseServeUntilItStands(t *testing.T) {
	s := settled(t, formation{"web": 1, "worker": 1}, "web", "worker")
	s.deploy("blog", staysStarting, "web")
	for range 20 {
		s.tick(time.Second)
	}
	wantRuns(t, s, "web.1 v1", "web.1 v2", "worker.1 v1")
	s.fate[release{"blog", 2}] = fine
	s.settle()
	wantRuns(t, s, "web.1 v2")
}

func TestScaleDownDropsTheHighestSlots(t *testing.T) {
	s := settled(t, formation{"web": 4}, "web")
	s.scale("blog", "web", 2)
	s.settle()
	wantRuns(t, s, "web.1 v1", "web.2 v1")
	s.scale("blog", "web", 0)
	s.settle()
	wantRuns(t, s)
}

func TestRestartReplacesSurgeBySurge(t *testing.T) {
	s := settled(t, formation{"web": 2}, "web")
	before := s.find("blog", "web.1").ID
	s.restart("blog", "web")
	s.settle()
	wantRuns(t, s, "web.1 v1", "web.2 v1")
	after := s.find("blog", "web.1")
	if after.ID == before || after.Generation != 1 || after.Attempt != 2 {
		t.Fatalf("web.1 was not replaced: %+v", after)
	}
}

func TestCrashOutsideADeploymentIsTheAgents(t *testing.T) {
	s := settled(t, formation{"web": 2}, "web")
	a := s.find("blog", "web.1")
	o := a.Observed
	o.State, o.Restarts, o.HealthySince = cluster.AllocationBackoff, 1, time.Time{}
	s.observe(a, o)
	if p := s.decide(); !p.Empty() || !p.Next.IsZero() {
		t.Fatalf("plan is %+v", p)
	}
}

func TestGivenUpReplicasAreReplacedEverMoreSlowly(t *testing.T) {
	s := settled(t, formation{"worker": 1}, "worker")
	s.fate[release{"blog", 1}] = hasNoImage
	o := s.find("blog", "worker.1").Observed
	o.State = cluster.AllocationFailed
	s.observe(s.find("blog", "worker.1"), o)
	var placed []time.Time
	for range 2000 {
		if p := s.tick(100 * time.Millisecond); len(p.Place) > 0 {
			placed = append(placed, s.now)
		}
	}
	if len(placed) < 6 {
		t.Fatalf("replaced %d times", len(placed))
	}
	for i := 2; i < len(placed); i++ {
		last, gap := placed[i-1].Sub(placed[i-2]), placed[i].Sub(placed[i-1])
		if gap < min(maxRetry, 2*last-500*time.Millisecond) {
			t.Fatalf("attempt %d came %s after the one before, which waited %s", i, gap, last)
		}
	}
	s.fate[release{"blog", 1}] = fine
	s.settle()
	wantRuns(t, s, "worker.1 v1")
}

func TestDestroyedAppGoesWithItsLastReplica(t *testing.T) {
	s := settled(t, formation{"web": 2}, "web")
	s.setApp("blog", func(a *cluster.App) { a.Destroying = true })
	if p := s.decide(); len(p.Stop) != 2 || len(p.RemoveApps) != 0 {
		t.Fatalf("plan is %+v", p)
	}
	s.settle()
	if _, err := s.state.App("blog"); cluster.KindOf(err) != cluster.KindNotFound {
		t.Fatalf("app is still there: %v\n%s", err, s.dump())
	}
}

func TestCrashedOldReplicaDoesNotBlockTheFix(t *testing.T) {
	s := settled(t, formation{"web": 3}, "web")
	a := s.find("blog", "web.3")
	o := a.Observed
	o.State, o.Restarts, o.HealthySince = cluster.AllocationBackoff, 7, time.Time{}
	s.observe(a, o)
	s.fate[release{"blog", 1}] = crashes
	s.deploy("blog", fine, "web")
	if p := s.decide(); len(p.Place) != 1 || p.Place[0].Slot != 3 {
		t.Fatalf("the surge goes to what does not serve first: %+v", p.Place)
	}
	s.settle()
	wantRuns(t, s, "web.1 v2", "web.2 v2", "web.3 v2")
}

// What ails is replaced before it goes; while its replacement does not get well
// either, it stays, and tries come slower and slower.
func TestAilingReplicasAreReplacedFirst(t *testing.T) {
	s := newSim(t)
	s.node("node-1", "a", memory(1000))
	app := s.app("blog", formation{"web": 2})
	s.deploy(app, fine, "web")
	s.settle()
	ail := func(instance string) {
		o := s.find(app, instance).Observed
		o.State, o.HealthySince, o.Ailing, o.Reason = cluster.AllocationUnhealthy, time.Time{}, true, "GET / answered 503"
		s.observe(s.find(app, instance), o)
	}
	ail("web.1")
	ail("web.2")
	if p := s.decide(); len(p.Place) != 1 || len(p.Drain)+len(p.Stop) != 0 {
		t.Fatalf("both ail: %+v", p)
	}
	if p := s.decide(); !p.Empty() {
		t.Fatalf("one replacement is on its way: %+v", p)
	}
	s.fate[release{app, 1}] = neverPasses
	tries := 0
	for range 300 {
		s.now = s.now.Add(time.Second)
		for a := range s.state.AllocationsOf(app) {
			if a.Attempt > 1 && a.Desired == cluster.DesiredRun { // gives up at once
				s.observe(a, cluster.Observation{State: cluster.AllocationFailed, Reason: "no answer"})
			} else if a.Attempt > 1 {
				s.observe(a, cluster.Observation{State: cluster.AllocationStopped})
			}
		}
		p := s.decide()
		tries += len(p.Place)
		if len(p.Drain) > 0 {
			t.Fatalf("drained before anything else is well: %+v", p)
		}
	}
	if tries < 4 || tries > 20 {
		t.Errorf("%d tries of two slots in five minutes", tries)
	}
}

// Without room beside it, what ails makes room for itself: one at a time, and
// never so many that fewer are left than failing checks may leave.
func TestAilingReplicasMakeRoomOneAtATime(t *testing.T) {
	s := newSim(t)
	s.node("node-1", "a", memory(400)) // four of 100
	app := s.app("blog", formation{"web": 4})
	s.deploy(app, fine, "web")
	s.settle()
	for a := range s.state.AllocationsOf(app) {
		o := a.Observed
		o.State, o.HealthySince, o.Ailing = cluster.AllocationUnhealthy, time.Time{}, true
		s.observe(a, o)
	}
	gone := 0
	for range 50 {
		p := s.decide()
		gone += len(p.Drain)
		if len(p.Drain) > 1 {
			t.Fatalf("two at once: %+v", p)
		}
	}
	if gone != 1 {
		t.Errorf("%d were ended before anything else got well, want 1\n%s", gone, s.dump())
	}
}

// The time that a new replica has to prove itself in is none that it is late by.
func TestLongProbationIsNotLate(t *testing.T) {
	s := newSim(t)
	s.node("node-1", "a")
	app := s.app("blog", formation{"web": 1})
	s.deploy(app, fine, "web")
	s.settle()
	id := s.deployRelease(app, fine, cluster.Release{
		Processes: map[cluster.ProcessType]cluster.Process{"web": process(100)}, Rollout: cluster.Rollout{MinHealthy: 5 * time.Minute},
	})
	began := s.now
	s.until("the new release is live", func() bool {
		s.tick(time.Second)
		return s.deployment(id).State.Ended()
	})
	if d := s.deployment(id); d.State != cluster.DeploymentSucceeded || s.now.Sub(began) < 5*time.Minute {
		t.Errorf("%s after %v: %+v", d.State, s.now.Sub(began), d.Failure)
	}
}
