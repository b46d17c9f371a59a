package store

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"paas/cluster"
)

// view publishes the newest state to any number of readers and watchers.
type view struct {
	newest atomic.Pointer[cluster.State]
	logger *slog.Logger

	mu sync.Mutex
	// waiting holds one channel for all who wait for an index above the key;
	// publish closes it. Most wait for the newest index: the map has few keys.
	waiting map[uint64]chan struct{}
}

func newView(logger *slog.Logger) *view {
	v := &view{waiting: map[uint64]chan struct{}{}, logger: logger}
	v.newest.Store(&cluster.State{})
	return v
}

func (v *view) state() *cluster.State { return v.newest.Load() }

// publish makes s the newest state and wakes those who waited for it.
func (v *view) publish(s *cluster.State) {
	if v.newest.Swap(s) == s {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for after, ch := range v.waiting {
		if s.Index() > after {
			close(ch)
			delete(v.waiting, after)
		}
	}
}

// changed returns a channel that is closed once the state's index is above after.
func (v *view) changed(after uint64) <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	// Under the lock: publish stores first and locks then, so either the new state
	// is seen here or publish finds the channel.
	if v.state().Index() > after {
		ch := make(chan struct{})
		close(ch)
		return ch
	}
	ch, ok := v.waiting[after]
	if !ok {
		ch = make(chan struct{})
		v.waiting[after] = ch
	}
	return ch
}
