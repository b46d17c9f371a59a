package server

import (
	"context"
	"errors"
	"time"
)

// ErrRemoved ends Run when the server is no member of its cluster any more.
var ErrRemoved = errors.New("the server was removed from the cluster")

const (
	// leaderless is how long nobody must lead a server that was removed: longer than an
	// election takes.
	leaderless = 3 * time.Second
	// removalTime is how long after the word of a removal a leader may still be known.
	removalTime = 10 * time.Second
)

// Dismiss tells the server that another one says that it was removed from the cluster.
// It ends if that is so as far as it can see: nobody leads it. Else somebody speaks who
// was given up for lost, or went on alone by mistake.
func (s *Server) Dismiss() { nudge(s.dismissed) }

// awaitRemoval ends with ErrRemoved once the server was removed, or with ctx. Raft would
// ask for votes for ever, and requests would wait for a leader.
func (s *Server) awaitRemoval(ctx context.Context) error {
	for {
		select {
		case <-s.dismissed:
		case <-ctx.Done():
			return nil
		}
		if s.ledByNobody(ctx) {
			return ErrRemoved
		}
	}
}

// ledByNobody reports whether nobody leads this server, within removalTime.
func (s *Server) ledByNobody(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, removalTime)
	defer cancel()
	for {
		id, changed := s.store.FollowLeader()
		var vacant <-chan time.Time
		if id == "" {
			vacant = time.After(leaderless)
		}
		select {
		case <-vacant:
			return true
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}
