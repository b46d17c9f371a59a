package server

import (
	"context"
	"sync"

	"paas/api"
	"paas/cluster"
)

const (
	// evidenceKept bounds how many replicas' last words are remembered.
	evidenceKept = 512
	// evidenceLines and evidenceBytes bound one replica's.
	evidenceLines = 100
	evidenceBytes = 32 << 10
	// evidenceTold is how many lines a pusher sees.
	evidenceTold = 20
	// evidencePatience is how long a new leader waits for the agent that has them:
	// agents and pushers find it at the same time.
	evidencePatience = api.NodeLease
)

// evidence remembers the last output of replicas that failed. It is memory only:
// output may hold an app's secrets and never goes through Raft. A new leader hears
// it from the agents again.
type evidence struct {
	mu    sync.Mutex
	lines map[cluster.AllocationID][]string // guarded by mu
	order []cluster.AllocationID            // oldest first; guarded by mu
	heard map[cluster.NodeID]bool           // has told what it knows; guarded by mu
	more  chan struct{}                     // closed when heard grows; guarded by mu
}

func newEvidence() *evidence {
	return &evidence{lines: map[cluster.AllocationID][]string{}, heard: map[cluster.NodeID]bool{}, more: make(chan struct{})}
}

// keep remembers what came with a node's observations.
func (e *evidence) keep(node cluster.NodeID, observed []api.Observed) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range observed {
		if len(o.Log) == 0 {
			continue
		}
		if _, known := e.lines[o.ID]; !known {
			e.order = append(e.order, o.ID)
		}
		e.lines[o.ID] = tail(o.Log, evidenceLines, evidenceBytes)
	}
	for len(e.order) > evidenceKept {
		delete(e.lines, e.order[0])
		e.order = e.order[1:]
	}
	if !e.heard[node] {
		e.heard[node] = true
		close(e.more)
		e.more = make(chan struct{})
	}
}

// forget begins a new tenure: between this one and an earlier one agents told others.
func (e *evidence) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.heard)
}

// of returns the last lines of a replica, oldest first. If its node was not heard yet
// it waits for it, for a while.
func (e *evidence) of(ctx context.Context, node cluster.NodeID, id cluster.AllocationID) []string {
	ctx, cancel := context.WithTimeout(ctx, evidencePatience)
	defer cancel()
	for {
		e.mu.Lock()
		lines, more, last := tail(e.lines[id], evidenceTold, evidenceBytes), e.more, id == "" || e.heard[node]
		e.mu.Unlock()
		if len(lines) > 0 || last {
			return lines
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		}
	}
}

// tail returns a copy of the end of lines, within both bounds.
func tail(lines []string, maxLines, maxBytes int) []string {
	from, size := len(lines), 0
	for from > 0 && len(lines)-from < maxLines && size+len(lines[from-1]) <= maxBytes {
		from--
		size += len(lines[from])
	}
	return append([]string(nil), lines[from:]...)
}
