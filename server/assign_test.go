package server

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"paas/api"
	"paas/cluster"
)

// A node may ask with a state that is older than what another node brought: the
// answer must be made from one state, for a new allocation's release is not in
// the older one.
func TestAssignmentsComeFromOneState(t *testing.T) {
	d := (&cluster.State{}).Draft(1)
	d.PutNode(cluster.Node{ID: "n1", Router: true})
	d.PutApp(cluster.App{Name: "blog", Latest: 1})
	older := d.State()
	d = older.Draft(2)
	image := cluster.Image{Repository: "apps/blog", Digest: "sha256:1"}
	d.PutRelease(cluster.Release{App: "blog", Version: 1, Image: image,
		Processes: map[cluster.ProcessType]cluster.Process{"web": {Command: []string{"./server"}, Port: 8080}}})
	d.PutAllocation(cluster.Allocation{ID: "a-1", App: "blog", Type: "web", Slot: 1, Attempt: 1, Release: 1, Node: "n1", Desired: cluster.DesiredRun})
	newer := d.State()

	a := newAssigner(&control{})
	if _, _, err := a.desired(newer, "n2"); err != nil {
		t.Fatal(err)
	}
	all, _, err := a.desired(older, "n1")
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

// TestAssignerThatMissedStatesSaysWhatANewOneSays: whatever was written, and whichever
// states it saw, it says what one says that knows only the last state; and it wakes
// each node for which that changed, and no other.
func TestAssignerThatMissedStatesSaysWhatANewOneSays(t *testing.T) {
	nodes := []cluster.NodeID{"n1", "n2", "n3", "n4"}
	rapid.Check(t, func(t *rapid.T) {
		st := &cluster.State{}
		old := newAssigner(&control{})
		last := map[cluster.NodeID]api.Desired{}
		waiting := map[cluster.NodeID]<-chan struct{}{}
		for range rapid.IntRange(1, 30).Draw(t, "states") {
			for range rapid.IntRange(1, 3).Draw(t, "missed") {
				d := st.Draft(st.Index() + 1)
				writeSomething(t, d, nodes)
				st = d.State()
			}
			old.routes(st)
			fresh := newAssigner(&control{})
			for _, id := range nodes {
				was, known := last[id]
				woken := waiting[id] == nil
				select {
				case <-waiting[id]:
					woken = true
				default:
				}
				want, _, err := fresh.desired(st, id)
				if err != nil {
					t.Fatal(err)
				}
				got, changed, err := old.desired(st, id)
				if err != nil {
					t.Fatal(err)
				}
				last[id], waiting[id] = got, changed
				if diff := cmp.Diff(unindexed(want), unindexed(got)); diff != "" {
					t.Fatalf("%s should have (-new +old):\n%s", id, diff)
				}
				if news := got != was; known && woken != news {
					t.Fatalf("%s: woken %t, news %t: %+v → %+v", id, woken, news, was, got)
				}
				if got.Routes != nil && awaitedAfter(st, got.Routes.Index) {
					t.Fatalf("routers never acknowledge what the scheduler waits for: the table is of %d, the state of %d", got.Routes.Index, st.Index())
				}
			}
			if diff := cmp.Diff(st.Routes().Routes, old.routes(st).Routes); diff != "" {
				t.Fatalf("routes (-state +assigner):\n%s", diff)
			}
		}
	})
}

// unindexed is d without when it changed.
func unindexed(d api.Desired) api.Desired {
	set, roster := *d.Assignments, *d.Roster
	set.Index, roster.Index = 0, 0
	d.Assignments, d.Roster = &set, &roster
	if d.Routes != nil {
		table := *d.Routes
		table.Index = 0
		d.Routes = &table
	}
	return d
}

// awaitedAfter reports whether the scheduler may wait for routers to know something
// newer than index.
func awaitedAfter(st *cluster.State, index uint64) bool {
	for x := range st.Allocations() {
		if x.Type == cluster.ProcessWeb && max(x.ObservedIndex, x.DesiredIndex) > index {
			return true
		}
	}
	return false
}

// writeSomething is any one command.
func writeSomething(t *rapid.T, d *cluster.Draft, nodes []cluster.NodeID) {
	app := cluster.AppName(rapid.SampledFrom([]string{"a", "a-b", "b"}).Draw(t, "app"))
	node := rapid.SampledFrom(nodes).Draw(t, "node")
	n := rapid.IntRange(1, 4).Draw(t, "n")
	known, err := d.State().App(app)
	if err != nil {
		d.PutApp(cluster.App{Name: app, Latest: 1, Current: 1, Formation: map[cluster.ProcessType]int{"web": n}})
		d.PutRelease(cluster.Release{App: app, Version: 1, Processes: map[cluster.ProcessType]cluster.Process{"web": {Port: 80}}})
		return
	}
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0:
		d.PutNode(cluster.Node{ID: node, Router: n > 2, Zone: fmt.Sprint(n % 2)})
	case 1:
		d.RemoveNode(node)
	case 2:
		d.PutApp(cluster.App{Name: app, Latest: 1, Current: cluster.ReleaseVersion(n % 2), Formation: map[cluster.ProcessType]int{"web": n}, Destroying: n == 4})
	case 3:
		d.RemoveApp(app)
	case 4:
		d.PutToken(cluster.Token{ID: "t"})
	case 5:
		d.PutVolume(cluster.Volume{ID: cluster.VolumeID(fmt.Sprintf("v-%d", n)), App: app, Node: node, Destroyed: n%2 == 0})
	case 6:
		d.PutDomain(cluster.Domain{Host: cluster.Hostname(fmt.Sprintf("d%d.example.com", n)), App: app})
	default:
		writeAllocation(t, d, known, node)
	}
}

func writeAllocation(t *rapid.T, d *cluster.Draft, app *cluster.App, node cluster.NodeID) {
	all := []*cluster.Allocation{}
	for x := range d.State().AllocationsOf(app.Name) {
		all = append(all, x)
	}
	if len(all) == 0 || rapid.Bool().Draw(t, "place") {
		typ := rapid.SampledFrom([]cluster.ProcessType{"web", "worker"}).Draw(t, "type")
		d.PutAllocation(cluster.Allocation{ID: cluster.AllocationID(fmt.Sprintf("a-%d", d.NextSequence())), App: app.Name, Type: typ,
			Slot: 1, Attempt: 1, Release: 1, Node: node, Desired: cluster.DesiredRun, DesiredIndex: d.State().Index()})
		return
	}
	x := *rapid.SampledFrom(all).Draw(t, "allocation")
	switch rapid.IntRange(0, 3).Draw(t, "how") {
	case 0:
		d.RemoveAllocation(&x)
		return
	case 1:
		x.Desired, x.DesiredIndex = cluster.DesiredStop, d.State().Index()
	default:
		o := cluster.Observation{State: rapid.SampledFrom([]cluster.AllocationState{cluster.AllocationHealthy, cluster.AllocationUnhealthy}).Draw(t, "state"), Address: "10.0.0.1:80"}
		x.Observe(o, d.State().Index(), x.CreatedAt)
	}
	d.PutAllocation(x)
}
