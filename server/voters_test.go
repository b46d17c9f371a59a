package server

import (
	"testing"

	"paas/cluster"
)

// Of what a majority holds, this server included if it votes, a copy is left whichever
// minority is lost, and no copy more is waited for than that takes.
func TestVotersWantTheLeastMajority(t *testing.T) {
	for others := range 6 {
		for self := range 2 {
			v := voters{others: make([]cluster.NodeID, others), self: self}
			held := v.wanting() + self
			if v.all() > 0 && (2*held <= v.all() || 2*(held-1) > v.all()) {
				t.Errorf("%d others, %d here: %d of %d hold it", others, self, held, v.all())
			}
		}
	}
}
