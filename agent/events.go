package agent

import (
	"context"
	"sync/atomic"
	"time"
)

// watchClock knows since when the engine's events are followed without a gap. The
// zero value: they are not.
type watchClock struct{ since atomic.Pointer[time.Time] }

func (w *watchClock) begin() { at := time.Now(); w.since.Store(&at) }
func (w *watchClock) end()   { w.since.Store(nil) }

// saw reports whether the events were followed at that time and have been since.
func (w *watchClock) saw(at time.Time) bool {
	since := w.since.Load()
	return since != nil && !at.Before(*since)
}

// watchRetry is how often an engine that is gone is tried.
const watchRetry = 500 * time.Millisecond

// watch follows the engine's events, so that an exit is known at once. Losing
// one is harmless: whenever the stream begins, everybody looks again.
func (m *reconciler) watch(ctx context.Context) error {
	lost := false
	connected := func() {
		if lost {
			m.log.Info("container engine is back")
		}
		lost = false
		m.shared.watched.begin()
		m.lookAll()
	}
	for {
		err := m.shared.runtime.engine.Watch(ctx, connected, m.look)
		m.shared.watched.end()
		if ctx.Err() != nil {
			return nil
		}
		if !lost {
			m.log.Warn("container engine is gone; replicas keep their last state until it is back", "err", err)
		}
		lost = true
		if !pause(ctx, watchRetry) {
			return nil
		}
	}
}
