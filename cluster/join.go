package cluster

import (
	"iter"
	"time"
)

// Join is the right of one host to join the cluster, once: what the state keeps of
// a join string.
type Join struct {
	ID   TokenID `json:"id"`
	Hash []byte  `json:"-" cbor:"hash"` // SHA-256 of the secret half, which has 256 random bits
	// Server says that the host becomes a server; otherwise it becomes an agent.
	Server    bool      `json:"server"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	ExpiresAt time.Time `json:"expires_at"`

	// Key is the SHA-256 of the public key of the host that joined; empty until one
	// did. The same host may ask again, for the answer may not have reached it.
	Key    []byte    `json:"-" cbor:"key,omitempty"`
	UsedAt time.Time `json:"used_at,omitzero"`
	Node   NodeID    `json:"node,omitempty"` // who the host became
}

// Used reports whether a host joined with j.
func (j *Join) Used() bool { return j.Node != "" }

// Validate reports why j cannot be kept.
func (j *Join) Validate() error {
	if err := j.ID.Validate(); err != nil {
		return err
	}
	if len(j.Hash) != 32 {
		return Invalid("join", "join string %s has no hash", j.ID)
	}
	return nil
}

// Removed remembers a node that was removed, so that its certificate is good for
// nothing as long as it lives.
type Removed struct {
	Node NodeID    `json:"node"`
	Name string    `json:"name"`
	At   time.Time `json:"at"`
	// Until is when no certificate of the node can be valid any more; zero is never.
	Until time.Time `json:"until,omitzero"`
}

// Join returns a join string's record by its public half, or an Error of KindNotFound.
func (s *State) Join(id TokenID) (*Join, error) {
	if j, ok := s.joins.get(id); ok {
		return j, nil
	}
	return nil, NotFound("join", "no join string %s", quote(string(id))).WithHint("list them with: paas join list")
}

// Joins yields the join strings by ID: those that are good, and for a while those
// that were used or have expired.
func (s *State) Joins() iter.Seq[*Join] { return s.joins.all() }

// Removed yields the removed nodes whose certificates may still be valid, by ID.
func (s *State) Removed() iter.Seq[*Removed] { return s.removed.all() }

// WasRemoved reports whether the node of that ID was removed.
func (s *State) WasRemoved(id NodeID) bool {
	_, ok := s.removed.get(id)
	return ok
}

// PutJoin stores j, new or changed.
func (d *Draft) PutJoin(j Join) { d.s.joins = d.s.joins.set(j.ID, &j) }

// RemoveJoin drops a join string's record.
func (d *Draft) RemoveJoin(id TokenID) { d.s.joins = d.s.joins.del(id) }

// PutRemoved remembers a removed node.
func (d *Draft) PutRemoved(r Removed) { d.s.removed = d.s.removed.set(r.Node, &r) }

// ForgetRemoved drops what is remembered of a removed node.
func (d *Draft) ForgetRemoved(id NodeID) { d.s.removed = d.s.removed.del(id) }
