package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/cluster"
)

// spreadOver is a settled app on nodes named by zone and number: "a1", "b1".
func spreadOver(t *testing.T, f formation, nodes ...string) *sim {
	t.Helper()
	s := newSim(t)
	for _, n := range nodes {
		s.node(n, n[:1])
	}
	s.app("blog", f)
	s.deploy("blog", fine, "web")
	s.settle()
	return s
}

func wantWhere(t *testing.T, s *sim, want map[cluster.NodeID]int) {
	t.Helper()
	if diff := cmp.Diff(want, s.where("blog")); diff != "" {
		t.Fatalf("replicas by node (-want +got):\n%s\n%s", diff, s.dump())
	}
}

func TestZonesComeBeforeHostsAndHostsBeforePacking(t *testing.T) {
	s := spreadOver(t, formation{"web": 4}, "a1", "a2", "a3", "b1")
	got := s.where("blog")
	if got["b1"] != 2 || got["a1"]+got["a2"]+got["a3"] != 2 || len(got) != 3 {
		t.Fatalf("replicas by node: %v", got)
	}
}

func TestBinPackingFillsTheFullestHost(t *testing.T) {
	s := newSim(t)
	s.node("n1", "a", memory(4096))
	s.node("n2", "a", memory(1024))
	s.app("blog", formation{"web": 1})
	s.deploy("blog", fine, "web")
	s.settle()
	wantWhere(t, s, map[cluster.NodeID]int{"n2": 1})
}

func TestFullZoneIsNotMadeUpForByAnother(t *testing.T) {
	s := newSim(t)
	s.node("a1", "a", memory(100))
	s.node("b1", "b")
	s.app("blog", formation{"web": 4})
	s.deploy("blog", fine, "web")
	s.decide()
	wantWhere(t, s, map[cluster.NodeID]int{"a1": 1, "b1": 2})
	want := []string{
		"a1 (zone a): 0 MiB free, needs 100 MiB",
		"b1 (zone b): zone b has 2, the next belongs to zone a, which has 1",
	}
	if diff := cmp.Diff(want, s.last.Unplaced[0].Reasons); diff != "" {
		t.Fatal(diff)
	}
}

func TestLostNodeIsReplacedAtOnceAndStoppedWhenSomethingServes(t *testing.T) {
	s := spreadOver(t, formation{"web": 2}, "a1", "b1", "b2")
	wantWhere(t, s, map[cluster.NodeID]int{"a1": 1, "b1": 1})
	s.set("a1", down)
	if p := s.decide(); len(p.Place) != 1 || p.Place[0].Node != "b2" || p.Place[0].Attempt != 2 {
		t.Fatalf("plan is %+v", p)
	}
	if p := s.decide(); len(p.Stop) != 1 {
		t.Fatalf("the lost replica is not stopped: %+v", p)
	}
	s.settle()
	wantWhere(t, s, map[cluster.NodeID]int{"b1": 1, "b2": 1})
	s.set("a1", up) // its agent reports the old replica stopped
	s.until("it is forgotten", func() bool { return len(slices.Collect(s.state.Allocations())) == 2 })
	wantWhere(t, s, map[cluster.NodeID]int{"b1": 1, "b2": 1})
	s.settle()
	wantWhere(t, s, map[cluster.NodeID]int{"a1": 1, "b2": 1})
}

func TestOnlyNodeThatComesBackKeepsItsReplicas(t *testing.T) {
	s := settled(t, formation{"web": 2}, "web")
	before := s.dump()
	s.set("n1", down)
	if p := s.decide(); !p.Empty() || len(p.Unplaced) != 2 {
		t.Fatalf("plan is %+v", p)
	}
	s.set("n1", up)
	s.settle()
	if diff := cmp.Diff(before, s.dump()); diff != "" {
		t.Fatal(diff)
	}
}

func TestNodeThatReturnsBeforeItsReplacementServesKeepsItsReplica(t *testing.T) {
	s := spreadOver(t, formation{"web": 1}, "a1", "a2")
	first := s.find("blog", "web.1")
	s.set(first.Node, down)
	s.decide()
	s.set(first.Node, up)
	s.settle()
	if got := s.find("blog", "web.1"); got.ID != first.ID {
		t.Fatalf("web.1 moved to %s\n%s", got.Node, s.dump())
	}
}

