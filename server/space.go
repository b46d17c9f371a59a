package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"paas/cluster"
	"paas/store"
)

// spaces is how full the nodes' file systems are, as their agents last said: memory
// of the leader, and on other servers of their own host.
type spaces struct {
	self cluster.NodeID
	// changed has capacity 1: a level changed. Sent by measured, received by the diskWatch.
	changed chan struct{}
	// here is the same of this host, received by the ownDisk.
	here  chan struct{}
	mu    sync.Mutex
	nodes map[cluster.NodeID][]cluster.Space // judged; values are never changed; guarded by mu
}

func newSpaces(self cluster.NodeID) *spaces {
	return &spaces{self: self, changed: make(chan struct{}, 1), here: make(chan struct{}, 1), nodes: map[cluster.NodeID][]cluster.Space{}}
}

// measured takes a node's news and judges it.
func (s *spaces) measured(node cluster.NodeID, news []cluster.Space) {
	s.mu.Lock()
	defer s.mu.Unlock()
	judged, changed := cluster.JudgeSpaces(s.nodes[node], news)
	s.nodes[node] = judged
	if changed {
		nudge(s.changed)
	}
	if changed && node == s.self {
		nudge(s.here)
	}
}

// of returns a node's file systems; nil when nothing is known of them.
func (s *spaces) of(node cluster.NodeID) []cluster.Space {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[node]
}

// worst returns a node's fullest file system, by level.
func (s *spaces) worst(node cluster.NodeID) (worst cluster.Space) {
	for _, x := range s.of(node) {
		if worst.Path == "" || x.Level > worst.Level || x.Level == worst.Level && x.Percent() > worst.Percent() {
			worst = x
		}
	}
	return worst
}

// codeDiskFull is of errors that go away when a disk is freed.
const codeDiskFull = "disk_full"

func isDiskFull(err error) bool {
	var e *cluster.Error
	return errors.As(err, &e) && e.Code == codeDiskFull
}

// freeSpace is what people can do on a full host; the engine's build cache cannot
// be told from others', so that only people may drop it.
const freeSpace = "free some space on it: docker builder prune drops build caches, docker system df shows what is large;\nit goes on by itself then"

// room refuses what writes much while a file system of the node that builds is full.
func (s *spaces) room(node cluster.NodeID, name string) error {
	worst := s.worst(node)
	if worst.Level != cluster.SpaceFull {
		return nil
	}
	return cluster.Errorf(cluster.KindUnplaceable, codeDiskFull, "nothing is built now").
		Because("the disk of node %s at %s is %s; builds need it below 90%%", name, worst.Path, worst).WithHint(freeSpace)
}

const (
	// trimAgain is how often a node that stays short of space is trimmed.
	trimAgain = 10 * time.Minute
	// trimTime bounds the wait for pushes that a collection has to let end.
	trimTime = 2 * time.Minute
)

// diskWatch tells of disks that fill and of those that were freed, once each.
type diskWatch struct {
	*control
	spaces *spaces
}

// spaceKey is one file system of one node.
type spaceKey struct {
	node cluster.NodeID
	path string
}

// toldLevels are the levels of a file system that the log and the audit know.
type toldLevels struct{ logged, recorded cluster.SpaceLevel }

// Run watches while this server leads.
func (w *diskWatch) Run(ctx context.Context) error {
	told := map[spaceKey]toldLevels{}
	for failures := 0; ; {
		var again <-chan time.Time // only a change asks for more
		if err := w.tell(ctx, told); err != nil && ctx.Err() == nil {
			failures++
			again = time.After(backoff(failures))
		} else {
			failures = 0
		}
		select {
		case <-w.spaces.changed:
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

// ownDisk does what a server can for its own host's disk when that fills: caches go
// first, then builds, volumes never. It needs no leader.
type ownDisk struct {
	*control
	spaces *spaces
	// stop ends the builds under way here; trim drops what can be made again.
	stop func(cause *cluster.Error)
	trim func(ctx context.Context) error
}

// Run looks after it until ctx ends. It begins when the state is as new as what lies on
// the disk: an older one does not name what came after it.
func (w *ownDisk) Run(ctx context.Context) error {
	select {
	case <-w.caughtUp:
	case <-ctx.Done():
		return nil
	}
	for trimmed := (time.Time{}); ; {
		var again <-chan time.Time // a disk with room asks for nothing
		worst := w.spaces.worst(w.self)
		if worst.Level == cluster.SpaceFull {
			w.stop(w.stopped(worst))
		}
		if worst.Level == cluster.SpaceAmple {
			trimmed = time.Time{}
		} else {
			if time.Since(trimmed) >= trimAgain {
				trimmed = time.Now()
				w.tryTrim(ctx)
			}
			again = time.After(trimAgain - time.Since(trimmed))
		}
		select {
		case <-w.spaces.here:
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

// stopped is why builds ended.
func (w *ownDisk) stopped(s cluster.Space) *cluster.Error {
	name := nodeName(w.store.State(), w.self)
	return cluster.Errorf(cluster.KindUnplaceable, codeDiskFull, "the build was stopped").
		Because("the disk of node %s at %s became %s", name, s.Path, s).WithHint(freeSpace)
}

// tell logs and records each level that changed since it was told. A disk that is
// full may take no record: then that is tried again.
func (w *diskWatch) tell(ctx context.Context, told map[spaceKey]toldLevels) error {
	for n := range w.store.State().Nodes() {
		for _, s := range w.spaces.of(n.ID) {
			key := spaceKey{n.ID, s.Path}
			known := told[key]
			if s.Level != known.logged {
				w.logLevel(n, s, known.logged)
				known.logged = s.Level
				told[key] = known
			}
			if s.Level == known.recorded {
				continue
			}
			text := fmt.Sprintf("disk of node %s at %s is %s", n.Name, s.Path, s)
			if _, err := w.store.Propose(ctx, store.Audit{By: platform(), Action: "disk." + s.Level.String(), Target: n.Name, Text: text}); err != nil {
				return err
			}
			known.recorded = s.Level
			told[key] = known
		}
	}
	return nil
}

func (w *diskWatch) logLevel(n *cluster.Node, s cluster.Space, was cluster.SpaceLevel) {
	attrs := []any{"node", n.Name, "path", s.Path, "level", s.Level.String(), "used", s.String()}
	switch {
	case s.Level < was:
		w.log.Info("disk was freed", attrs...)
	case s.Level == cluster.SpaceFull:
		w.log.Error("disk is full, nothing is built until it is freed", attrs...)
	default:
		w.log.Warn("disk is filling up", attrs...)
	}
}

func (w *ownDisk) tryTrim(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, trimTime)
	defer cancel()
	if err := w.trim(ctx); err != nil {
		w.log.Warn("caches were not trimmed, the next round tries again", "err", err)
	}
}
