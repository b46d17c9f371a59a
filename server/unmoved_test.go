package server

import (
	"errors"
	"strings"
	"testing"

	"paas/api"
	"paas/cluster"
)

// TestWhatAVolumeHoldsIsToldHowToLeave: no room that comes moves it.
func TestWhatAVolumeHoldsIsToldHowToLeave(t *testing.T) {
	replica := func(name cluster.AppName, mounts ...cluster.Mount) api.NodeReplica {
		return api.NodeReplica{AllocationInfo: api.AllocationInfo{Allocation: cluster.Allocation{App: name, Type: "web", Slot: 1, Mounts: mounts}, Instance: "web.1"},
			Stays: []string{"it stays"}}
	}
	own, blog := replica("own", cluster.Mount{Name: "data"}), replica("blog")
	for _, c := range []struct {
		on           []api.NodeReplica
		room, detach bool
	}{
		{[]api.NodeReplica{own}, false, true},
		{[]api.NodeReplica{blog}, true, false},
		{[]api.NodeReplica{own, blog}, true, true},
	} {
		d := &api.NodeDetail{NodeInfo: api.NodeInfo{Node: cluster.Node{Name: "h3"}}, Replicas: c.on}
		var e *cluster.Error
		if !errors.As(unmoved(d), &e) {
			t.Fatal("no error")
		}
		if room, detach := strings.Contains(e.Hint, "room"), strings.Contains(e.Hint, "paas volumes detach data -a own"); room != c.room || detach != c.detach {
			t.Errorf("%d replicas: %s", len(c.on), e.Hint)
		}
	}
}