func TestNodeGoneForGoodIsForgotten(t *testing.T) {
	s := spreadOver(t, formation{"web": 2}, "a1", "a2")
	s.change(func(d *cluster.Draft) { d.RemoveNode("a1") })
	s.settle()
	wantWhere(t, s, map[cluster.NodeID]int{"a2": 2})
	for a := range s.state.Allocations() {
		if a.Node == "a1" {
			t.Fatalf("%s is kept", a.ID)
		}
	}
}

func TestNodeDrainMovesStartBeforeStop(t *testing.T) {
	s := spreadOver(t, formation{"web": 2}, "a1", "a2")
	s.set("a1", draining)
	s.settle() // sim.check holds the minimum at every step
	wantWhere(t, s, map[cluster.NodeID]int{"a2": 2})
}

func TestNodeDrainWithoutRoomLeavesThingsAsTheyAre(t *testing.T) {
	s := settled(t, formation{"web": 2}, "web")
	s.set("n1", draining)
	p := s.decide()
	if !p.Empty() || !p.Next.IsZero() {
		t.Fatalf("plan is %+v", p)
	}
	if diff := cmp.Diff([]string{"n1 (zone a): draining"}, p.Unplaced[0].Reasons); diff != "" {
		t.Fatal(diff)
	}
}

func TestNodeDrainIsNotHeldUpByACrashLoop(t *testing.T) {
	s := spreadOver(t, formation{"web": 1}, "a1", "a2")
	a := s.find("blog", "web.1")
	o := a.Observed
	o.State, o.Restarts, o.HealthySince = cluster.AllocationBackoff, 3, time.Time{}
	s.observe(a, o)
	s.fate[release{"blog", 1}] = crashes
	s.set(a.Node, draining)
	s.settle()
	if n := s.where("blog")[a.Node]; n != 0 {
		t.Fatalf("%d replicas are left on the drained node\n%s", n, s.dump())
	}
}

func TestScarceRoomGoesToTheOldestNeed(t *testing.T) {
	s := newSim(t)
	s.node("n1", "a", memory(100))
	s.node("n2", "a", memory(100))
	s.app("younger", formation{"web": 1})
	s.app("zolder", formation{"web": 1})
	s.deploy("younger", fine, "web")
	s.deploy("zolder", fine, "web")
	s.settle()
	node := s.find("zolder", "web.1").Node
	s.set(node, down)
	s.settle()
	s.now = s.now.Add(time.Minute)
	other := s.find("younger", "web.1").Node
	s.set(other, down)
	s.node("n3", "a", memory(100))
	s.decide()
	if got := s.find("zolder", "web.1").Node; got != "n3" {
		t.Fatalf("the oldest need is on %s\n%s", got, s.dump())
	}
}

func TestFiltersExplainThemselves(t *testing.T) {
	s := newSim(t)
	s.node("n1", "a", noApps)
	s.node("n2", "a", down)
	s.node("n3", "b", cordoned)
	s.node("n4", "b", draining)
	s.node("n5", "", memory(64))
	s.node("n6", "", func(n *cluster.Node) { n.CPUMilli = 50 })
	_, err := PickNode(s.state, cluster.Process{MemoryBytes: 128 * mib, CPUMilli: 100}, "")
	want := "no node can run the process: n1 (zone a): runs no apps; n2 (zone a): down; n3 (zone b): cordoned; " +
		"n4 (zone b): draining; n5: 64 MiB free, needs 128 MiB; n6: 50m CPU free, needs 100m"
	if cluster.KindOf(err) != cluster.KindUnplaceable || err.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
	_, err = PickNode(&cluster.State{}, process(1), "")
	if err == nil || err.Error() != "no node can run the process: there is no node" {
		t.Fatalf("got %v", err)
	}
}

func TestForeignArchitectureIsRefused(t *testing.T) {
	s := newSim(t)
	s.node("n1", "a", func(n *cluster.Node) { n.Arch = "arm64" })
	s.app("blog", formation{"web": 1})
	d := s.deployRelease("blog", fine, cluster.Release{
		Image:     cluster.Image{Arch: "amd64"},
		Processes: map[cluster.ProcessType]cluster.Process{"web": process(10)},
	})
	s.decide()
	if f := s.deployment(d).Failure; f == nil || !strings.Contains(f.Message, "n1 (zone a): is arm64, the image needs amd64") {
		t.Fatalf("failure is %+v", f)
	}
}

