package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"paas/cluster"
)

// Voting says whether a server counts for majorities.
type Voting uint8

// A server that has just joined learns first: a new voter that has nothing yet would
// hold up every write that needs it.
const (
	Learner Voting = iota
	Voter
)

// memberTime bounds one change of the servers' group.
const memberTime = 5 * time.Second

// Servers returns the group's servers as this server knows it. The group is the
// truth for majorities; the nodes of the state are who should be in it.
func (s *Store) Servers() map[cluster.NodeID]Voting {
	r := s.raft.Load()
	if r == nil {
		return nil
	}
	all := map[cluster.NodeID]Voting{}
	for _, x := range r.GetConfiguration().Configuration().Servers {
		all[cluster.NodeID(x.ID)] = Learner
		if x.Suffrage == raft.Voter {
			all[cluster.NodeID(x.ID)] = Voter
		}
	}
	return all
}

// AddServer makes a server a member of the group, or a learner a voter. It does
// nothing if that is what it is. Only the leader can.
func (s *Store) AddServer(ctx context.Context, id cluster.NodeID, v Voting) error {
	return s.change(ctx, func(r *raft.Raft) raft.IndexFuture {
		if v == Voter {
			return r.AddVoter(raft.ServerID(id), raft.ServerAddress(id), 0, memberTime)
		}
		return r.AddNonvoter(raft.ServerID(id), raft.ServerAddress(id), 0, memberTime)
	})
}

// RemoveServer takes a server out of the group. Only the leader can, and if it
// removes itself it stops leading.
func (s *Store) RemoveServer(ctx context.Context, id cluster.NodeID) error {
	return s.change(ctx, func(r *raft.Raft) raft.IndexFuture { return r.RemoveServer(raft.ServerID(id), 0, memberTime) })
}

func (s *Store) change(ctx context.Context, op func(*raft.Raft) raft.IndexFuture) error {
	r := s.raft.Load()
	if r == nil {
		return s.unavailable(raft.ErrNotLeader)
	}
	return s.await(ctx, func() error { return op(r).Error() })
}

// Applied is the index of the last log entry that this server has applied, commands
// or not; LastIndex of the last one that it has.
func (s *Store) Applied() uint64 { return s.indexes((*raft.Raft).AppliedIndex) }

// LastIndex is the index of the last log entry that this server has.
func (s *Store) LastIndex() uint64 { return s.indexes((*raft.Raft).LastIndex) }

func (s *Store) indexes(of func(*raft.Raft) uint64) uint64 {
	if r := s.raft.Load(); r != nil {
		return of(r)
	}
	return 0
}

// Step makes another server the leader, the most advanced one, if there is another.
// Whoever stops on purpose does it, so that nobody waits for an election.
func (s *Store) Step(ctx context.Context) error {
	r := s.raft.Load()
	if r == nil || r.State() != raft.Leader {
		return nil
	}
	voters := 0
	for _, v := range s.Servers() {
		if v == Voter {
			voters++
		}
	}
	if voters < 2 {
		return nil
	}
	return s.await(ctx, func() error { return r.LeadershipTransfer().Error() })
}

// Recover makes the server in c.Dir the only one of its group, with what its log
// holds: the way back when a majority is gone for good. The server must not run. What
// only the lost servers had is lost; what this one has and was not yet confirmed
// counts from now on.
func Recover(c Config) error {
	c = c.withDefaults()
	st, err := openStores(c)
	if err != nil {
		return err
	}
	f := &fsm{view: newView(c.Logger)}
	err = raft.RecoverCluster(c.raftConfig(), f, st.disk, st.disk, st.snapshots, st.transport, c.alone())
	if err = errors.Join(err, st.hangUp(), st.close()); err != nil {
		return fmt.Errorf("recover store: %w", err)
	}
	return nil
}
