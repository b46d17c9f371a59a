package cluster

// Mark stands for a part of a State as it is. Two that are equal say that nothing was
// written to that part between their states; comparing them costs nothing, however
// large it is. That they differ says nothing: a write may have changed nothing.
type Mark struct{ of <-chan struct{} }

// Marks are the marks of whole tables.
type Marks struct{ Apps, Releases, Allocations, Nodes, Removed, Domains, Volumes Mark }

// Marks returns what s has.
func (s *State) Marks() Marks {
	return Marks{Apps: s.apps.mark(""), Releases: s.releases.mark(""), Allocations: s.allocations.mark(""),
		Nodes: s.nodes.mark(""), Removed: s.removed.mark(""), Domains: s.domains.mark(""), Volumes: s.volumes.mark("")}
}

// MarkOf is the mark of an app's allocations.
func (s *State) MarkOf(app AppName) Mark { return s.allocations.mark(string(app) + "/") }

// mark is the mark of the values whose keys start with p. A tree never changes a node,
// but replaces it and all that lead to it; each has a channel of its own, of which only
// the identity counts here.
func (t table[K, V]) mark(p string) Mark {
	if t.tree == nil {
		return Mark{}
	}
	return Mark{t.tree.Root().Iterator().SeekPrefixWatch([]byte(p))}
}
