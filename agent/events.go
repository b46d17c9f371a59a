package agent

import (
	"context"
	"time"
)

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
		m.lookAll()
	}
	for {
		err := m.shared.runtime.engine.Watch(ctx, connected, m.look)
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
