package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"paas/api"
	"paas/cluster"
)

func TestReplicasWithoutAPlaceAreNamedOnceByType(t *testing.T) {
	full := []string{"node-1 (zone a): 0 MiB free, needs 256 MiB", "node-2 (zone b): cordoned"}
	why := "\n    " + full[0] + "\n    " + full[1]
	list := &api.ProcessList{}
	for _, u := range []cluster.Unplaced{{Type: "job", Slot: 1}, {Type: "web", Slot: 1}, {Type: "web", Slot: 2}, {Type: "web", Slot: 3}, {Type: "web", Slot: 4}} {
		u.Reasons = full
		list.Unplaced = append(list.Unplaced, u)
	}
	for i := range 6 {
		list.Unplaced = append(list.Unplaced, cluster.Unplaced{Type: "worker", Slot: i + 1, Reasons: full})
	}
	for _, slot := range []int{1, 3} { // they run where they are not to be
		list.Allocations = append(list.Allocations, api.AllocationInfo{Allocation: cluster.Allocation{Type: "web", Slot: slot,
			Desired: cluster.DesiredRun, Observed: cluster.Observation{State: cluster.AllocationHealthy}}})
	}
	want := []string{"job.1 fits nowhere:" + why, "web.1, web.3 cannot be moved or replaced, and stay where they are:" + why,
		"web.2, web.4 fit nowhere:" + why, "worker.1 and 5 more of its type fit nowhere:" + why}
	if diff := cmp.Diff(want, unplaced(list)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLabelsAreReadFromWords(t *testing.T) {
	set, unset, err := parseLabels([]string{"disk=ssd", "rack-", "a-b=c-d"})
	if err != nil || set["disk"] != "ssd" || set["a-b"] != "c-d" || len(unset) != 1 || unset[0] != "rack" {
		t.Errorf("got %v, %v, %v", set, unset, err)
	}
	for _, bad := range []string{"disk", "=x", "disk=", "-", "zone=b", "zone-", "Disk=x", "--force", "disk=ssd=x", ""} {
		if set, unset, err := parseLabels([]string{bad}); cluster.KindOf(err) != cluster.KindInvalid {
			t.Errorf("%q: got %v, %v, %v, want it refused", bad, set, unset, err)
		}
	}
}
