package scheduler

import (
	"time"

	"paas/cluster"
)

// world is the state, indexed once per pass: hosts with what is reserved on
// them, allocations by app.
type world struct {
	state  *cluster.State
	hosts  []host // by node ID
	byID   map[cluster.NodeID]int
	allocs map[cluster.AppName][]*cluster.Allocation // oldest first
	// openZones are the zones of nodes that take new allocations, each once.
	openZones []string
}

// host is a node and what is reserved on it, this pass's placements included.
type host struct {
	node     *cluster.Node
	memory   int64 // bytes reserved
	cpuMilli int64
	worked   time.Time // when a replica last became healthy there
}

// demand is what one replica needs of a host.
type demand struct {
	memory   int64
	cpuMilli int64
	arch     string
	pin      cluster.NodeID // where the data of its volumes is; "" is anywhere
	pinned   string         // that, for people
	where    []cluster.Constraint
}

func newWorld(s *cluster.State) *world {
	w := &world{state: s, byID: map[cluster.NodeID]int{}, allocs: map[cluster.AppName][]*cluster.Allocation{}}
	zones := map[string]bool{}
	for n := range s.Nodes() {
		w.byID[n.ID] = len(w.hosts)
		w.hosts = append(w.hosts, host{node: n})
		if n.Schedulable() && !zones[n.Zone] {
			zones[n.Zone] = true
			w.openZones = append(w.openZones, n.Zone)
		}
	}
	// Allocations come app by app, so one app's releases are looked up once.
	var app cluster.AppName
	var list []*cluster.Allocation
	releases := map[cluster.ReleaseVersion]*cluster.Release{}
	for a := range s.Allocations() {
		if a.App != app {
			w.allocs[app] = list
			app, list = a.App, nil
			clear(releases)
		}
		list = append(list, a)
		i, known := w.byID[a.Node]
		if !known || !a.Live() {
			continue
		}
		if a.HealthyAt.After(w.hosts[i].worked) {
			w.hosts[i].worked = a.HealthyAt
		}
		r, seen := releases[a.Release]
		if !seen {
			r, _ = s.Release(a.App, a.Release)
			releases[a.Release] = r
		}
		w.hosts[i].reserve(demandOf(r, a.Type))
	}
	w.allocs[app] = list
	return w
}

// node returns the node of that ID, or nil.
func (w *world) node(id cluster.NodeID) *cluster.Node {
	if i, ok := w.byID[id]; ok {
		return w.hosts[i].node
	}
	return nil
}

// nodeName names a node for people.
func (w *world) nodeName(id cluster.NodeID) string {
	if n := w.node(id); n != nil && n.Name != "" {
		return n.Name
	}
	return string(id)
}

func (h *host) reserve(d demand)  { h.memory += d.memory; h.cpuMilli += d.cpuMilli }
func (h *host) release(d demand)  { h.memory -= d.memory; h.cpuMilli -= d.cpuMilli }
func (h *host) freeMemory() int64 { return h.node.MemoryBytes - h.memory }
func (h *host) freeCPU() int64    { return h.node.CPUMilli - h.cpuMilli }

// demandOf returns what a replica of type t needs; nothing if r is gone.
func demandOf(r *cluster.Release, t cluster.ProcessType) demand {
	if r == nil {
		return demand{}
	}
	return demandOfProcess(r.Processes[t], r.Image.Arch)
}

// demandOfProcess returns what one replica of proc needs, with an image of arch.
func demandOfProcess(proc cluster.Process, arch string) demand {
	return demand{memory: proc.MemoryBytes, cpuMilli: proc.CPUMilli, arch: arch, where: proc.Constraints}
}
