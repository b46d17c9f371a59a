package cluster

import (
	"cmp"
	"slices"
)

// Roster is who belongs to the cluster and where its hosts are: what a host has to
// know of the others to reach them, and to refuse who does not belong. The zero
// Roster knows nobody.
type Roster struct {
	Index uint64 `json:"index"`
	// Members are the cluster's nodes, sorted by ID.
	Members []Member `json:"members"`
	// Removed are nodes whose certificates may still be valid and are refused all the
	// same, sorted.
	Removed []NodeID `json:"removed,omitempty"`
}

// Member is one host as the others know it.
type Member struct {
	ID   NodeID `json:"id"`
	Name string `json:"name"`
	Zone string `json:"zone"`
	// Address is host:port of the host's port between hosts; "" if it has none, or
	// none is known yet.
	Address string `json:"address,omitempty"`
	// Server says that the host takes part in Raft and answers the API, Router that
	// it sends requests to replicas of other hosts.
	Server bool `json:"server,omitempty"`
	Router bool `json:"router,omitempty"`
}

// Member returns the node with the given ID, and whether there is one.
func (r *Roster) Member(id NodeID) (Member, bool) {
	i, ok := slices.BinarySearchFunc(r.Members, id, func(m Member, id NodeID) int { return cmp.Compare(m.ID, id) })
	if !ok {
		return Member{}, false
	}
	return r.Members[i], true
}

// Refuses reports whether a node was removed: nothing that it says counts.
func (r *Roster) Refuses(id NodeID) bool {
	_, removed := slices.BinarySearch(r.Removed, id)
	return removed
}

// Without returns r with nodes removed that it may still know.
func (r *Roster) Without(removed []NodeID) *Roster {
	out := &Roster{Index: r.Index, Removed: slices.Concat(r.Removed, removed)}
	slices.Sort(out.Removed)
	out.Removed = slices.Compact(out.Removed)
	for _, m := range r.Members {
		if !out.Refuses(m.ID) {
			out.Members = append(out.Members, m)
		}
	}
	return out
}

// Servers returns the members that are servers, sorted by ID.
func (r *Roster) Servers() []Member {
	var out []Member
	for _, m := range r.Members {
		if m.Server {
			out = append(out, m)
		}
	}
	return out
}

// Majority is how many of so many servers that vote have to agree, or to hold something
// for it to survive: any two majorities have one in common.
func Majority(voters int) int { return voters/2 + 1 }

// Same reports whether two rosters say the same, whatever their indexes.
func (r *Roster) Same(other *Roster) bool {
	return slices.Equal(r.Members, other.Members) && slices.Equal(r.Removed, other.Removed)
}

// Roster computes who belongs to the cluster at this state.
func (s *State) Roster() *Roster {
	r := &Roster{Index: s.index}
	for n := range s.Nodes() {
		r.Members = append(r.Members, Member{ID: n.ID, Name: n.Name, Zone: n.Zone, Address: n.Address, Server: n.Server, Router: n.Router})
	}
	for x := range s.Removed() {
		r.Removed = append(r.Removed, x.Node)
	}
	return r
}
