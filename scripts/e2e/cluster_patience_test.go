//go:build e2e && !faults

package e2e

// patience is how many times longer than its bound something may take where a test
// is about what happens, not how fast: on any machine, beside anything.
const patience = 5
