package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/api"
	"paas/cluster"
)

// node is an agent's inside on a fake engine, in a bubble of fake time.
type node struct {
	t    *testing.T
	fake *fakeRuntime
	m    *reconciler
	disk map[cluster.AllocationID]api.Observed // what board keeps
	stop func()

	mu    sync.Mutex
	check error // what checks answer; guarded by mu
	begun time.Time
	seen  []string       // guarded by mu
	news  []api.Observed // guarded by mu
}

func newNode(t *testing.T) *node {
	n := &node{t: t, fake: newFake(), disk: map[cluster.AllocationID]api.Observed{}, begun: time.Now()}
	n.fake.images["sha256:present"] = true
	return n
}

// begin starts an agent's life with what the disk holds.
func (n *node) begin(set *api.AssignmentSet) {
	n.t.Helper()
	var known []api.Observed
	for _, o := range n.disk {
		known = append(known, o)
	}
	b := newBoard(known, n.keep, n.drop)
	n.m = newReconciler(&shared{cluster: "c0ffee", life: fmt.Sprint(time.Now().UnixNano()), runtime: n.fake.runtime(), probe: n.probe, board: b, archive: newArchive(),
		registry:  func() cluster.RegistryEndpoint { return cluster.RegistryEndpoint{Address: "reg"} },
		listening: func(int) []string { return []string{"3000"} }, starts: make(chan struct{}, 2), users: newUsers(), pins: newPins(), log: slog.New(slog.DiscardHandler)}, set)
	ctx, cancel := context.WithCancel(n.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = n.m.watch(ctx) })
	wg.Go(func() { _ = n.m.run(ctx, func() {}) })
	n.stop = func() { cancel(); wg.Wait() }
}

func (n *node) probe(context.Context, cluster.Check, string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.check
}

func (n *node) setCheck(err error) { n.mu.Lock(); n.check = err; n.mu.Unlock() }

// keep records news as "1.1s healthy c1".
func (n *node) keep(o api.Observed) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.disk[o.ID] = o
	n.news = append(n.news, o)
	n.seen = append(n.seen, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", time.Since(n.begun).Round(100*time.Millisecond),
		o.Observation.State, o.Observation.ContainerID, o.Observation.Reason)))
}

func (n *node) drop(id cluster.AllocationID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.disk, id)
}

// saw compares all news since the last call.
func (n *node) saw(want ...string) {
	n.t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := cmp.Diff(want, n.seen); d != "" {
		n.t.Errorf("news (-want +got):\n%s", d)
	}
	n.seen = nil
}

func (n *node) last() api.Observed {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.news[len(n.news)-1]
}

func setOf(a ...api.Assignment) *api.AssignmentSet {
	return &api.AssignmentSet{Index: 1, Assignments: a}
}

func inBubble(t *testing.T, f func(n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newNode(t)) })
}

func TestReplicaLivesAndStops(t *testing.T) {
	inBubble(t, func(n *node) {
		a := assignment("a-1", sleeps...)
		n.begin(setOf(a))
		defer func() { n.stop() }()
		time.Sleep(time.Minute)
		n.saw("0s starting c1", "0s healthy c1")
		if o := n.last().Observation; o.Address != "10.0.0.1:8080" || o.HealthySince.IsZero() {
			t.Errorf("healthy, but %+v", o)
		}
		a.Desired = cluster.DesiredDrain
		n.m.assign(setOf(a))
		time.Sleep(time.Minute)
		n.saw()
		a.Desired = cluster.DesiredStop
		n.m.assign(setOf(a))
		n.saw("2m0s stopping c1", "2m0s stopped c1")
		n.m.assign(setOf())
		synctest.Wait()
		if len(n.fake.all()) != 0 || len(n.disk) != 0 {
			t.Errorf("left: containers %v, memory %v", n.fake.all(), n.disk)
		}
	})
}

