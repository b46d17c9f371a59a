package agent

import (
	"slices"
	"sync/atomic"

	"paas/cluster"
)

// hosts knows the cluster's hosts as a server last said. It is safe for concurrent
// use.
type hosts struct {
	self   cluster.NodeID
	newest atomic.Pointer[cluster.Roster]
}

func newHosts(self cluster.NodeID, known *cluster.Roster) *hosts {
	h := &hosts{self: self}
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
	if m, ok := h.now().Member(id); ok && m.Address != "" {
		return []string{m.Address}
	}
	return nil
}

// refuses reports whether a node was removed from the cluster.
func (h *hosts) refuses(id cluster.NodeID) bool { return h.now().Refuses(id) }

// servers are the addresses to look for a session at: first, then those of the
// roster, its own zone's before the others, from another place on each node so that
// sessions spread.
func (h *hosts) servers(first []string, zone string) []string {
	var near, far []string
	for _, m := range h.now().Servers() {
		switch {
		case m.Address == "" || m.ID == h.self:
		case m.Zone == zone:
			near = append(near, m.Address)
		default:
			far = append(far, m.Address)
		}
	}
	all := slices.Clone(first)
	for _, address := range append(h.turn(near), h.turn(far)...) {
		if !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all
}

// turn begins a list at a place that is this node's own.
func (h *hosts) turn(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	at := 0
	for _, b := range []byte(h.self) {
		at = (at*31 + int(b)) % len(list)
	}
	return append(slices.Clone(list[at:]), list[:at]...)
}
