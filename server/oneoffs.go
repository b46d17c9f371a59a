package server

import (
	"slices"
	"sync"

	"paas/cluster"
	"paas/scheduler"
)

// oneOffs is what runs for callers of this server right now. It is memory alone: a
// one-off process ends with the connection to the server that it was started by.
type oneOffs struct {
	mu      sync.Mutex
	running []*scheduler.OneOff // guarded by mu
}

// place finds a node with room beside what runs, and takes the room. end gives it
// back; it is nil if there is an error.
func (o *oneOffs) place(st *cluster.State, process cluster.Process, arch string) (node cluster.NodeID, end func(), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var running []scheduler.OneOff
	for _, r := range o.running {
		running = append(running, *r)
	}
	if node, err = scheduler.PickNode(st, process, arch, running...); err != nil {
		return "", nil, err
	}
	mine := &scheduler.OneOff{Node: node, MemoryBytes: process.MemoryBytes, CPUMilli: process.CPUMilli}
	o.running = append(o.running, mine)
	return node, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.running = slices.DeleteFunc(o.running, func(r *scheduler.OneOff) bool { return r == mine })
	}, nil
}

// on is how many one-off processes run on a node.
func (o *oneOffs) on(node cluster.NodeID) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, r := range o.running {
		if r.Node == node {
			n++
		}
	}
	return n
}
