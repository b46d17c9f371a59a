package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"paas/cluster"
)

// volume adds a volume of an app's and attaches it.
func (s *sim) volume(app cluster.AppName, name cluster.VolumeName, to cluster.ProcessType) cluster.VolumeID {
	s.t.Helper()
	var id cluster.VolumeID
	s.change(func(d *cluster.Draft) {
		id = cluster.VolumeID(fmt.Sprintf("vol-%d", d.NextSequence()))
		d.PutVolume(cluster.Volume{ID: id, App: app, Name: name})
	})
	if to != "" {
		s.attach(app, name, to)
	}
	return id
}

// attach and detach do what the store's commands do.
func (s *sim) attach(app cluster.AppName, name cluster.VolumeName, to cluster.ProcessType) {
	s.t.Helper()
	v, err := s.state.Volume(app, name)
	if err != nil {
		s.t.Fatal(err)
	}
	changed := *v
	changed.Process, changed.Path = to, "/"+string(name)
	s.change(func(d *cluster.Draft) { d.PutVolume(changed) })
	s.restart(app, to)
}

func (s *sim) detach(app cluster.AppName, name cluster.VolumeName) {
	s.t.Helper()
	v, err := s.state.Volume(app, name)
	if err != nil {
		s.t.Fatal(err)
	}
	changed := *v
	changed.Process = ""
	s.change(func(d *cluster.Draft) { d.PutVolume(changed) })
	s.restart(app, v.Process)
}

// mount holds a placement to what the store demands of it, and pins its volumes.
func (s *sim) mount(d *cluster.Draft, x cluster.Placement) []cluster.Mount {
	s.t.Helper()
	var out []cluster.Mount
	for _, v := range d.State().AttachedTo(x.App, x.Type) {
		if a := d.State().HolderOf(v); a != nil {
			s.t.Fatalf("%s.%d placed while %s of %s holds its volume\n%s", x.Type, x.Slot, a.ID, a.Instance(), s.dump())
		}
		if v.Node != "" && v.Node != x.Node {
			s.t.Fatalf("%s.%d placed on %s, its volume is on %s", x.Type, x.Slot, x.Node, v.Node)
		}
		pinned := *v
		pinned.Node = x.Node
		d.PutVolume(pinned)
		out = append(out, cluster.Mount{Volume: v.ID, Name: v.Name, Path: v.Path})
	}
	return out
}

// bars reports whether a has to end before its successor may start: then no minimum
// can be kept.
func (s *sim) bars(a *cluster.Allocation) bool {
	for _, v := range s.state.AttachedTo(a.App, a.Type) {
		if a.Holds(v.ID) {
			return true
		}
	}
	return false
}

// bound is a settled app with a volume, on two nodes.
func bound(t *testing.T) *sim {
	t.Helper()
	s := newSim(t)
	s.node("a1", "a")
	s.node("b1", "b")
	s.app("blog", formation{"web": 1})
	s.volume("blog", "data", "web")
	s.deploy("blog", fine, "web")
	s.settle()
	return s
}

func TestAReplicaWithAVolumeEndsBeforeTheNextStarts(t *testing.T) {
	s := bound(t)
	first := s.find("blog", "web.1")
	d := s.deploy("blog", fine, "web")
	s.until("the old one ends", func() bool {
		a, err := s.state.Allocation(first.ID)
		return err != nil || a.Desired == cluster.DesiredStop
	})
	s.settle()
	second := s.find("blog", "web.1")
	if second.ID == first.ID || second.Node != first.Node || s.deployment(d).State != cluster.DeploymentSucceeded {
		t.Fatalf("%s on %s follows %s on %s\n%s", second.ID, second.Node, first.ID, first.Node, s.dump())
	}
	s.restart("blog", "web")
	s.settle()
	if third := s.find("blog", "web.1"); third.ID == second.ID || third.Node != first.Node {
		t.Fatalf("not restarted\n%s", s.dump())
	}
}

func TestAFailedReleaseGivesTheVolumeBack(t *testing.T) {
	for _, how := range []fate{crashes, neverPasses, hasNoImage} {
		s := bound(t)
		node := s.find("blog", "web.1").Node
		d := s.deploy("blog", how, "web")
		s.settle()
		if got := s.deployment(d).State; got != cluster.DeploymentFailed {
			t.Fatalf("deployment %s", got)
		}
		if a := s.find("blog", "web.1"); a.Release != 1 || a.Node != node || a.Observed.State != cluster.AllocationHealthy {
			t.Fatalf("v1 does not serve again\n%s", s.dump())
		}
	}
}

