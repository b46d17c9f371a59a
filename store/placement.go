package store

import (
	"paas/cluster"
)

// reservation is what a replica takes of its node.
type reservation struct{ memoryBytes, cpuMilli int64 }

// load is what the live allocations of each node take.
type load map[cluster.NodeID]reservation

func loadOf(s *cluster.State) load {
	l := load{}
	for a := range s.Allocations() {
		if !a.Live() {
			continue
		}
		if r, err := s.Release(a.App, a.Release); err == nil {
			l.add(a.Node, reservationOf(r.Processes[a.Type]))
		}
	}
	return l
}

func reservationOf(p cluster.Process) reservation {
	return reservation{memoryBytes: p.MemoryBytes, cpuMilli: p.CPUMilli}
}

func (l load) add(id cluster.NodeID, r reservation) {
	sum := l[id]
	sum.memoryBytes += r.memoryBytes
	sum.cpuMilli += r.cpuMilli
	l[id] = sum
}

// fits reports whether node id has r free.
func (l load) fits(s *cluster.State, id cluster.NodeID, r reservation) bool {
	n, err := s.Node(id)
	if err != nil {
		return false
	}
	used := l[id]
	return used.memoryBytes+r.memoryBytes <= n.MemoryBytes && used.cpuMilli+r.cpuMilli <= n.CPUMilli
}

// admissible reports whether p may be placed at all, and what it takes: its app
// and release still want it, its node takes replicas of that architecture and
// has the type's volumes for it alone, and no attempt of its slot is as new.
func admissible(s *cluster.State, p cluster.Placement) (reservation, bool) {
	app, err := s.App(p.App)
	if err != nil || app.Destroying || p.Slot < 1 || p.Slot > cluster.MaxReplicas || p.Attempt < 1 {
		return reservation{}, false
	}
	active := s.ActiveDeployment(p.App)
	if p.Release != app.Current && (active == nil || p.Release != active.Release) {
		return reservation{}, false
	}
	r, err := s.Release(p.App, p.Release)
	if err != nil {
		return reservation{}, false
	}
	process, ok := r.Processes[p.Type]
	if !ok || p.Type == cluster.ProcessRelease {
		return reservation{}, false
	}
	n, err := s.Node(p.Node)
	if err != nil || !n.Schedulable() || r.Image.Arch != "" && n.Arch != "" && r.Image.Arch != n.Arch || process.RefusedBy(n) != nil {
		return reservation{}, false
	}
	if !movable(s, p) {
		return reservation{}, false
	}
	if !mountable(s, p) {
		return reservation{}, false
	}
	for a := range s.AllocationsOf(p.App) {
		if a.Type == p.Type && a.Slot == p.Slot && a.Attempt >= p.Attempt {
			return reservation{}, false
		}
	}
	return reservationOf(process), true
}

// movable reports whether what p is to take the place of still runs.
func movable(s *cluster.State, p cluster.Placement) bool {
	if p.Moves == "" {
		return true
	}
	a, err := s.Allocation(p.Moves)
	return err == nil && a.App == p.App && a.Type == p.Type && a.Slot == p.Slot && a.Desired == cluster.DesiredRun
}