func TestSlowStopIsKilledAfterGrace(t *testing.T) {
	inBubble(t, func(n *node) {
		a := assignment("a-1", stubborn...)
		a.Process.StopGrace = 7 * time.Second
		n.begin(setOf(a))
		defer func() { n.stop() }()
		n.saw("0s starting c1", "0s healthy c1")
		n.m.assign(setOf()) // not even named any more
		time.Sleep(10 * time.Second)
		n.saw("0s stopping c1", "7s stopped c1")
		if len(n.fake.all()) != 0 {
			t.Errorf("left: %v", n.fake.all())
		}
	})
}

func TestCrashBacksOffDoubling(t *testing.T) {
	inBubble(t, func(n *node) {
		n.setCheck(errors.New("refused"))
		n.begin(setOf(assignment("a-1", crashes...)))
		defer func() { n.stop() }()
		time.Sleep(10 * time.Second)
		const why = "exited with code 3 after 0.0s"
		n.saw("0s starting c1", "0s backoff c1 "+why,
			"1s starting c2 "+why, "1s backoff c2 "+why,
			"3s starting c3 "+why, "3s backoff c3 "+why,
			"7s starting c4 "+why, "7s backoff c4 "+why)
		o := n.last()
		if o.Observation.ExitCode != 3 || o.Observation.Restarts != 4 || len(o.Log) != 1 || o.Log[0] != "boom" {
			t.Errorf("evidence: %+v", o)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := n.last().Observation.Restarts; got < 13 || got > 16 {
			t.Errorf("%d restarts in ten minutes: the wait does not stay at its limit", got)
		}
		if len(n.fake.all()) != 1 {
			t.Errorf("containers pile up: %v", n.fake.all())
		}
	})
}

func TestBackoffResetsAfterAHealthyMinute(t *testing.T) {
	inBubble(t, func(n *node) {
		n.begin(setOf(assignment("a-1", "crash-later")))
		defer func() { n.stop() }()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		// Two minutes up, one second of backoff, each time.
		for i, want := range []string{"2m0s backoff", "4m1s backoff", "6m2s backoff", "8m3s backoff"} {
			if !strings.HasPrefix(n.seen[2+3*i], want) {
				t.Errorf("got %q, want %q", n.seen[2+3*i], want)
			}
		}
	})
}

func TestOutOfMemoryIsNamed(t *testing.T) {
	inBubble(t, func(n *node) {
		n.begin(setOf(assignment("a-1", "oom")))
		defer func() { n.stop() }()
		time.Sleep(1500 * time.Millisecond)
		n.saw("0s starting c1", "0s healthy c1", "1s backoff c1 ran out of memory (limit 64 MiB) after 1.0s")
		if o := n.last().Observation; !o.OOM || o.ExitCode != 137 {
			t.Errorf("got %+v", o)
		}
	})
}

func TestBootLimitFailsWithTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"wrong port": {errors.New("port 8080 refuses connections"), "did not listen on port 8080 within 60s (listening: 3000)"},
		"bad answer": {&answerError{"/up", 503}, "GET /up answered 503 for 60s"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(n *node) {
				n.setCheck(c.err)
				n.begin(setOf(assignment("a-1", sleeps...)))
				defer func() { n.stop() }()
				time.Sleep(2 * time.Minute)
				n.saw("0s starting c1", "1m0s unhealthy c1 "+c.want, "1m0s failed c1 "+c.want)
				if len(n.fake.all()) != 0 {
					t.Errorf("left: %v", n.fake.all())
				}
				n.m.assign(setOf(assignment("a-1", sleeps...))) // told again: a failed allocation is not tried again
				time.Sleep(time.Minute)
				n.saw()
			})
		})
	}
}

// However long the engine was away, and the pause between tries with it: once it
// is back, what was assigned meanwhile starts at once.
func TestAnEngineThatIsBackIsUsedAtOnce(t *testing.T) {
	inBubble(t, func(n *node) {
		n.fake.setDown()
		n.begin(setOf(assignment("a-1", sleeps...)))
		defer func() { n.stop() }()
		time.Sleep(62 * time.Second)
		n.fake.setUp()
		time.Sleep(20 * time.Second)
		n.saw(n.at(62*time.Second, 63*time.Second, "starting c1"), n.at(62*time.Second, 63*time.Second, "healthy c1"))
	})
}

