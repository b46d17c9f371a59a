package server

import (
	"testing"

	"paas/cluster"
)

// A node may ask with a state that is older than what another node brought: the
// answer must be made from one state, for a new allocation's release is not in
// the older one.
func TestAssignmentsComeFromOneState(t *testing.T) {
	d := (&cluster.State{}).Draft(1)
	d.PutApp(cluster.App{Name: "blog", Latest: 1})
	older := d.State()
	d = older.Draft(2)
	image := cluster.Image{Repository: "apps/blog", Digest: "sha256:1"}
	d.PutRelease(cluster.Release{App: "blog", Version: 1, Image: image,
		Processes: map[cluster.ProcessType]cluster.Process{"web": {Command: []string{"./server"}, Port: 8080}}})
	d.PutAllocation(cluster.Allocation{ID: "a-1", App: "blog", Type: "web", Slot: 1, Attempt: 1, Release: 1, Node: "n1", Desired: cluster.DesiredRun})
	newer := d.State()

	a := newAssigner(&control{})
	if _, err := a.desired(newer, "n2"); err != nil {
		t.Fatal(err)
	}
	all, err := a.desired(older, "n1")
	set, table := all.Assignments, all.Routes
	if err != nil || len(set.Assignments) != 1 {
		t.Fatalf("%+v %v", set, err)
	}
	if one := set.Assignments[0]; one.Image != image || len(one.Process.Command) != 1 || one.Env["PORT"] != "8080" {
		t.Errorf("the replica is to run %+v of image %+v", one.Process, one.Image)
	}
	if set.Index != newer.Index() || table.Index != newer.Index() {
		t.Errorf("the set is of index %d, the table of %d, want %d", set.Index, table.Index, newer.Index())
	}
}
