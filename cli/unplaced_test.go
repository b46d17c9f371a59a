package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"paas/cluster"
)

func TestReplicasWithoutAPlaceAreNamedOnceByType(t *testing.T) {
	full := []string{"node-1 (zone a): 0 MiB free, needs 256 MiB", "node-2 (zone b): cordoned"}
	got := unplaced([]cluster.Unplaced{{Type: "web", Slot: 2, Reasons: full}, {Type: "web", Slot: 3, Reasons: full}, {Type: "worker", Slot: 1, Reasons: full[:1]}})
	want := []string{"web.2 and 1 more of its type fit nowhere:\n    " + full[0] + "\n    " + full[1], "worker.1 fits nowhere:\n    " + full[0]}
	if diff := cmp.Diff(want, got); diff != "" {
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