func TestSlowBootIsHealthyAtOnceWhenItListens(t *testing.T) {
	inBubble(t, func(n *node) {
		n.setCheck(errors.New("refused"))
		n.begin(setOf(assignment("a-1", sleeps...)))
		defer func() { n.stop() }()
		time.Sleep(10 * time.Second)
		n.setCheck(nil)
		time.Sleep(time.Second)
		n.saw("0s starting c1", n.at(10*time.Second, 11*time.Second, "healthy c1"))
	})
}

// at finds the news that ends in what between two times, as it was recorded.
func (n *node) at(from, to time.Duration, what string) string {
	n.t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.seen {
		when, rest, _ := strings.Cut(s, " ")
		if d, _ := time.ParseDuration(when); rest == what && d >= from && d <= to {
			return s
		}
	}
	return fmt.Sprintf("%q between %s and %s", what, from, to)
}

// Whether a replica may be ended is for the scheduler to say, who sees the others.
func TestFailingChecksAskForAReplacement(t *testing.T) {
	inBubble(t, func(n *node) {
		n.begin(setOf(assignment("a-1", sleeps...)))
		defer func() { n.stop() }()
		time.Sleep(time.Second)
		n.setCheck(errors.New("port 8080 did not answer in time"))
		time.Sleep(5 * time.Minute)
		const why = "port 8080 did not answer in time"
		n.saw("0s starting c1", "0s healthy c1", "15s unhealthy c1 "+why, "30s unhealthy c1 "+why+", 6 times in a row; to be replaced")
		if o := n.last().Observation; !o.Ailing || o.Restarts != 0 || o.Address == "" {
			t.Errorf("after five minutes: %+v", o)
		}
		n.setCheck(nil)
		time.Sleep(10 * time.Second)
		n.saw("5m5s healthy c1")
		if o := n.last().Observation; o.Ailing {
			t.Errorf("well again: %+v", o)
		}
	})
}

func TestUnhealthyRecovers(t *testing.T) {
	inBubble(t, func(n *node) {
		n.begin(setOf(assignment("a-1", sleeps...)))
		defer func() { n.stop() }()
		time.Sleep(time.Second)
		n.setCheck(errors.New("slow"))
		time.Sleep(16 * time.Second)
		n.setCheck(nil)
		time.Sleep(time.Minute)
		n.saw("0s starting c1", "0s healthy c1", "15s unhealthy c1 slow", "20s healthy c1")
	})
}

func TestWithoutAPortRunningIsHealthy(t *testing.T) {
	inBubble(t, func(n *node) {
		n.setCheck(errors.New("must not be asked"))
		a := assignment("a-1", sleeps...)
		a.Type, a.Process.Port, a.Process.Check = "worker", 0, cluster.Check{}
		n.begin(setOf(a))
		defer func() { n.stop() }()
		time.Sleep(time.Hour)
		n.saw("0s starting c1", "1s healthy c1")
	})
}

func TestImages(t *testing.T) {
	a := assignment("a-1", sleeps...)
	a.Image = cluster.Image{Repository: "apps/blog", Digest: "sha256:x"}
	for name, c := range map[string]struct {
		answer error
		known  bool
		want   []string
	}{
		"pulled":      {nil, true, []string{"0s pulling", "0s starting c1", "0s healthy c1"}},
		"unknown":     {nil, false, []string{"0s pulling", "0s failed  its image is not in the registry (a backup holds none): push or deploy the app again"}},
		"unreachable": {errors.New("connection refused"), true, []string{"0s pulling", "10s failed  cannot fetch image: connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(n *node) {
				if c.known {
					n.fake.registry["reg/apps/blog@sha256:x"] = c.answer
				}
				n.begin(setOf(a))
				defer func() { n.stop() }()
				time.Sleep(time.Minute)
				n.saw(c.want...)
				if o := n.last().Observation; o.State == cluster.AllocationFailed && o.ContainerID != "" {
					t.Errorf("an image error names container %s", o.ContainerID)
				}
			})
		})
	}
}

