//go:build e2e && faults

package e2e

import (
	"testing"
	"time"
)

// TestFaultFlappingChecks has checks that fail every second time, for long in all
// replicas, and for long in half of them.
func TestFaultFlappingChecks(t *testing.T) {
	t.Run("every second time", func(t *testing.T) {
		flapping{path: "/flap", least: 2, lasts: 40 * time.Second, should: "healthy"}.run(t)
	})
	t.Run("all at the same time", func(t *testing.T) {
		flapping{path: "/tide", least: 2, lasts: 75 * time.Second, should: "to be replaced"}.run(t)
	})
	t.Run("half of them", func(t *testing.T) {
		flapping{path: "/tide?only=web.1", least: 2, lasts: 75 * time.Second, should: "to be replaced"}.run(t)
	})
}
