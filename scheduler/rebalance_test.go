package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"paas/cluster"
)

// TestAReturningZoneGetsItsShareGently: after a zone was lost and came back, one
// replica moves at a time, starting before the old one stops, until the zones are even.
func TestAReturningZoneGetsItsShareGently(t *testing.T) {
	s := newSim(t)
	for _, n := range []string{"a1", "b1", "c1"} {
		s.node(n, n[:1])
	}
	s.app("blog", formation{"web": 6})
	s.deploy("blog", fine, "web")
	s.settle()
	s.set("c1", down)
	s.settle()
	if w := s.where("blog"); w["a1"] != 3 || w["b1"] != 3 {
		t.Fatalf("without c: %v", w)
	}
	s.set("c1", up)
	back := s.now
	s.until("a replica moves", func() bool { return s.where("blog")["c1"] > 0 })
	if after := s.now.Sub(back); after < settleTime {
		t.Errorf("the first move comes %s after the node did, want %s at least", after, settleTime)
	}
	for range 1000 {
		s.tick(100 * time.Millisecond)
		moving := 0
		for a := range s.state.AllocationsOf("blog") {
			if a.Moves != "" && a.Observed.State != cluster.AllocationHealthy {
				moving++
			}
		}
		if moving > 1 {
			t.Fatalf("%d replicas move at a time\n%s", moving, s.dump())
		}
	}
	s.settle()
	if w := s.where("blog"); w["a1"] != 2 || w["b1"] != 2 || w["c1"] != 2 {
		t.Errorf("in the end: %v", w)
	}
}

// TestAMoveThatFailsHurtsNobody: a node that starts nothing gets one replica to try,
// which ends, and the next one only after a long pause. What serves serves on.
func TestAMoveThatFailsHurtsNobody(t *testing.T) {
	s := newSim(t)
	for _, n := range []string{"a1", "b1", "c1"} {
		s.node(n, n[:1])
	}
	s.app("blog", formation{"web": 6, "worker": 6})
	s.deploy("blog", fine, "web", "worker")
	s.settle()
	s.set("c1", down)
	s.settle()
	s.broken["c1"] = true
	s.set("c1", up)
	before := s.moves
	for range 600 {
		s.tick(time.Second)
	}
	if tried := s.moves - before; tried != 2 {
		t.Errorf("%d moves in ten minutes to a node that starts nothing, want one of each type", tried)
	}
	if w := s.where("blog"); w["a1"] != 6 || w["b1"] != 6 {
		t.Errorf("what served moved: %v", w)
	}
	s.broken["c1"] = false
	s.settle()
	if w := s.where("blog"); w["a1"] != 4 || w["b1"] != 4 || w["c1"] != 4 {
		t.Errorf("in the end: %v", w)
	}
}

// TestADeploymentEndsMoves: what is on its way for the sake of the spread makes room
// for a release, and nothing moves until that stands.
func TestADeploymentEndsMoves(t *testing.T) {
	s := newSim(t)
	for _, n := range []string{"a1", "b1", "c1"} {
		s.node(n, n[:1])
	}
	s.app("blog", formation{"web": 6})
	s.deploy("blog", fine, "web")
	s.settle()
	s.set("c1", down)
	s.settle()
	s.set("c1", up)
	s.until("a replica moves", func() bool { return s.moves > 0 })
	d := s.deploy("blog", fine, "web")
	s.until("the release stands", func() bool { return s.deployment(d).State == cluster.DeploymentSucceeded })
	if s.moves != 1 {
		t.Errorf("%d moves, want the one that began before the deployment", s.moves)
	}
	s.settle()
	if how := s.uneven("blog", "web"); how != "" {
		t.Errorf("in the end it is uneven: %s\n%s", how, s.dump())
	}
}