func TestCannotStartIsACrash(t *testing.T) {
	inBubble(t, func(n *node) {
		n.begin(setOf(assignment("a-1", "no-such-program")))
		defer func() { n.stop() }()
		time.Sleep(500 * time.Millisecond)
		n.saw("0s backoff c1 cannot start: executable file not found")
	})
}

func TestAgentRestartAdopts(t *testing.T) {
	inBubble(t, func(n *node) {
		set := setOf(assignment("a-1", sleeps...))
		n.begin(set)
		time.Sleep(time.Second)
		n.saw("0s starting c1", "0s healthy c1")
		before := n.fake.all()
		n.stop()
		time.Sleep(time.Minute)
		n.begin(set)
		defer func() { n.stop() }()
		time.Sleep(time.Minute)
		n.saw() // nothing changed, so nothing is said: routers keep the replica
		if d := cmp.Diff(before, n.fake.all()); d != "" {
			t.Errorf("container changed:\n%s", d)
		}
	})
}

func TestAgentRestartWithoutMemoryAdopts(t *testing.T) {
	inBubble(t, func(n *node) {
		set := setOf(assignment("a-1", sleeps...))
		n.begin(set)
		time.Sleep(time.Second)
		n.saw("0s starting c1", "0s healthy c1")
		n.stop()
		clear(n.disk)
		time.Sleep(2 * time.Minute)
		n.begin(nil)
		defer func() { n.stop() }()
		time.Sleep(time.Minute)
		n.saw() // nothing was told: nothing is touched
		n.m.assign(set)
		n.saw("3m1s starting c1", "3m1s healthy c1")
	})
}

func TestExitWhileTheAgentWasAway(t *testing.T) {
	inBubble(t, func(n *node) {
		set := setOf(assignment("a-1", sleeps...))
		n.begin(set)
		time.Sleep(time.Second)
		n.saw("0s starting c1", "0s healthy c1")
		n.stop()
		n.fake.kill("c1", 9)
		time.Sleep(time.Second)
		n.begin(set)
		defer func() { n.stop() }()
		time.Sleep(2 * time.Second)
		const why = "exited with code 9 after 1.0s, while paas or the engine was away"
		n.saw("2s backoff c1 "+why, "3s starting c2 "+why, "3s healthy c2")
	})
}

// What somebody stops, what ends while nobody watches, and what is gone at the
// start is not the app's doing: it is not counted, nor is what was before it.
func TestEndsOfThePlatformAreNotCounted(t *testing.T) {
	inBubble(t, func(n *node) {
		set := setOf(assignment("a-1", sleeps...))
		n.begin(set)
		defer func() { n.stop() }()
		restarts := func(when string, want int) {
			t.Helper()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if o := n.last().Observation; o.State != cluster.AllocationHealthy || o.Restarts != want {
				t.Errorf("%s: %v, %d restarts, want %d", when, o.State, o.Restarts, want)
			}
		}
		crash := func(code int) { n.fake.kill(n.last().Observation.ContainerID, code) }
		restarts("at first", 0)
		crash(137)
		restarts("after an end of its own", 1)
		n.fake.signal(n.last().Observation.ContainerID, 137)
		restarts("after it was stopped from outside", 0)
		crash(1)
		restarts("after the next of its own", 1)
		n.fake.setDown()
		crash(137)
		time.Sleep(time.Second)
		n.fake.setUp()
		restarts("after the engine was away", 0)
		crash(1)
		restarts("after another of its own", 1)
		n.stop()
		if err := n.fake.Remove(t.Context(), n.last().Observation.ContainerID); err != nil {
			t.Fatal(err)
		}
		n.begin(set)
		restarts("after paas down and up", 0)
	})
}

func TestAnotherSpecIsReplaced(t *testing.T) {
	inBubble(t, func(n *node) {
		a := assignment("a-1", sleeps...)
		n.begin(setOf(a))
		time.Sleep(time.Second)
		n.stop()
		a.Env = map[string]cluster.Redacted{"PORT": "9999"}
		n.begin(setOf(a))
		defer func() { n.stop() }()
		time.Sleep(time.Second)
		n.saw("0s starting c1", "0s healthy c1", "1s starting c2", "1s healthy c2")
		if all := n.fake.all(); len(all) != 1 || all[0].ID != "c2" {
			t.Errorf("containers: %v", all)
		}
	})
}

