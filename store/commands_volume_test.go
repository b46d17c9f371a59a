package store

import (
	"slices"
	"strings"
	"testing"

	"paas/cluster"
)

// withVolume is an app whose web serves from a node, and a volume that is attached
// to nothing.
func withVolume(t *testing.T) *replica {
	t.Helper()
	r := withApp(t)
	r.withNode(nodeA)
	r.withNode(nodeB)
	r.deploy(2, cluster.DeploymentSucceeded)
	r.must(CreateVolume{By: by(3), App: "blog", Name: "data"})
	return r
}

func (r *replica) volume(name cluster.VolumeName) *cluster.Volume {
	r.tb.Helper()
	v, err := r.state.Volume("blog", name)
	if err != nil {
		r.tb.Fatal(err)
	}
	return v
}

func attach(n int) AttachVolume {
	return AttachVolume{By: by(n), App: "blog", Name: "data", Process: "web", Path: "/data"}
}

// putWeb places an attempt of web.1.
func putWeb(n, attempt int, node cluster.NodeID) ApplyPlan {
	return ApplyPlan{By: by(n), Plan: cluster.Plan{Place: []cluster.Placement{{App: "blog", Type: "web", Slot: 1, Attempt: attempt, Release: 1, Generation: 1, Node: node}}}}
}

func seen(n int, node cluster.NodeID, id cluster.AllocationID, s cluster.AllocationState) Observe {
	return Observe{By: by(n), Node: node, Observations: []AllocationObservation{{ID: id, Observation: cluster.Observation{State: s, ContainerID: "c", StartedAt: epoch}}}}
}

func TestVolumesAreRefusedWhereTheyCannotWork(t *testing.T) {
	r := withVolume(t)
	r.must(CreateVolume{By: by(4), App: "blog", Name: "on-a", Node: nodeA}, CreateVolume{By: by(4), App: "blog", Name: "on-b", Node: nodeB},
		RegisterNode{By: by(4), Node: cluster.Node{ID: "cccccccccccccccc", Name: "host-c", Zone: "a", State: cluster.NodeUp}})
	r.refuse(CreateVolume{By: by(5), App: "blog", Name: "data"}, cluster.KindConflict, "volume_exists")
	r.refuse(CreateVolume{By: by(5), App: "none", Name: "data"}, cluster.KindNotFound, "app")
	r.refuse(CreateVolume{By: by(5), App: "blog", Name: "../x"}, cluster.KindInvalid, "volume_name")
	r.refuse(CreateVolume{By: by(5), App: "blog", Name: "x", Node: "dddddddddddddddd"}, cluster.KindNotFound, "node")
	r.refuse(CreateVolume{By: by(5), App: "blog", Name: "x", Node: "cccccccccccccccc"}, cluster.KindConflict, "volume_node")
	r.must(AttachVolume{By: by(6), App: "blog", Name: "on-a", Process: "worker", Path: "/data"})
	for _, c := range []struct {
		what AttachVolume
		kind cluster.Kind
		code string
	}{
		{AttachVolume{Name: "none", Process: "web", Path: "/data"}, cluster.KindNotFound, "volume"},
		{AttachVolume{Name: "data", Process: "nope", Path: "/data"}, cluster.KindNotFound, "process_type"},
		{AttachVolume{Name: "data", Process: "release", Path: "/data"}, cluster.KindInvalid, "process_type"},
		{AttachVolume{Name: "data", Process: "W", Path: "/data"}, cluster.KindInvalid, "process_type"},
		{AttachVolume{Name: "data", Process: "web", Path: "/etc/x"}, cluster.KindInvalid, "path"},
		{AttachVolume{Name: "on-a", Process: "web", Path: "/data"}, cluster.KindConflict, "volume_attach"},         // attached elsewhere
		{AttachVolume{Name: "on-b", Process: "worker", Path: "/more"}, cluster.KindConflict, "volume_attach"},      // on another node
		{AttachVolume{Name: "data", Process: "worker", Path: "/data/deep"}, cluster.KindConflict, "volume_attach"}, // hidden
	} {
		c.what.By, c.what.App = by(7), "blog"
		r.refuse(c.what, c.kind, c.code)
	}
	r.must(Scale{By: by(8), App: "blog", Quantities: map[cluster.ProcessType]int{"web": 2}})
	r.refuse(attach(9), cluster.KindConflict, "volume_attach")
	r.must(Scale{By: by(10), App: "blog", Quantities: map[cluster.ProcessType]int{"web": 1}}, attach(11))
	r.refuse(Scale{By: by(12), App: "blog", Quantities: map[cluster.ProcessType]int{"web": 2}}, cluster.KindConflict, "volume_single")
	r.same(attach(13))
	r.same(DetachVolume{By: by(13), App: "blog", Name: "on-b"})
	r.must(Scale{By: by(14), App: "blog", Quantities: map[cluster.ProcessType]int{"web": 0}})
}

