//go:build e2e && faults

package e2e

import (
	"testing"
	"time"
)

// TestFaultDeploysUnderLoad deploys 20 times and rolls back under 200 requests a
// second. Streams to the app may end with their replica, but not before its drain
// is over.
func TestFaultDeploysUnderLoad(t *testing.T) {
	drill{rate: 200, deploys: 20, atLeast: 20_000, slow: 20 * time.Second, drain: 30 * time.Second}.run(t)
}
