//go:build e2e && faults

package e2e

import (
	"testing"
	"time"
)

// TestFaultKill kills paas 20 times. PAAS_FAULT_SEED repeats a run's moments.
func TestFaultKill(t *testing.T) {
	c := newCrash(t, 3*time.Second)
	kinds := []string{"push", "push", "push", "push", "push", "push", "push", "push", "config", "config", "config", "config",
		"scale", "scale", "scale", "scale", "rollback", "rollback", "rollback", "rollback"}
	c.rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	for _, kind := range kinds {
		c.round(kind)
	}
	c.report()
}