func TestEngineGoneKeepsLastState(t *testing.T) {
	inBubble(t, func(n *node) {
		n.begin(setOf(assignment("a-1", sleeps...), assignmentAt("a-2", 2, sleeps...)))
		defer func() { n.stop() }()
		time.Sleep(time.Second)
		synctest.Wait()
		n.mu.Lock()
		n.seen = nil
		n.mu.Unlock()
		n.fake.setDown()
		n.fake.kill("c1", 255)
		time.Sleep(10*time.Minute + 100*time.Millisecond) // between two tries
		n.saw()
		n.fake.setUp()
		time.Sleep(3 * time.Second)
		id := n.last().ID
		why := "exited with code 255 after 1.0s, while paas or the engine was away"
		n.saw("10m1.5s backoff c1 "+why, "10m2.5s starting c3 "+why, "10m2.5s healthy c3")
		if len(n.fake.all()) != 2 {
			t.Errorf("containers: %v, last news of %s", n.fake.all(), id)
		}
	})
}

func assignmentAt(id cluster.AllocationID, slot int, command ...string) api.Assignment {
	a := assignment(id, command...)
	a.Slot = slot
	return a
}

func TestRemovedBehindOurBackComesBack(t *testing.T) {
	inBubble(t, func(n *node) {
		n.begin(setOf(assignment("a-1", sleeps...)))
		defer func() { n.stop() }()
		time.Sleep(time.Second)
		if err := n.fake.Remove(t.Context(), "c1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		const why = "its container was removed by somebody else"
		n.saw("0s starting c1", "0s healthy c1", "1s backoff c1 "+why, "2s starting c2 "+why, "2s healthy c2")
	})
}

func TestStraysAreSwept(t *testing.T) {
	inBubble(t, func(n *node) {
		for _, s := range []spec{
			{Cluster: "c0ffee", Assignment: assignment("a-9", sleeps...)},
			{Cluster: "c0ffee", Assignment: assignment("", sleeps...), OneOff: &oneOff{Name: "x", Life: "before"}},
		} {
			id, err := n.fake.Create(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if err := n.fake.Start(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		n.begin(nil)
		defer func() { n.stop() }()
		time.Sleep(time.Minute)
		if len(n.fake.all()) != 2 {
			t.Fatal("an agent that was told nothing removed something")
		}
		n.m.assign(setOf())
		synctest.Wait()
		if len(n.fake.all()) != 0 {
			t.Errorf("left: %v", n.fake.all())
		}
	})
}

func TestSecondPassDoesNothing(t *testing.T) {
	inBubble(t, func(n *node) {
		set := setOf(assignment("a-1", sleeps...), assignmentAt("a-2", 2, crashes...), assignmentAt("a-3", 3, "crash-later"))
		n.begin(set)
		defer func() { n.stop() }()
		for range 20 {
			time.Sleep(13 * time.Second)
			synctest.Wait()
			all, err := n.fake.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if left := diff(n.m.shared.life, set.Assignments, n.m.known(), all); len(left) > 0 {
				t.Fatalf("not settled: %v", left)
			}
		}
	})
}

func TestStopInEveryPhaseLeavesNothing(t *testing.T) {
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 500 * time.Millisecond, 1500 * time.Millisecond, 20 * time.Second, 65 * time.Second} {
		for _, command := range [][]string{sleeps, crashes, stubborn, {"oom"}, {"no-such-program"}} {
			for _, check := range []error{nil, fs.ErrInvalid} {
				inBubble(t, func(n *node) {
					n.setCheck(check)
					n.begin(setOf(assignment("a-1", command...)))
					time.Sleep(after)
					n.m.assign(setOf())
					time.Sleep(2 * time.Minute)
					synctest.Wait()
					if len(n.fake.all()) != 0 || len(n.disk) != 0 {
						t.Errorf("%v stopped after %s: left %v, %v", command, after, n.fake.all(), n.disk)
					}
					n.stop()
				})
			}
		}
	}
}
