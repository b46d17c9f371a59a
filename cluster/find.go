package cluster

import (
	"slices"
	"strings"
)

// MinNodePrefix is how many digits of a node's ID name it, if no other begins so.
const MinNodePrefix = 4

// FindNode returns the node that a person means: by its ID, its name, or the
// beginning of its ID. A name that several have, or a beginning, is refused with
// the list of those it may be.
func (s *State) FindNode(ref string) (*Node, error) {
	if n, ok := s.nodes.get(NodeID(ref)); ok {
		return n, nil
	}
	var named, begun []*Node
	var names []string
	for n := range s.nodes.all() {
		names = append(names, n.Name)
		if n.Name == ref {
			named = append(named, n)
		}
		if len(ref) >= MinNodePrefix && strings.HasPrefix(string(n.ID), ref) {
			begun = append(begun, n)
		}
	}
	found := named
	if len(found) == 0 {
		found = begun
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		e := NotFound("node", "no node %s", quote(ref))
		if near := Nearest(ref, names); len(near) > 0 {
			e = e.Because("nearest: %s", strings.Join(near, ", "))
		}
		return nil, e.WithHint("list them with: paas nodes")
	}
	var which []string
	for _, n := range found {
		which = append(which, n.Name+" is "+string(n.ID))
	}
	slices.Sort(which)
	return nil, Conflict("node_ambiguous", "node %s may be one of %d", quote(ref), len(found)).
		Because("%s", strings.Join(which, ", ")).WithHint("name it by its ID")
}
