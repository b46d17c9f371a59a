package store

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"paas/cluster"
)

func (r *replica) node(id cluster.NodeID) *cluster.Node {
	r.tb.Helper()
	n, err := r.state.Node(id)
	if err != nil {
		r.tb.Fatal(err)
	}
	return n
}

func TestOperatorsScheduleNodes(t *testing.T) {
	r := withApp(t)
	r.withNode(nodeA)
	for i, step := range []struct {
		to                 cluster.NodeSchedule
		cordoned, draining bool
	}{
		{cluster.ScheduleCordoned, true, false}, {cluster.ScheduleDraining, true, true}, {cluster.ScheduleCordoned, true, false},
		{cluster.ScheduleOpen, false, false}, {cluster.ScheduleDraining, false, true}, {cluster.ScheduleOpen, false, false},
	} {
		c := ScheduleNode{By: by(i + 2), ID: nodeA, Schedule: step.to}
		r.must(c)
		if n := r.node(nodeA); n.Cordoned != step.cordoned || n.Draining != step.draining || n.Schedule() != step.to || n.Schedulable() != (step.to == cluster.ScheduleOpen) {
			t.Errorf("after %s: cordoned %t, draining %t", step.to, n.Cordoned, n.Draining)
		}
		r.same(c)
	}
	r.refuse(ScheduleNode{By: by(9), ID: nodeA}, cluster.KindInvalid, "node_schedule")
	r.refuse(ScheduleNode{By: by(9), ID: nodeA, Schedule: 9}, cluster.KindInvalid, "node_schedule")
	r.refuse(ScheduleNode{By: by(9), ID: nodeB, Schedule: cluster.ScheduleOpen}, cluster.KindNotFound, "node")
}

// One writer per field: what the agent reports and what operators set never meet.
func TestOperatorsLabelsAreTheirOwn(t *testing.T) {
	r := withApp(t)
	r.withNode(nodeA)
	reported := *r.node(nodeA)
	reported.Labels = map[string]string{"disk": "hdd", "rack": "7"}
	r.must(RegisterNode{By: by(2), Node: reported}, LabelNode{By: by(3), ID: nodeA, Set: map[string]string{"disk": "ssd", "gpu": "yes"}},
		ScheduleNode{By: by(3), ID: nodeA, Schedule: cluster.ScheduleCordoned})
	reported.Labels, reported.OperatorLabels, reported.Version = map[string]string{"disk": "nvme"}, map[string]string{"disk": "lies"}, "2"
	r.must(RegisterNode{By: by(4), Node: reported})
	n := r.node(nodeA)
	if diff := cmp.Diff(map[string]string{"disk": "ssd", "gpu": "yes"}, n.AllLabels()); diff != "" || !n.Cordoned {
		t.Fatalf("cordoned %t, labels (-want +got):\n%s", n.Cordoned, diff)
	}
	r.must(LabelNode{By: by(5), ID: nodeA, Unset: []string{"disk", "gpu"}})
	if diff := cmp.Diff(map[string]string{"disk": "nvme"}, r.node(nodeA).AllLabels()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.same(LabelNode{By: by(5), ID: nodeA, Set: map[string]string{}, Unset: nil}.with("disk", "nvme", r))
}

// with sets a label first, so that the command changes nothing.
func (c LabelNode) with(k, v string, r *replica) LabelNode {
	c.Set[k] = v
	r.must(c)
	return c
}

func TestBadLabelsAreRefused(t *testing.T) {
	r := withApp(t)
	r.withNode(nodeA)
	reported := *r.node(nodeA)
	reported.Labels = map[string]string{"rack": "7"}
	r.must(RegisterNode{By: by(2), Node: reported}, LabelNode{By: by(2), ID: nodeA, Set: map[string]string{"disk": "ssd"}})
	many := map[string]string{}
	for i := range cluster.MaxLabels {
		many[string(rune('a'+i/26))+string(rune('a'+i%26))] = "x"
	}
	for name, x := range map[string]struct {
		c    LabelNode
		kind cluster.Kind
		code string
	}{
		"nothing":       {LabelNode{ID: nodeA}, cluster.KindInvalid, "label"},
		"no such node":  {LabelNode{ID: nodeB, Set: map[string]string{"a": "b"}}, cluster.KindNotFound, "node"},
		"built-in":      {LabelNode{ID: nodeA, Set: map[string]string{"zone": "b"}}, cluster.KindInvalid, "label"},
		"bad key":       {LabelNode{ID: nodeA, Set: map[string]string{"A B": "b"}}, cluster.KindInvalid, "label"},
		"bad value":     {LabelNode{ID: nodeA, Set: map[string]string{"a": "B B"}}, cluster.KindInvalid, "label value"},
		"both":          {LabelNode{ID: nodeA, Set: map[string]string{"disk": "b"}, Unset: []string{"disk"}}, cluster.KindInvalid, "label"},
		"unknown":       {LabelNode{ID: nodeA, Unset: []string{"gpu"}}, cluster.KindNotFound, "label"},
		"agent's":       {LabelNode{ID: nodeA, Unset: []string{"rack"}}, cluster.KindConflict, "label"},
		"more than max": {LabelNode{ID: nodeA, Set: many}, cluster.KindInvalid, "label"},
	} {
		t.Run(name, func(t *testing.T) {
			r.tb = t
			x.c.By = by(3)
			r.refuse(x.c, x.kind, x.code)
		})
	}
}

func TestPlacementRespectsConstraintsAndMoves(t *testing.T) {
	r := withApp(t)
	r.withNode(nodeA)
	c := release(1)
	p := c.Processes["web"]
	p.Constraints = []cluster.Constraint{{Key: "disk", Value: "ssd"}}
	c.Processes["web"] = p
	r.end(1, r.must(c).Deployment, cluster.DeploymentSucceeded)
	if out := r.same(place(3, web(1, 1))); out.Rejected != 1 {
		t.Fatalf("outcome %+v, want a rejection: the node has no such disk", out)
	}
	r.must(LabelNode{By: by(3), ID: nodeA, Set: map[string]string{"disk": "ssd"}}, place(3, web(1, 1)))
	id := onlyAllocation(t, r).ID
	move := web(1, 2)
	move.Moves = "a-99"
	if out := r.same(place(4, move)); out.Rejected != 1 {
		t.Fatalf("outcome %+v, want a rejection: what it moves does not run", out)
	}
	move.Moves = id
	r.must(place(4, move))
	for a := range r.state.Allocations() {
		if a.Attempt == 2 && a.Moves != id {
			t.Errorf("attempt 2 moves %q, want %q", a.Moves, id)
		}
	}
}
