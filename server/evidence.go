package server

import (
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
)

// evidence remembers the last output of replicas that failed. It is memory only:
// output may hold an app's secrets and never goes through Raft.
type evidence struct {
	mu    sync.Mutex
	lines map[cluster.AllocationID][]string // guarded by mu
	order []cluster.AllocationID            // oldest first; guarded by mu
}

func newEvidence() *evidence { return &evidence{lines: map[cluster.AllocationID][]string{}} }

// keep remembers what came with observations.
func (e *evidence) keep(observed []api.Observed) {
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
}

// of returns the last lines of a replica, oldest first.
func (e *evidence) of(id cluster.AllocationID) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return tail(e.lines[id], evidenceTold, evidenceBytes)
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
