//go:build e2e && faults

package e2e

// patience is none: drills measure.
const patience = 1
