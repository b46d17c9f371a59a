package cli

import (
	"strings"
	"testing"
)

func TestQuorumSaysWhatMayBeLostAndWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		voters, up int
		want       string
	}{
		{1, 1, "1 of 1 voters up; 1 is needed for changes; three servers survive"},
		{2, 1, "nothing can be changed until 1 more is up"},
		{3, 3, "3 of 3 voters up; 2 are needed for changes: 1 more may be lost"},
		{3, 2, "2 of 3 voters up; 2 are needed for changes: one more must not be lost"},
		{3, 1, "1 of 3 voters up; 2 are needed for changes: nothing can be changed until 1 more is up"},
		{5, 1, "nothing can be changed until 2 more are up"},
	} {
		if got := quorum(c.voters, c.up); !strings.Contains(got, c.want) {
			t.Errorf("%d of %d: %q lacks %q", c.up, c.voters, got, c.want)
		}
	}
}
