//go:build e2e && faults

package e2e

import (
	"strings"
	"testing"
)

// TestFaultClusterTour does what the README's tour of a cluster shows, line by line, on
// hosts h1 to h4.
func TestFaultClusterTour(t *testing.T) {
	readme := document(t, "README.md")
	_, tour, found := strings.Cut(readme, "\n## Three hosts\n")
	if !found {
		t.Fatal("the README has no tour of a cluster")
	}
	tour, _, _ = strings.Cut(tour, "\n## ")
	newTourist(t).follow(tour, 12)
}
