package cli

import (
	"strings"
	"testing"
)

// TestOtherNamesLeadToCommands: each hint can be typed, and no name hides a
// command of ours.
func TestOtherNamesLeadToCommands(t *testing.T) {
	root := verbs()
	for name, ours := range otherNames {
		if v, _, left, stray := resolve(root, strings.Fields(ours)); v == root || len(left) > 0 || stray != "" {
			t.Errorf("%s leads to %q, which is no command", name, ours)
		}
		if v, _, _, _ := resolve(root, []string{name}); v != root {
			t.Errorf("%s is a command", name)
		}
	}
}
