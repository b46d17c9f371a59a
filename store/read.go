package store

import (
	"context"
	"errors"

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
		return nil, s.unread(err)
	}
	if err := s.await(ctx, func() error { return r.VerifyLeader().Error() }); err != nil {
		return nil, s.unread(err)
	}
	if r.CurrentTerm() != term {
		return nil, s.unavailable(raft.ErrNotLeader)
	}
	return s.State(), nil
}

// unread says of a read what err, of waiting for Raft, says of a change that may have
// been made.
func (s *Store) unread(err error) error {
	var e *cluster.Error
	switch {
	case !errors.As(err, &e) || e.Code != codeOutcomeUnknown:
		return err
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore):
		return s.notLeading(err)
	case errors.Is(err, raft.ErrRaftShutdown):
		return s.unavailable(raft.ErrRaftShutdown)
	}
	return cluster.Errorf(cluster.KindUnavailable, "not_read", "the state was not read").
		Because("the servers did not agree in time on who leads").WithHint("try again").Wrap(err)
}
