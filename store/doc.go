// Package store owns the verbs: the commands that change the cluster's state,
// their deterministic application, and the Raft group that makes them durable.
//
// Propose encodes a command, Raft commits it on a majority, every server decodes
// the same bytes and applies them to its cluster.State. Whoever must react to a
// change waits on Changed and reads the newest State; the state machine itself
// has no side effects.
//
//	Propose → CBOR → Raft log (bbolt, fsync) → apply(Draft) → State → Changed
//
// Apply reads no clock, no random numbers and no map in map order: times and
// identities are fields of the command. What apply refuses changes nothing and
// comes back as a *cluster.Error. Rules of the house are in DESIGN.md.
package store
