package store

import (
	"context"
	"fmt"
	"testing"

	"paas/cluster"
)

// BenchmarkPropose measures acknowledged writes on a real disk: one proposer
// pays an fsync each, many share it.
func BenchmarkPropose(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(fmt.Sprintf("proposers-per-cpu=%d", parallel), func(b *testing.B) {
			s, err := Open(Config{Dir: b.TempDir(), Node: nodeA})
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Bootstrap(); err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			defer func() { cancel(); <-done }()
			<-s.LeaderChanges()
			if _, err := s.Propose(ctx, bootstrapCommand()); err != nil {
				b.Fatal(err)
			}
			b.SetParallelism(parallel)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Propose(ctx, PutFile{By: by(1), Key: "a", Value: sealed("v")}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkObserve measures the apply of one observation among many allocations.
func BenchmarkObserve(b *testing.B) {
	d := begin(b).state.Draft(100)
	for i := range 100_000 {
		d.PutAllocation(cluster.Allocation{ID: cluster.AllocationID(fmt.Sprintf("a-%d", i)), App: "blog", Type: "web", Slot: i + 1, Attempt: 1, Release: 1, Node: nodeA})
	}
	s := d.State()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s, _ = applyCommand(s, uint64(101+i), observe(i, cluster.AllocationID(fmt.Sprintf("a-%d", i%100_000)), cluster.Observation{State: cluster.AllocationHealthy, Restarts: i}))
	}
}