// TestMovesEnd: wherever the replicas of any number of apps are, on nodes that stay as
// they are, moves come to an end, and what is left uneven has no room to be even.
func TestMovesEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(t)
		zones := rapid.IntRange(1, 4).Draw(t, "zones")
		var nodes []cluster.NodeID
		for i := range rapid.IntRange(1, 15).Draw(t, "nodes") {
			zone := string(rune('a' + rapid.IntRange(0, zones-1).Draw(t, "zone")))
			id := s.node(fmt.Sprintf("node-%02d", i), zone, memory(int64(rapid.IntRange(1, 30).Draw(t, "room"))*100))
			nodes = append(nodes, id)
			if rapid.IntRange(0, 9).Draw(t, "cordon") == 0 {
				s.set(id, cordoned)
			}
		}
		replicas := 0
		for i := range rapid.IntRange(1, 4).Draw(t, "apps") {
			replicas += s.scatter(cluster.AppName(fmt.Sprintf("app%d", i)), rapid.IntRange(1, 12).Draw(t, "replicas"), func() cluster.NodeID {
				return rapid.SampledFrom(nodes).Draw(t, "node")
			})
		}
		s.now = s.now.Add(time.Hour)
		s.settle()
		for app := range s.state.Apps() {
			if how := s.uneven(app.Name, "web"); how != "" {
				t.Fatalf("%s is uneven: %s\n%s", app.Name, how, s.dump())
			}
		}
		if s.moves > replicas*replicas {
			t.Errorf("%d moves of %d replicas", s.moves, replicas)
		}
	})
}

// scatter adds an app that has been serving, with each replica on the node that where
// says if that has room; it returns how many.
func (s *sim) scatter(name cluster.AppName, replicas int, where func() cluster.NodeID) int {
	free := map[cluster.NodeID]int64{}
	for n := range s.state.Nodes() {
		free[n.ID] = n.MemoryBytes
	}
	for a := range s.state.Allocations() {
		free[a.Node] -= s.needs(a.App, a.Release, a.Type)
	}
	placed := 0
	for range replicas {
		id := where()
		if free[id] < 100*mib {
			continue
		}
		free[id] -= 100 * mib
		placed++
		s.change(func(d *cluster.Draft) {
			d.PutAllocation(cluster.Allocation{
				ID: cluster.AllocationID(fmt.Sprintf("a-%d", d.NextSequence())), App: name, Type: "web", Slot: placed, Attempt: 1, Release: 1, Node: id,
				CreatedAt: s.now, Desired: cluster.DesiredRun, HealthyAt: s.now,
				Observed: cluster.Observation{State: cluster.AllocationHealthy, HealthySince: s.now, StartedAt: s.now, Address: "10.0.0.1:80"},
			})
		})
	}
	s.change(func(d *cluster.Draft) {
		d.PutApp(cluster.App{Name: name, CreatedAt: s.now, Formation: formation{"web": placed}, Current: 1, Latest: 1})
		d.PutRelease(cluster.Release{App: name, Version: 1, State: cluster.ReleaseSucceeded, Processes: map[cluster.ProcessType]cluster.Process{"web": process(100)}})
	})
	return placed
}

// TestConstraintsSayWhere: a process type goes where its constraints hold, is spread
// over the zones that have such nodes, and says why not elsewhere.
func TestConstraintsSayWhere(t *testing.T) {
	s := newSim(t)
	for _, n := range []string{"a1", "a2", "b1", "c1"} {
		s.node(n, n[:1])
	}
	s.set("a2", func(n *cluster.Node) { n.Labels = map[string]string{"disk": "ssd"} })
	s.set("b1", func(n *cluster.Node) {
		n.Labels, n.OperatorLabels = map[string]string{"disk": "hdd"}, map[string]string{"disk": "ssd"}
	})
	s.set("c1", func(n *cluster.Node) { n.Labels = map[string]string{"disk": "ssd"} })
	on := func(constraints ...string) cluster.Release {
		p := process(100)
		for _, text := range constraints {
			c, err := cluster.ParseConstraint(text)
			if err != nil {
				t.Fatal(err)
			}
			p.Constraints = append(p.Constraints, c)
		}
		return cluster.Release{Processes: map[cluster.ProcessType]cluster.Process{"web": p}}
	}
	s.app("blog", formation{"web": 5})
	s.deployRelease("blog", fine, on("disk=ssd", "zone!=c"))
	s.settle()
	if w := s.where("blog"); w["a2"]+w["b1"] != 5 || w["a2"] < 2 || w["b1"] < 2 {
		t.Fatalf("placed on %v", w)
	}
	d := s.deployRelease("blog", fine, on("disk=nvme"))
	s.decide()
	f := s.deployment(d).Failure
	if f == nil || f.Code != "rollout.unplaceable" {
		t.Fatalf("a deployment that no node could run: %+v", f)
	}
	for _, want := range []string{"a1 (zone a): has no label disk, needs disk=nvme", "b1 (zone b): is disk=ssd, needs disk=nvme"} {
		if !strings.Contains(f.Message, want) {
			t.Errorf("%q lacks %q", f.Message, want)
		}
	}
	s.settle()
	if w := s.where("blog"); w["a2"]+w["b1"] != 5 {
		t.Errorf("after the failure: %v", w)
	}
}
