package server

import (
	"testing"

	"paas/cluster"
)

// TestOneOffsTakeRoomFromEachOther: ten commands at once must not be started where
// there is memory for two.
func TestOneOffsTakeRoomFromEachOther(t *testing.T) {
	d := (&cluster.State{}).Draft(1)
	d.PutNode(cluster.Node{ID: "n1", Name: "n1", Zone: "a", Apps: true, State: cluster.NodeUp, Arch: "amd64", MemoryBytes: 1 << 30, CPUMilli: 4000})
	st := d.State()
	o := &oneOffs{}
	process := cluster.Process{MemoryBytes: 400 << 20, CPUMilli: 100}
	var ends []func()
	for range 2 {
		node, end, err := o.place(st, process, "amd64")
		if err != nil || node != "n1" {
			t.Fatalf("got %s, %v", node, err)
		}
		ends = append(ends, end)
	}
	_, _, err := o.place(st, process, "amd64")
	wantKind(t, err, cluster.KindUnplaceable, "unplaceable")
	contains(t, err.Error(), "224 MiB free, needs 400 MiB")
	ends[0]()
	if _, _, err := o.place(st, process, "amd64"); err != nil {
		t.Errorf("after one ended: %v", err)
	}
}
