package store

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"paas/cluster"
)

// lead is who leads, as this server knows it.
type lead struct {
	mu      sync.Mutex
	id      cluster.NodeID // "" nobody; guarded by mu
	before  cluster.NodeID // the last other one; guarded by mu
	changed chan struct{}  // closed when id is another; guarded by mu
}

func newLead() *lead { return &lead{changed: make(chan struct{})} }

func (l *lead) set(id cluster.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id == id {
		return
	}
	if l.id != "" {
		l.before = l.id
	}
	l.id = id
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *lead) get() (cluster.NodeID, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id, l.changed
}

// FollowLeader returns who leads, "" if nobody is known to, and a channel that is
// closed when that is not so any more.
func (s *Store) FollowLeader() (cluster.NodeID, <-chan struct{}) { return s.lead.get() }

// Predecessor returns who led before this server did, and when this server heard it
// lead for the last time; "" if it knows of none.
func (s *Store) Predecessor() (id cluster.NodeID, heard time.Time) {
	s.lead.mu.Lock()
	id = s.lead.before
	s.lead.mu.Unlock()
	r := s.raft.Load()
	if r == nil || id == "" || id == s.cfg.Node {
		return "", time.Time{}
	}
	return id, r.LastContact() // a leader hears nobody who leads: it is as old as its lead
}

// observeLeader keeps s.lead until ctx ends.
func (s *Store) observeLeader(ctx context.Context, r *raft.Raft) {
	news := make(chan raft.Observation, 1)
	o := raft.NewObserver(news, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.RegisterObserver(o)
	defer r.DeregisterObserver(o)
	for {
		// What the observation says may be old news when it is read; Raft says what is.
		_, id := r.LeaderWithID()
		s.lead.set(cluster.NodeID(id))
		select {
		case <-news:
		case <-ctx.Done():
			s.lead.set("")
			return
		}
	}
}

// catchUpInterval is how often a follower that has just started looks whether it has
// what the others have.
const catchUpInterval = 10 * time.Millisecond

// CaughtUp is closed when this server has applied everything that was committed when
// it started: it leads, or follows a leader and has applied what that one told it of.
func (s *Store) CaughtUp() <-chan struct{} { return s.caughtUp }

// watchCatchUp closes caughtUp once.
func (s *Store) watchCatchUp(ctx context.Context, r *raft.Raft) {
	tick := time.NewTicker(catchUpInterval)
	defer tick.Stop()
	for {
		// The first heartbeat of a leader says how much is committed. What it commits
		// later is told with entries.
		id, _ := s.lead.get()
		if id != "" && id != s.cfg.Node && r.CommitIndex() > 0 && r.AppliedIndex() >= r.CommitIndex() {
			s.closeCaughtUp()
			return
		}
		select {
		case <-tick.C:
		case <-s.caughtUp:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (s *Store) closeCaughtUp() { s.caughtUpOnce.Do(func() { close(s.caughtUp) }) }
