package agent

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"paas/api"
	"paas/cluster"
)

// keeping is an assignment with a volume.
func keeping(id cluster.AllocationID, command ...string) api.Assignment {
	a := assignment(id, command...)
	a.Mounts = []cluster.Mount{{Volume: "vol-1", Name: "data", Path: "/data", Fresh: true}}
	return a
}

// alone fails if two containers ever ran with one volume.
func (n *node) alone() {
	n.t.Helper()
	n.fake.mu.Lock()
	defer n.fake.mu.Unlock()
	if len(n.fake.shared) > 0 {
		n.t.Errorf("one volume at a time had %v", n.fake.shared)
	}
}

func (n *node) has(v cluster.VolumeID) bool {
	n.fake.mu.Lock()
	defer n.fake.mu.Unlock()
	return n.fake.volumes[v]
}

// An app that was destroyed and made anew while its node was away has no allocation
// for what still runs here.
func TestNobodyStartsWithAVolumeThatSomebodyElseHas(t *testing.T) {
	inBubble(t, func(n *node) {
		n.begin(setOf(keeping("a-1", stubborn...)))
		defer func() { n.stop() }()
		time.Sleep(time.Minute)
		n.saw("0s starting c1", "0s healthy c1")
		n.m.assign(setOf(keeping("a-2", sleeps...)))
		time.Sleep(time.Minute)
		n.saw("1m0s stopping c1", "1m30s stopped c1", "1m30s starting c2", "1m30s healthy c2")
		n.alone()
	})
}

// Neither does one whose agent died with the memory of what it had started.
func TestAContainerThatNobodyKnowsIsEndedBeforeItsVolumeIsUsed(t *testing.T) {
	inBubble(t, func(n *node) {
		old := spec{Cluster: "c0ffee", Assignment: keeping("a-1", stubborn...)}
		id, err := n.fake.Create(t.Context(), old)
		if err == nil {
			err = n.fake.Start(t.Context(), id)
		}
		if err != nil {
			t.Fatal(err)
		}
		n.begin(setOf(keeping("a-2", sleeps...)))
		defer func() { n.stop() }()
		time.Sleep(time.Minute)
		n.saw("30s starting c2", "30s healthy c2")
		n.alone()
	})
}

// A restart of the agent adopts a replica with a volume like any other.
func TestARestartOfTheAgentLeavesVolumesWhereTheyAre(t *testing.T) {
	inBubble(t, func(n *node) {
		set := setOf(keeping("a-1", sleeps...))
		n.begin(set)
		synctest.Wait()
		n.stop()
		n.begin(set)
		defer func() { n.stop() }()
		time.Sleep(time.Minute)
		n.saw("0s starting c1", "0s healthy c1")
		n.fake.kill("c1", 1)
		time.Sleep(10 * time.Second)
		n.saw("1m0s backoff c1 exited with code 1 after 1m0s", "1m1s starting c2 exited with code 1 after 1m0s", "1m1s healthy c2")
		n.alone()
	})
}

func TestOnlyVolumesThatAreNamedAreDestroyedAndAfterTheirLastUser(t *testing.T) {
	inBubble(t, func(n *node) {
		a := keeping("a-1", stubborn...)
		n.begin(setOf(a))
		defer func() { n.stop() }()
		synctest.Wait()
		n.fake.mu.Lock()
		n.fake.volumes["vol-7"] = true
		n.fake.mu.Unlock()
		n.m.assign(setOf())
		time.Sleep(time.Minute)
		if !n.has("vol-1") || !n.has("vol-7") {
			t.Fatal("a volume that nobody destroyed is gone")
		}
		n.m.assign(setOf(a))
		time.Sleep(time.Second)
		a.Desired = cluster.DesiredStop
		set := setOf(a)
		set.Destroyed = []cluster.VolumeID{"vol-1"}
		n.m.assign(set)
		time.Sleep(29 * time.Second)
		if !n.has("vol-1") {
			t.Error("it is gone before its last user")
		}
		time.Sleep(time.Minute)
		if n.has("vol-1") || !n.has("vol-7") {
			t.Error("not exactly the volume that was named is gone")
		}
		if got := n.m.shared.board.takeGone(); !slices.Equal(got, []cluster.VolumeID{"vol-1"}) {
			t.Errorf("told %v once", got)
		}
		again := *set
		n.m.assign(&again) // whoever asks again has not heard it
		synctest.Wait()
		if got := n.m.shared.board.takeGone(); !slices.Equal(got, []cluster.VolumeID{"vol-1"}) {
			t.Errorf("told %v again", got)
		}
	})
}

func TestAVolumeThatIsWantedIsNotDestroyed(t *testing.T) {
	inBubble(t, func(n *node) {
		n.begin(nil)
		defer func() { n.stop() }()
		n.fake.volumes["vol-1"] = true
		set := setOf(keeping("a-1", "no such program"))
		set.Destroyed = []cluster.VolumeID{"vol-1"}
		n.m.assign(set)
		time.Sleep(time.Minute)
		if !n.has("vol-1") {
			t.Error("it is gone")
		}
	})
}

func TestANodeThatWasRemovedEndsWhatItRuns(t *testing.T) {
	inBubble(t, func(n *node) {
		set := setOf(keeping("a-1", sleeps...), assignment("a-2", sleeps...))
		set.Assignments[1].Slot = 2
		n.begin(set)
		defer func() { n.stop() }()
		time.Sleep(time.Minute)
		left := n.m.fence()
		time.Sleep(time.Minute)
		var running []cluster.AllocationID
		for _, c := range n.fake.all() {
			if c.Running {
				running = append(running, c.Allocation)
			}
		}
		if len(running) > 0 || !n.has("vol-1") {
			t.Errorf("%v run, volume there: %t", running, n.has("vol-1"))
		}
		if left.Assignments[0].Desired != cluster.DesiredStop || set.Assignments[0].Desired != cluster.DesiredRun {
			t.Error("what is remembered is not what is left")
		}
	})
}

func TestAReplicaNeverBeginsAnewWhatWasThere(t *testing.T) {
	inBubble(t, func(n *node) {
		a := keeping("a-1", sleeps...)
		n.begin(setOf(a))
		defer func() { n.stop() }()
		time.Sleep(time.Minute)
		n.fake.mu.Lock()
		n.fake.volumes["vol-1"] = false // its disk is not mounted
		n.fake.mu.Unlock()
		n.fake.kill("c1", 1)
		time.Sleep(20 * time.Second)
		if o := n.last().Observation; o.State != cluster.AllocationBackoff || !strings.Contains(o.Reason, "not on this host") {
			t.Errorf("it is %s: %s", o.State, o.Reason)
		}
		n.fake.mu.Lock()
		n.fake.volumes["vol-1"] = true
		n.fake.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if o := n.last().Observation; o.State != cluster.AllocationHealthy {
			t.Errorf("it is %s: %s", o.State, o.Reason)
		}
	})
}
