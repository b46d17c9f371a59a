package agent

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"paas/cluster"
)

// hosts knows the cluster's hosts as a server last said. It is safe for concurrent
// use.
type hosts struct {
	self   cluster.NodeID
	newest atomic.Pointer[cluster.Roster]

	mu  sync.Mutex
	met map[cluster.NodeID]string // where a node was met that was listed elsewhere; guarded by mu
	// strangers is where servers of the cluster answered that the roster does not know: all
	// that it knows may be gone, and others have come from a backup. Guarded by mu.
	strangers map[cluster.NodeID]string
}

func newHosts(self cluster.NodeID, known *cluster.Roster) *hosts {
	h := &hosts{self: self, met: map[cluster.NodeID]string{}, strangers: map[cluster.NodeID]string{}}
	if known == nil {
		known = &cluster.Roster{}
	}
	h.newest.Store(known)
	return h
}

// now is the newest roster, never nil.
func (h *hosts) now() *cluster.Roster { return h.newest.Load() }

// member returns what is known of a node, and whether it belongs to the cluster.
func (h *hosts) member(id cluster.NodeID) (cluster.Member, bool) { return h.now().Member(id) }

// addresses returns where a node may be.
func (h *hosts) addresses(id cluster.NodeID) []string {
	m, ok := h.now().Member(id)
	if !ok {
		return nil
	}
	var all []string
	for _, at := range []string{h.elsewhere(id), m.Address} {
		if at != "" && !slices.Contains(all, at) {
			all = append(all, at)
		}
	}
	return all
}

// meet notes that a member answers at an address.
func (h *hosts) meet(id cluster.NodeID, address string) {
	m, ok := h.now().Member(id)
	if !ok || id == h.self {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.Address == address {
		delete(h.met, id)
		return
	}
	h.met[id] = address
}

// maxStrangers bounds the servers that are asked although nobody told of them.
const maxStrangers = 8

// meetStranger notes that a server that the roster does not know answered a call with
// the cluster's certificate.
func (h *hosts) meetStranger(id cluster.NodeID, address string) {
	now := h.now()
	if _, known := now.Member(id); known || now.Refuses(id) || id == h.self {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, again := h.strangers[id]; again || len(h.strangers) < maxStrangers {
		h.strangers[id] = address
	}
}

func (h *hosts) elsewhere(id cluster.NodeID) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.met[id]
}

// update takes what a server says, and returns what counts from now on: what it says of
// an address is newer than where a node was met. A server that is behind, or went on
// from an older state (recover, restore), brings nobody back who was removed.
func (h *hosts) update(r *cluster.Roster) *cluster.Roster {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.now(); r.Index < now.Index {
		r = r.Without(now.Removed)
		r.Index = now.Index // until something newer comes
	}
	clear(h.strangers) // a server speaks: there is no need of others
	for id := range h.met {
		old, _ := h.now().Member(id)
		if m, ok := r.Member(id); !ok || m.Address != old.Address {
			delete(h.met, id)
		}
	}
	h.newest.Store(r)
	return r
}

// refuses reports whether a node was removed from the cluster.
func (h *hosts) refuses(id cluster.NodeID) bool { return h.now().Refuses(id) }

// servers are the addresses to look for a session at: first, then those of the
// roster, nearest first, then those of servers that it does not know.
func (h *hosts) servers(first []string, zone string) []string {
	all := slices.Clone(first)
	for _, m := range h.nearest(zone) {
		for _, address := range h.addresses(m.ID) {
			if !slices.Contains(all, address) {
				all = append(all, address)
			}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(h.strangers)) {
		if address := h.strangers[id]; !h.now().Refuses(id) && !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all
}

// nearest are the other servers, its own zone's before the others, from another place
// on each node so that load spreads.
func (h *hosts) nearest(zone string) []cluster.Member {
	var near, far []cluster.Member
	for _, m := range h.now().Servers() {
		switch {
		case m.ID == h.self || len(h.addresses(m.ID)) == 0:
		case m.Zone == zone:
			near = append(near, m)
		default:
			far = append(far, m)
		}
	}
	return append(h.turn(near), h.turn(far)...)
}

// turn begins a list at a place that is this node's own.
func (h *hosts) turn(list []cluster.Member) []cluster.Member {
	if len(list) == 0 {
		return nil
	}
	at := 0
	for _, b := range []byte(h.self) {
		at = (at*31 + int(b)) % len(list)
	}
	return append(slices.Clone(list[at:]), list[:at]...)
}