func TestManyNodesAreSummedUpByZone(t *testing.T) {
	s := newSim(t)
	for i := range 9 {
		s.node(fmt.Sprintf("a%d", i), "a", memory(int64(i)*10))
	}
	s.node("b0", "b", down)
	_, err := PickNode(s.state, process(128), "")
	want := "no node can run the process: zone a, 9 nodes: 9 short of memory (at most 80 MiB free, needs 128 MiB); zone b, 1 nodes: 1 down"
	if err == nil || err.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
}

func TestPickNodeTakesTheEmptiest(t *testing.T) {
	s := newSim(t)
	s.node("n1", "a")
	s.node("n2", "a", memory(4096))
	s.node("n3", "a", memory(9000), noApps)
	if got, err := PickNode(s.state, process(100), ""); err != nil || got != "n2" {
		t.Fatalf("got %s, %v", got, err)
	}
	s.set("n2", func(n *cluster.Node) { n.Arch = "arm64" })
	if got, err := PickNode(s.state, process(100), "amd64"); err != nil || got != "n1" {
		t.Fatalf("for amd64 got %s, %v", got, err)
	}
}

func TestFit(t *testing.T) {
	s := newSim(t)
	s.node("n1", "a", memory(500))
	s.app("blog", formation{"web": 2, "worker": 2})
	if got := Fit(s.state, "blog", formation{"web": 99}); got != nil {
		t.Fatalf("an app without a release needs room: %+v", got)
	}
	s.deploy("blog", fine, "web", "worker")
	s.settle()
	for _, c := range []struct {
		ask  formation
		want int
	}{
		{formation{"web": 3}, 0},
		{formation{"web": 4}, 1},
		{formation{"web": 4, "worker": 1}, 0},
		{formation{"web": 6, "worker": 0}, 1},
		{formation{"web": 1}, 0},
		{formation{"clock": 9}, 0},
	} {
		got := Fit(s.state, "blog", c.ask)
		if len(got) != c.want {
			t.Errorf("Fit(%v) = %+v, want %d unplaced", c.ask, got, c.want)
		}
		for _, u := range got {
			if len(u.Reasons) != 1 || !strings.HasSuffix(u.Reasons[0], "free, needs 100 MiB") {
				t.Errorf("Fit(%v): reasons %q", c.ask, u.Reasons)
			}
		}
	}
	if got := Fit(s.state, "nobody", formation{"web": 1}); got != nil {
		t.Fatalf("got %+v", got)
	}
}

func TestNoRouterMeansNothingToWaitFor(t *testing.T) {
	s := newSim(t)
	s.node("n1", "a", noRouter)
	s.app("blog", formation{"web": 1})
	s.deploy("blog", fine, "web")
	s.settle()
	s.deploy("blog", fine, "web")
	s.settle()
	wantRuns(t, s, "web.1 v2")
}

// rolledTo is a deployment whose new replica has just become healthy.
func rolledTo(t *testing.T) *sim {
	s := settled(t, formation{"web": 1}, "web")
	s.deploy("blog", fine, "web")
	s.until("new replica healthy", func() bool {
		return len(s.run("blog")) == 2 && s.find("blog", "web.1").Observed.State == cluster.AllocationHealthy
	})
	return s
}

// The minimum healthy time is the control plane's to measure: neither a host whose
// clock is an hour behind may cut it short, nor one an hour ahead skip it or hold it up.
func TestHostsClocksDoNotCount(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		s := rolledTo(t)
		a := s.find("blog", "web.1")
		o := a.Observed
		o.HealthySince = s.now.Add(skew)
		s.observe(a, o)
		s.acknowledge()
		if p := Compute(s.input()); len(p.Drain) != 0 || !p.Next.Equal(s.now.Add(cluster.DefaultMinHealthy)) {
			t.Fatalf("skew of %s: plan is %+v", skew, p)
		}
		s.now = s.now.Add(cluster.DefaultMinHealthy)
		if p := Compute(s.input()); len(p.Drain) != 1 {
			t.Fatalf("skew of %s: plan is %+v", skew, p)
		}
	}
}

// A leader's clock that was set back must not hold a rollout up for as long.
func TestClockThatWasSetBackDoesNotHoldUp(t *testing.T) {
	s := rolledTo(t)
	s.acknowledge()
	s.now = s.now.Add(-time.Hour)
	if p := Compute(s.input()); len(p.Drain) != 1 {
		t.Fatalf("plan is %+v", p)
	}
}
