package server

import (
	"context"
	"time"
)

const (
	// caughtUpAsk bounds one question to the leader; caughtUpLook is how often a server
	// looks whether it has what the leader had.
	caughtUpAsk  = 2 * time.Second
	caughtUpLook = 20 * time.Millisecond
)

// catchUp closes caughtUp when this server has applied what was committed when it
// started. A follower learns with its first entries how much of them is committed, not
// how much there is in all: it asks the leader. It ends with ctx.
func (s *Server) catchUp(ctx context.Context) error {
	select {
	case <-s.store.CaughtUp():
	case <-ctx.Done():
		return nil
	}
	for !s.hasAll(ctx) {
		if pause(ctx, caughtUpLook) != nil {
			return nil
		}
	}
	close(s.allApplied)
	<-ctx.Done()
	return nil
}

// hasAll reports whether this server leads, or has what the leader has applied now.
func (s *Server) hasAll(ctx context.Context) bool {
	at, err := s.helm(ctx, caughtUpAsk)
	if err != nil {
		return false
	}
	if at.tenure != nil {
		return true
	}
	asking, cancel := context.WithTimeout(ctx, caughtUpAsk)
	defer cancel()
	want, err := s.peers.positionOf(asking, at.other)
	if err != nil {
		return false // it is asked again, or another one
	}
	for s.store.Applied() < want {
		if pause(ctx, caughtUpLook) != nil {
			return false
		}
	}
	return true
}