func TestAVolumesReplicaWaitsForItsNode(t *testing.T) {
	s := bound(t)
	a := s.find("blog", "web.1")
	s.set(a.Node, down)
	for range 100 {
		s.tick(time.Second)
	}
	if got := s.find("blog", "web.1"); got.ID != a.ID {
		t.Fatalf("it was replaced\n%s", s.dump())
	}
	other := map[cluster.NodeID]string{"a1": "b1", "b1": "a1"}[a.Node]
	p := s.decide()
	if len(p.Unplaced) != 1 || !strings.Contains(strings.Join(p.Unplaced[0].Reasons, "; "), other) ||
		!strings.Contains(strings.Join(p.Unplaced[0].Reasons, "; "), fmt.Sprintf("volume data is on %s, which is down since 2026-01-01 00:0", a.Node)) {
		t.Fatalf("unplaced: %+v", p.Unplaced)
	}
	s.set(a.Node, up)
	s.settle()
	if got := s.find("blog", "web.1"); got.ID != a.ID {
		t.Fatalf("it was replaced when its node came back\n%s", s.dump())
	}
}

// TestADrainLeavesWhatCannotMove: neither a drain nor a release that finds no place
// ends the only replica that the data allows.
func TestADrainLeavesWhatCannotMove(t *testing.T) {
	s := bound(t)
	a := s.find("blog", "web.1")
	for _, mark := range []func(*cluster.Node){draining, cordoned} {
		s.set(a.Node, mark)
		s.settle()
		s.deploy("blog", fine, "web")
		s.settle()
		if got := s.find("blog", "web.1"); got.ID != a.ID {
			t.Fatalf("it was ended\n%s", s.dump())
		}
	}
	big := map[cluster.ProcessType]cluster.Process{"web": process(100_000)}
	s.set(a.Node, func(n *cluster.Node) { n.Draining, n.Cordoned = false, false })
	s.deployRelease("blog", fine, cluster.Release{Processes: big})
	s.settle()
	if got := s.find("blog", "web.1"); got.ID != a.ID {
		t.Fatalf("it was ended for a release that fits nowhere\n%s", s.dump())
	}
}

func TestAttachingAndDetachingNeedNoGap(t *testing.T) {
	s := newSim(t)
	s.node("a1", "a")
	s.app("blog", formation{"web": 1})
	s.deploy("blog", fine, "web")
	s.settle()
	served := func(what string) {
		t.Helper()
		for range 200 {
			s.tick(100 * time.Millisecond)
			routed := 0
			for a := range s.state.Allocations() {
				if a.Routed() {
					routed++
				}
			}
			if routed == 0 {
				t.Fatalf("nothing serves while it is %s\n%s", what, s.dump())
			}
		}
		s.settle()
	}
	s.volume("blog", "data", "web")
	served("attached")
	if a := s.find("blog", "web.1"); len(a.Mounts) != 1 {
		t.Fatalf("it has no volume\n%s", s.dump())
	}
	s.detach("blog", "data")
	served("detached")
	if a := s.find("blog", "web.1"); len(a.Mounts) != 0 {
		t.Fatalf("it has a volume\n%s", s.dump())
	}
}

func TestAVolumeOfARemovedNodeFailsADeployAtOnce(t *testing.T) {
	s := bound(t)
	node := s.find("blog", "web.1").Node
	s.change(func(d *cluster.Draft) { d.RemoveNode(node) })
	s.settle()
	d := s.deploy("blog", fine, "web")
	s.decide()
	if x := s.deployment(d); x.State != cluster.DeploymentFailed || !strings.Contains(x.Failure.Message, "volume data is on "+string(node)+", which was removed") {
		t.Fatalf("deployment %+v: %+v", x.State, x.Failure)
	}
}

// volumeActions let operators do things with volumes.
func (c *chaos) volumeActions(t *rapid.T) {
	a := c.someApp()
	if a == nil {
		return
	}
	typ := rapid.SampledFrom([]cluster.ProcessType{"web", "worker"}).Draw(t, "type")
	v, err := c.state.Volume(a.Name, "data")
	switch {
	case err != nil:
		c.volume(a.Name, "data", "")
	case v.Attached():
		c.detach(a.Name, "data")
	default:
		c.scale(a.Name, typ, min(1, a.Quantity(typ)))
		c.attach(a.Name, "data", typ)
	}
}

// most is how many replicas a may have of a type.
func (c *chaos) most(a *cluster.App, t cluster.ProcessType, n int) int {
	if len(c.state.AttachedTo(a.Name, t)) > 0 {
		return min(1, n)
	}
	return n
}
