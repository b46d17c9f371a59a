package scheduler

import (
	"fmt"
	"testing"

	"paas/cluster"
)

// big is a cluster of 1000 nodes in 3 zones and 1000 apps of 10 replicas.
func big() *sim { return clusterOf(1000, 1000) }

// clusterOf is a cluster of so many nodes in 3 zones and apps of 10 replicas.
func clusterOf(nodes, apps int) *sim {
	s := newSim(nil)
	d := s.state.Draft(1)
	for i := range nodes {
		d.PutNode(cluster.Node{
			ID: cluster.NodeID(fmt.Sprintf("%016x", i)), Zone: fmt.Sprintf("z%d", i%3), Apps: true, Router: i < 10,
			State: cluster.NodeUp, MemoryBytes: 16 << 30, CPUMilli: 16000,
		})
	}
	for i := range apps {
		name := cluster.AppName(fmt.Sprintf("app-%d", i))
		d.PutApp(cluster.App{Name: name, Formation: formation{"web": 8, "worker": 2}, Current: 1, Latest: 1})
		d.PutRelease(cluster.Release{App: name, Version: 1, State: cluster.ReleaseSucceeded, Processes: map[cluster.ProcessType]cluster.Process{
			"web": process(256), "worker": process(256),
		}})
	}
	s.state = d.State()
	return s
}

// populate settles big without the checks, which are slower than what they check.
func (s *sim) populate() cluster.Plan {
	p := Compute(s.input())
	s.change(func(d *cluster.Draft) {
		for _, x := range p.Place {
			d.PutAllocation(cluster.Allocation{
				ID: cluster.AllocationID(fmt.Sprintf("a-%d", d.NextSequence())), App: x.App, Type: x.Type, Slot: x.Slot,
				Attempt: x.Attempt, Release: x.Release, Node: x.Node, CreatedAt: s.now, Desired: cluster.DesiredRun,
				Observed:  cluster.Observation{State: cluster.AllocationHealthy, HealthySince: s.now, Address: "10.0.0.1:80"},
				HealthyAt: s.now,
			})
		}
	})
	s.acknowledge()
	return p
}

func BenchmarkCompute(b *testing.B) {
	b.Run("settled, 200 nodes and 5000 replicas", func(b *testing.B) {
		s := clusterOf(200, 500)
		s.populate()
		in := s.input()
		for b.Loop() {
			Compute(in)
		}
	})
	b.Run("settled", func(b *testing.B) {
		s := big()
		s.populate()
		in := s.input()
		if p := Compute(in); !p.Empty() {
			b.Fatalf("not settled: %d placements", len(p.Place))
		}
		for b.Loop() {
			Compute(in)
		}
	})
	b.Run("placing 10000", func(b *testing.B) {
		in := big().input()
		placed := 0
		for b.Loop() {
			p := Compute(in)
			placed += len(p.Place)
		}
		b.ReportMetric(float64(placed)/b.Elapsed().Seconds(), "placements/s")
	})
	b.Run("zone lost", func(b *testing.B) {
		s := big()
		s.populate()
		s.change(func(d *cluster.Draft) {
			for n := range d.State().Nodes() {
				if n.Zone == "z0" {
					lost := *n
					lost.State = cluster.NodeDown
					d.PutNode(lost)
				}
			}
		})
		in, placed := s.input(), 0
		for b.Loop() {
			p := Compute(in)
			placed += len(p.Place)
		}
		b.ReportMetric(float64(placed)/b.Elapsed().Seconds(), "placements/s")
	})
}
