package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"paas/cluster"
)

const (
	// archiveLines is how much is kept of what a container printed before it went.
	archiveLines = 200
	// archiveBytes bounds that per allocation.
	archiveBytes = 64 << 10
)

// archive remembers the last lines of containers that are gone, so that a crash
// can still be read when the replica runs again in a fresh container. It is
// memory only, and safe for concurrent use.
type archive struct {
	mu    sync.Mutex
	lines map[cluster.AllocationID][]logEntry
	last  map[cluster.AllocationID]string // container added last: once is enough
}

func newArchive() *archive {
	return &archive{lines: map[cluster.AllocationID][]logEntry{}, last: map[cluster.AllocationID]string{}}
}

// add keeps what a container printed.
func (a *archive) add(id cluster.AllocationID, container string, lines []logEntry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last[id] == container {
		return
	}
	all := append(a.lines[id], lines...)
	size, from := 0, len(all)
	for from > 0 && len(all)-from < archiveLines && size < archiveBytes {
		from--
		size += len(all[from].Text)
	}
	a.lines[id], a.last[id] = slices.Clone(all[from:]), container
}

// get is what is kept of an allocation, oldest first.
func (a *archive) get(id cluster.AllocationID) []logEntry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.lines[id])
}

// holds reports whether a container's lines are kept already.
func (a *archive) holds(id cluster.AllocationID, container string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last[id] == container
}

// forget drops what is kept of an allocation.
func (a *archive) forget(id cluster.AllocationID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.lines, id)
	delete(a.last, id)
}

// tailTimeout bounds reading the end of a log: evidence must not delay the news.
const tailTimeout = 2 * time.Second

// readTail is the last n lines that a container printed; none when the engine
// cannot say.
func readTail(ctx context.Context, logs logSource, id string, n int) []logEntry {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tailTimeout)
	defer cancel()
	var out []logEntry
	_ = logs.Logs(ctx, id, logQuery{Tail: n}, func(e logEntry) error { // what was read until an error is still evidence
		out = append(out, e)
		return nil
	})
	return out
}
