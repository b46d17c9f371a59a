package agent

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"paas/api"
	"paas/cluster"
)

// evidenceSent bounds the last words at the beginning of a session, in bytes: without
// them the session is worth more than none.
const evidenceSent = 4 << 20

// board holds the newest observation of every allocation, and which of them the
// server has not been sent. It is safe for concurrent use.
type board struct {
	keep func(api.Observed) // makes it durable
	drop func(cluster.AllocationID)

	changed chan struct{} // capacity 1; sent by put, never closed

	mu     sync.Mutex
	newest map[cluster.AllocationID]api.Observed
	unsent []api.Observed // in order
	gone   []cluster.VolumeID
}

func newBoard(known []api.Observed, keep func(api.Observed), drop func(cluster.AllocationID)) *board {
	b := &board{keep: keep, drop: drop, changed: make(chan struct{}, 1), newest: map[cluster.AllocationID]api.Observed{}}
	for _, o := range known {
		b.newest[o.ID] = o
	}
	return b
}

// put records news. What changes nothing is not news.
func (b *board) put(o api.Observed) {
	b.mu.Lock()
	old, ok := b.newest[o.ID]
	if ok && old.Observation == o.Observation {
		b.mu.Unlock()
		return
	}
	b.unsent = append(b.unsent, o)
	if len(o.Log) == 0 {
		o.Log = old.Log // the next leader must hear it, too, and it may have restarted since
	}
	b.newest[o.ID] = o
	b.mu.Unlock()
	wake(b.changed)
	b.keep(o) // last and unlocked: a slow disk delays no news, and an allocation has one writer
}

// lose records that nothing is left of a destroyed volume.
func (b *board) lose(id cluster.VolumeID) {
	b.mu.Lock()
	b.gone = append(b.gone, id)
	b.mu.Unlock()
	wake(b.changed)
}

// takeGone is what was lost since the last time.
func (b *board) takeGone() []cluster.VolumeID {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.gone
	b.gone = nil
	return out
}

// get is the newest observation of id.
func (b *board) get(id cluster.AllocationID) (api.Observed, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.newest[id]
	return o, ok
}

// forget drops what is known of id.
func (b *board) forget(id cluster.AllocationID) {
	b.mu.Lock()
	delete(b.newest, id)
	b.mu.Unlock()
	b.drop(id)
}

// all is everything, for the beginning of a session: what was unsent is in it, and the
// last words of what ended: servers keep them in memory only.
func (b *board) all() []api.Observed {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsent = nil
	all := slices.SortedFunc(maps.Values(b.newest), func(x, y api.Observed) int { return strings.Compare(string(x.ID), string(y.ID)) })
	spent := 0
	for i := range all {
		for _, line := range all[i].Log {
			spent += len(line)
		}
		if spent > evidenceSent {
			all[i].Log = nil
		}
	}
	return all
}

// snapshot is the newest observation of every allocation.
func (b *board) snapshot() map[cluster.AllocationID]cluster.Observation {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[cluster.AllocationID]cluster.Observation, len(b.newest))
	for id, o := range b.newest {
		out[id] = o.Observation
	}
	return out
}

// take is what changed since the last take or all, in order.
func (b *board) take() []api.Observed {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.unsent
	b.unsent = nil
	return out
}

// wake says "look again" on a channel of capacity 1.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
