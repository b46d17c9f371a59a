package store

import (
	"context"

	"github.com/hashicorp/raft"

	"paas/cluster"
)

// Read returns a state that holds every write acknowledged before the call.
// KindUnavailable when this server does not lead.
//
// Two things make it linearizable. Every write of this term was applied here
// before it was acknowledged; writes of earlier terms were applied before
// catchUp returned. And that this server still led, in the same term, is
// confirmed by a majority after the call began.
func (s *Store) Read(ctx context.Context) (*cluster.State, error) {
	r := s.raft.Load()
	if r == nil {
		return nil, s.unavailable(raft.ErrNotLeader)
	}
	term := r.CurrentTerm()
	if err := s.catchUp(ctx, r); err != nil {
		return nil, err
	}
	if err := s.await(ctx, func() error { return r.VerifyLeader().Error() }); err != nil {
		return nil, err
	}
	if r.CurrentTerm() != term {
		return nil, s.unavailable(raft.ErrNotLeader)
	}
	return s.State(), nil
}
