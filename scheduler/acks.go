package scheduler

import (
	"time"

	"paas/cluster"
)

// routerPatience bounds how long a router that says nothing can hold up a
// rollout. Its lease (4 s) and a reconnect fit in it twice.
const routerPatience = 10 * time.Second

// acks is what the live routers said, folded once per pass.
type acks struct {
	live   int    // routers on nodes that are up
	silent int    // … that sent no status yet
	oldest uint64 // lowest acknowledged index of the others
	// inFlight sums the requests of allocations that are out of every table.
	inFlight map[cluster.AllocationID]int
}

func readAcks(in Input) acks {
	k := acks{inFlight: map[cluster.AllocationID]int{}}
	for n := range in.State.Nodes() {
		if !n.Router || n.State != cluster.NodeUp {
			continue
		}
		k.live++
		st, ok := in.Routers[n.ID]
		if !ok {
			k.silent++
			continue
		}
		if k.live-k.silent == 1 || st.Index < k.oldest {
			k.oldest = st.Index
		}
		for id, n := range st.InFlight {
			k.inFlight[id] += n
		}
	}
	return k
}

// all reports whether every live router serves a table of at least index.
func (k *acks) all(index uint64) bool { return k.silent == 0 && k.spoken(index) }

// spoken is all without the routers that say nothing.
func (k *acks) spoken(index uint64) bool { return k.live == k.silent || k.oldest >= index }
