package cluster

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a repository's refs: they are part of the state, which every server
// holds in memory. A branch name has as many bytes as an app's longest host name,
// with room to spare; no mirror that people push has ten thousand refs.
const (
	MaxRefs    = 10_000
	MaxRefName = 512
)

// Repository is where the refs of an app's git history are: the truth, whatever a
// server's disk says. The objects are on the servers' disks, on a majority of them
// before a ref moves to one.
type Repository struct {
	App  AppName `json:"app"`
	Refs []Ref   `json:"refs"` // by name, each once
	// Index is the Raft index of the last change.
	Index uint64 `json:"index"`
}

// Ref is one name and the full hash of the object that it points at.
type Ref struct {
	Name string `json:"name"` // "refs/heads/main"
	Hash string `json:"hash"`
}

// RefMove is one change of a ref. "" in place of a hash says that the ref is not there.
type RefMove struct {
	Name string `json:"name"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// Hash is where a ref is, "" if it is not there; r may be nil.
func (r *Repository) Hash(name string) string {
	if r == nil {
		return ""
	}
	if i, found := r.find(name); found {
		return r.Refs[i].Hash
	}
	return ""
}

// Moved returns r after a move, whatever the ref was before.
func (r Repository) Moved(m RefMove) Repository {
	i, found := r.find(m.Name)
	r.Refs = slices.Clone(r.Refs)
	switch {
	case found && m.New == "":
		r.Refs = slices.Delete(r.Refs, i, i+1)
	case found:
		r.Refs[i].Hash = m.New
	case m.New != "":
		r.Refs = slices.Insert(r.Refs, i, Ref{Name: m.Name, Hash: m.New})
	}
	return r
}

func (r *Repository) find(name string) (int, bool) {
	return slices.BinarySearchFunc(r.Refs, name, func(x Ref, name string) int { return strings.Compare(x.Name, name) })
}

// fullHashRE is a hash of git's, SHA-1 or SHA-256.
var fullHashRE = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// Validate reports why m cannot be kept. What git itself has against a name git says.
func (m RefMove) Validate() error {
	if !strings.HasPrefix(m.Name, "refs/") || len(m.Name) > MaxRefName || !utf8.ValidString(m.Name) ||
		strings.ContainsFunc(m.Name, func(r rune) bool { return r == ' ' || unicode.IsControl(r) }) {
		return Invalid("ref", "branch or tag %s cannot be kept", quote(m.Name)).
			Because("its full name begins with refs/, is UTF-8 text without spaces, and has at most %d bytes", MaxRefName).WithHint("push it under another name")
	}
	for _, hash := range []string{m.Old, m.New} {
		if hash != "" && !fullHashRE.MatchString(hash) {
			return Invalid("ref", "%s cannot be moved", quote(m.Name)).Because("a hash has 40 or 64 lower-case hex digits")
		}
	}
	return nil
}

// Repository is an app's, nil if none was recorded: the app is not there, or is of
// a time when the state knew of no refs.
func (s *State) Repository(app AppName) *Repository {
	r, _ := s.repositories.get(app)
	return r
}

// PutRepository stores r and stamps its index.
func (d *Draft) PutRepository(r Repository) {
	r.Index = d.s.index
	d.s.repositories = d.s.repositories.set(r.App, &r)
}
