package store

import (
	"context"

	"github.com/hashicorp/raft"

	"paas/cluster"
)

// Leader returns the leading server, and whether one is known.
func (s *Store) Leader() (cluster.NodeID, bool) {
	r := s.raft.Load()
	if r == nil {
		return "", false
	}
	_, id := r.LeaderWithID()
	return cluster.NodeID(id), id != ""
}

// Leading reports whether this server leads and has applied everything that was
// committed before it did.
func (s *Store) Leading() bool {
	r := s.raft.Load()
	return r != nil && s.leading.Load() && r.State() == raft.Leader
}

// LeaderChanges tells one reader whether this server leads: capacity 1, newest
// value. True is sent when everything committed before is applied here, so the
// reader may act on State at once.
func (s *Store) LeaderChanges() <-chan bool { return s.leaders }

// followLeadership watches Raft until ctx ends.
func (s *Store) followLeadership(ctx context.Context, r *raft.Raft) {
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-r.LeaderCh():
			if leads {
				s.setLeading(false) // a loss that came and went while nobody read: others led meanwhile
			}
			// Losing leadership is the normal way for catchUp to fail; Raft says so here.
			s.setLeading(leads && s.catchUp(ctx, r) == nil)
		}
	}
}

// setLeading publishes whether this server leads.
func (s *Store) setLeading(leads bool) {
	if s.leading.Swap(leads) == leads {
		return
	}
	if leads {
		s.closeCaughtUp()
		s.cfg.Logger.Info("leading the cluster", "index", s.State().Index())
	} else {
		s.cfg.Logger.Info("not leading the cluster any more", "index", s.State().Index())
	}
	select {
	case <-s.leaders: // an older value that nobody read
	default:
	}
	s.leaders <- leads
}

// catchUp waits until everything committed in earlier terms is applied here,
// once per term: a barrier costs a log entry.
func (s *Store) catchUp(ctx context.Context, r *raft.Raft) error {
	term := r.CurrentTerm()
	if s.readTerm.Load() == term {
		return nil
	}
	if err := s.await(ctx, func() error { return r.Barrier(0).Error() }); err != nil {
		return err
	}
	s.readTerm.Store(term)
	return nil
}
