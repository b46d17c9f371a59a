package store

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"

	"paas/cluster"
)

// maxCommandBytes bounds one log entry: 64 config values at their limit fit
// many times over, and a follower on a slow line still gets it within its timeout.
const maxCommandBytes = 16 << 20

// Propose commits c and waits until it is applied here. Errors of apply are
// *cluster.Error of their own kind and have changed nothing. KindUnavailable with
// code "not_leader", "log_write" or "shutting_down" means that nothing was
// changed either; with code "outcome_unknown" c may or may not be committed.
func (s *Store) Propose(ctx context.Context, c Command) (Outcome, error) {
	if err := s.known(c); err != nil {
		return Outcome{}, err
	}
	data, err := logEntry(c)
	if err != nil {
		return Outcome{}, err
	}
	r := s.raft.Load()
	if r == nil {
		return Outcome{}, s.unavailable(raft.ErrNotLeader)
	}
	var applied raft.ApplyFuture
	if err := s.await(ctx, func() error {
		applied = r.Apply(data, 0)
		return applied.Error()
	}); err != nil {
		return Outcome{}, err
	}
	res, ok := applied.Response().(result)
	if !ok {
		return Outcome{}, s.unavailable(raft.ErrRaftShutdown)
	}
	return res.outcome, res.err
}

// logEntry encodes c and makes sure that every server can decode it: an entry that
// is committed and cannot be read would stop them all, at every start.
func logEntry(c Command) ([]byte, error) {
	data, err := encodeCommand(c)
	if err != nil {
		return nil, err
	}
	if len(data) > maxCommandBytes {
		return nil, cluster.Invalid("too_large", "the change is too large").Because("it has %d bytes; the limit is %d", len(data), maxCommandBytes)
	}
	if _, err := decodeCommand(data); err != nil {
		return nil, cluster.Invalid("text", "the change cannot be kept").Because("it holds text that is not UTF-8, or that is nested too deeply").Wrap(err)
	}
	return data, nil
}

// await runs op, which waits for Raft, and gives up when ctx ends or Raft has
// stopped: some of Raft's futures are never answered after a shutdown. op may
// then still run; nothing that it writes may be read.
func (s *Store) await(ctx context.Context, op func() error) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return s.unavailable(raft.ErrRaftShutdown)
	}
	s.inFlight.Add(1)
	s.mu.Unlock()
	defer s.inFlight.Done()
	done := make(chan error, 1)
	go func() { done <- op() }()
	select {
	case err := <-done:
		if err != nil {
			return s.unavailable(err)
		}
		return nil
	case <-s.gone:
		return unknownOutcome(raft.ErrRaftShutdown)
	case <-ctx.Done():
		return unknownOutcome(ctx.Err())
	}
}

// unavailable says in people's words why Raft did not take a command.
func (s *Store) unavailable(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return s.notLeading(err)
	case errors.Is(err, raft.ErrRaftShutdown):
		return cluster.Errorf(cluster.KindUnavailable, "shutting_down", "this server is shutting down").Wrap(err)
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore):
		return unknownOutcome(err)
	}
	if reason := s.stores.disk.err(); reason != nil {
		return logWrite(reason) // without what Raft's layers say around it
	}
	return logWrite(err)
}

// notLeading says who leads instead, or why nobody does.
func (s *Store) notLeading(err error) error {
	if reason := s.stores.disk.err(); reason != nil {
		return logWrite(reason)
	}
	e := cluster.Errorf(cluster.KindUnavailable, "not_leader", "this server does not lead the cluster").Wrap(err)
	if id, ok := s.Leader(); ok && id != s.cfg.Node {
		return e.Because("%s does", id)
	}
	return e.Because("no leader is known right now").WithHint("try again in a moment")
}

func logWrite(err error) error {
	return cluster.Errorf(cluster.KindUnavailable, "log_write", "the change could not be written to disk").
		Because("%v", err).WithHint("free some space on the server's data disk; it recovers by itself").Wrap(err)
}

// codeOutcomeUnknown is the code of an error of a change that may have been made.
const codeOutcomeUnknown = "outcome_unknown"

func unknownOutcome(err error) error {
	return cluster.Errorf(cluster.KindUnavailable, codeOutcomeUnknown, "the change was not confirmed").
		Because("it may or may not have been made").WithHint("look at the current state before you try again").Wrap(err)
}
