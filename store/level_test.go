package store

import (
	"testing"

	"paas/cluster"
)

// TestTheLevelRisesWhenAllServersHaveIt upgrades two servers, one after the other.
func TestTheLevelRisesWhenAllServersHaveIt(t *testing.T) {
	r := newReplica(t)
	first := bootstrapCommand()
	first.Settings.FeatureLevel = 1
	r.must(first)
	server := func(id cluster.NodeID, level int) RegisterNode {
		return RegisterNode{By: by(1), Node: cluster.Node{ID: id, Name: "host-" + string(id[:1]), Zone: "a", Server: true, FeatureLevel: level}}
	}
	r.must(server(nodeA, 2), server(nodeB, 1))
	r.refuse(RaiseFeatureLevel{By: by(2), Level: 2}, cluster.KindConflict, "upgrade")
	r.must(server(nodeB, 2), RaiseFeatureLevel{By: by(3), Level: 2})
	if got := r.state.Settings().FeatureLevel; got != 2 {
		t.Errorf("level %d", got)
	}
	r.same(RaiseFeatureLevel{By: by(4), Level: 1})
}

// TestNoCommandIsProposedThatAServerMayNotKnow asks a cluster of level 1.
func TestNoCommandIsProposedThatAServerMayNotKnow(t *testing.T) {
	r := newReplica(t)
	first := bootstrapCommand()
	first.Settings.FeatureLevel = 1
	r.must(first)
	s := &Store{view: &view{}}
	s.view.newest.Store(r.state)
	if err := s.known(CreateJoin{}); cluster.KindOf(err) != cluster.KindConflict {
		t.Errorf("a command of level 2: %v", err)
	}
	for _, c := range []Command{CreateApp{}, RaiseFeatureLevel{}} {
		if err := s.known(c); err != nil {
			t.Errorf("%T: %v", c, err)
		}
	}
	s.view.newest.Store(&cluster.State{})
	if err := s.known(Bootstrap{}); err != nil {
		t.Errorf("before there is a cluster: %v", err)
	}
}
