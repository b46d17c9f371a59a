package agent

import (
	"slices"
	"testing"

	"paas/cluster"
)

func TestServersNearbyComeFirst(t *testing.T) {
	r := &cluster.Roster{Members: []cluster.Member{
		{ID: "1", Zone: "a", Address: "10.0.0.1:7443", Server: true},
		{ID: "2", Zone: "b", Address: "10.0.0.2:7443", Server: true},
		{ID: "3", Zone: "b", Address: "10.0.0.3:7443", Server: true},
		{ID: "4", Zone: "b", Address: "10.0.0.4:7443"},
		{ID: "5", Zone: "b", Server: true},
	}, Removed: []cluster.NodeID{"9"}}
	first := map[string]bool{}
	for _, self := range []cluster.NodeID{"1000000000000000", "2000000000000000", "3000000000000001", "4000000000000000"} {
		h := newHosts(self, r)
		got := h.servers([]string{"seed:1"}, "b")
		if len(got) != 4 || got[0] != "seed:1" || got[3] != "10.0.0.1:7443" {
			t.Errorf("%s asks %v", self, got)
		}
		first[got[1]] = true
		if !h.refuses("9") || h.refuses("1") {
			t.Error("refuses the wrong ones")
		}
	}
	if len(first) != 2 {
		t.Errorf("all begin with %v", first)
	}
	if got := newHosts("1", r).servers(nil, "b"); slices.Contains(got, "10.0.0.1:7443") {
		t.Errorf("a server asks itself: %v", got)
	}
	if got := newHosts("1", nil).servers([]string{"seed:1"}, "b"); !slices.Equal(got, []string{"seed:1"}) {
		t.Errorf("without a roster: %v", got)
	}
}

// TestServersFromABackupAreFound: all that the roster knows are gone, and one that it
// does not know answers calls.
func TestServersFromABackupAreFound(t *testing.T) {
	r := &cluster.Roster{Index: 9, Members: []cluster.Member{{ID: "1", Address: "10.0.0.1:7443", Server: true}}, Removed: []cluster.NodeID{"9"}}
	h := newHosts("5", r)
	h.meetStranger("7", "10.0.0.7:7443")
	h.meetStranger("9", "10.0.0.9:7443") // it was removed
	h.meetStranger("1", "10.0.0.6:7443") // it is no stranger
	if got := h.servers(nil, "a"); !slices.Equal(got, []string{"10.0.0.1:7443", "10.0.0.7:7443"}) {
		t.Errorf("asks %v", got)
	}
	h.update(&cluster.Roster{Index: 4, Members: []cluster.Member{{ID: "7", Address: "10.0.0.7:7443", Server: true}}})
	if got := h.servers(nil, "a"); !slices.Equal(got, []string{"10.0.0.7:7443"}) {
		t.Errorf("after it spoke: asks %v", got)
	}
}

// TestAnOlderRosterBringsNobodyBack: a server that is behind, or was recovered from an
// older state, is heard, and who was removed stays out until there is newer word.
func TestAnOlderRosterBringsNobodyBack(t *testing.T) {
	one, two := cluster.Member{ID: "1", Address: "10.0.0.1:7443"}, cluster.Member{ID: "2", Address: "10.0.0.2:7443"}
	h := newHosts("1", &cluster.Roster{Index: 10, Members: []cluster.Member{one}, Removed: []cluster.NodeID{"2"}})
	one.Address = "10.0.0.9:7443"
	for index := uint64(7); index < 10; index += 2 {
		kept := h.update(&cluster.Roster{Index: index, Members: []cluster.Member{one, two}})
		if _, member := h.member("2"); member || !h.refuses("2") || !kept.Refuses("2") {
			t.Errorf("a roster of index %d brought back who was removed at 10", index)
		}
		if m, _ := h.member("1"); m.Address != one.Address {
			t.Errorf("an older server is not heard at all: %+v", m)
		}
	}
	h.update(&cluster.Roster{Index: 11, Members: []cluster.Member{one, two}})
	if _, member := h.member("2"); !member || h.refuses("2") {
		t.Error("newer word does not count")
	}
}