func TestAttachingAsksForNewReplicasAndSoDoesDetaching(t *testing.T) {
	r := withVolume(t)
	before := r.state.Index()
	r.must(attach(4))
	if g := r.app("blog").Generation; g["web"] != 1 || g["worker"] != 0 {
		t.Errorf("generations are %v", g)
	}
	r.must(DetachVolume{By: by(5), App: "blog", Name: "data"})
	if g := r.app("blog").Generation; g["web"] != 2 {
		t.Errorf("generations are %v", g)
	}
	if got, want := r.actions(before), []string{"volume.attached", "volume.detached"}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func TestAVolumeIsPinnedByItsFirstReplicaAndHasOneUser(t *testing.T) {
	r := withVolume(t)
	r.must(attach(4), putWeb(5, 1, nodeA))
	a := onlyAllocation(t, r)
	if v := r.volume("data"); v.Node != nodeA || v.Written {
		t.Errorf("volume is %+v", v)
	}
	if len(a.Mounts) != 1 || a.Mounts[0] != (cluster.Mount{Volume: r.volume("data").ID, Name: "data", Path: "/data", Fresh: true}) {
		t.Errorf("mounts are %+v", a.Mounts)
	}
	rejected := func(c ApplyPlan) {
		t.Helper()
		if out := r.same(c); out.Rejected != 1 {
			t.Errorf("%+v was placed", c.Plan.Place)
		}
	}
	rejected(putWeb(6, 2, nodeA))
	r.must(SetNodeState{By: by(7), ID: nodeA, State: cluster.NodeDown})
	rejected(putWeb(8, 2, nodeA))
	rejected(putWeb(8, 2, nodeB))
	r.must(SetNodeState{By: by(9), ID: nodeA, State: cluster.NodeUp}, seen(10, nodeA, a.ID, cluster.AllocationHealthy))
	if !r.volume("data").Written {
		t.Error("a volume that was mounted has no data")
	}
	r.must(ApplyPlan{By: by(11), Plan: cluster.Plan{Stop: []cluster.AllocationID{a.ID}}})
	rejected(putWeb(12, 2, nodeA)) // it still stops
	r.must(seen(13, nodeA, a.ID, cluster.AllocationStopped))
	rejected(putWeb(14, 2, nodeB)) // the data is elsewhere
	r.must(putWeb(15, 2, nodeA))
	for a := range r.state.Allocations() {
		if a.Attempt == 2 && a.Mounts[0].Fresh {
			t.Error("the second replica may begin with an empty directory")
		}
	}
}

func TestAVolumeGoesOnlyWhenItIsDestroyedAndItsNodeSaysSo(t *testing.T) {
	r := withVolume(t)
	destroy := DestroyVolume{By: by(20), App: "blog", Name: "data"}
	r.must(attach(4), putWeb(5, 1, nodeA))
	a := onlyAllocation(t, r)
	r.must(seen(6, nodeA, a.ID, cluster.AllocationHealthy))
	r.refuse(destroy, cluster.KindConflict, "volume_used") // attached
	r.must(DetachVolume{By: by(7), App: "blog", Name: "data"})
	r.refuse(destroy, cluster.KindConflict, "volume_used") // its replica runs
	r.must(SetNodeState{By: by(8), ID: nodeA, State: cluster.NodeDown})
	r.refuse(destroy, cluster.KindConflict, "volume_used") // and may run on
	r.must(ApplyPlan{By: by(9), Plan: cluster.Plan{Stop: []cluster.AllocationID{a.ID}}}, destroy)
	id := r.state.DestroyedOn(nodeA)[0].ID
	r.refuse(destroy, cluster.KindNotFound, "volume")
	r.must(CreateVolume{By: by(21), App: "blog", Name: "data"})
	if r.volume("data").ID == id {
		t.Error("the next volume of the name is the old one")
	}
	r.same(ForgetVolumes{By: by(22), Node: nodeB, Volumes: []cluster.VolumeID{id}})
	r.same(ForgetVolumes{By: by(22), Node: nodeA, Volumes: []cluster.VolumeID{r.volume("data").ID}})
	r.must(ForgetVolumes{By: by(23), Node: nodeA, Volumes: []cluster.VolumeID{id, "vol-999"}})
	r.must(destroy) // never placed: nothing to wait for
	if n := len(slices.Collect(r.state.Volumes())); n != 0 {
		t.Errorf("%d volumes are left", n)
	}
}

func TestVolumesOutliveTheirApp(t *testing.T) {
	r := withVolume(t)
	r.must(attach(4), putWeb(5, 1, nodeA))
	a := onlyAllocation(t, r)
	r.must(DestroyApp{By: by(6), Name: "blog"}, ApplyPlan{By: by(7), Plan: cluster.Plan{Stop: []cluster.AllocationID{a.ID}}})
	if v := r.volume("data"); v.Attached() || v.Node != nodeA {
		t.Errorf("volume is %+v", v)
	}
	r.refuse(DestroyVolume{By: by(8), App: "blog", Name: "data"}, cluster.KindConflict, "volume_used")
	r.must(seen(9, nodeA, a.ID, cluster.AllocationStopped), ApplyPlan{By: by(10), Plan: cluster.Plan{RemoveApps: []cluster.AppName{"blog"}}})
	if v := r.volume("data"); v.Node != nodeA {
		t.Errorf("volume is %+v", v)
	}
	r.must(CreateApp{By: by(11), Name: "blog"}, AttachVolume{By: by(12), App: "blog", Name: "data", Process: "web", Path: "/data"},
		DestroyApp{By: by(13), Name: "blog"}, ApplyPlan{By: by(14), Plan: cluster.Plan{RemoveApps: []cluster.AppName{"blog"}}},
		DestroyVolume{By: by(15), App: "blog", Name: "data"})
	if n := len(r.state.DestroyedOn(nodeA)); n != 1 {
		t.Errorf("%d volumes wait for their node, want 1", n)
	}
}

func TestANodeIsNotRemovedFromUnderItsData(t *testing.T) {
	r := withVolume(t)
	r.must(attach(4), putWeb(5, 1, nodeA))
	a := onlyAllocation(t, r)
	r.must(seen(6, nodeA, a.ID, cluster.AllocationHealthy))
	// A drain would not help.
	e := r.refuse(RemoveNode{By: by(7), ID: nodeA, Until: by(99).At}, cluster.KindConflict, "node_busy")
	if !strings.Contains(e.Hint, "paas volumes detach data -a blog") || strings.Contains(e.Hint, "drain") {
		t.Errorf("advised: %s", e.Hint)
	}
	r.must(SetNodeState{By: by(7), ID: nodeA, State: cluster.NodeDown})
	e = r.refuse(RemoveNode{By: by(8), ID: nodeA, Until: by(99).At}, cluster.KindConflict, "node_volumes")
	if !strings.Contains(e.Reason, "data of app blog") || !strings.Contains(e.Hint, "paas volumes detach data -a blog") {
		t.Errorf("%s; advised: %s", e.Reason, e.Hint)
	}
	r.must(RemoveNode{By: by(9), ID: nodeA, Until: by(99).At, Force: true})
	if v := r.volume("data"); v.Node != nodeA || !v.Attached() {
		t.Errorf("volume is %+v", v)
	}
	r.must(DetachVolume{By: by(10), App: "blog", Name: "data"}, DestroyVolume{By: by(11), App: "blog", Name: "data"})
}

func TestFirstFormationOfATypeWithAVolumeIsOne(t *testing.T) {
	r := withApp(t)
	r.must(CreateVolume{By: by(2), App: "blog", Name: "data"}, attach(3),
		CreateRelease{By: by(4), App: "blog", Description: "Deploy", Image: testImage, Processes: processes("web"),
			DefaultFormation: map[cluster.ProcessType]int{"web": 3}})
	if n := r.app("blog").Quantity("web"); n != 1 {
		t.Errorf("web has %d replicas, want 1", n)
	}
}
