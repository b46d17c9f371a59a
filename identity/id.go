package identity

import (
	"crypto/rand"
	"encoding/hex"

	"paas/cluster"
)

// NewID draws an identity for a node or a cluster: 16 lower-case hex digits.
func NewID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the process instead
	return hex.EncodeToString(b)
}

// NewSecret draws 256 bits for who is told them: 64 lower-case hex digits.
func NewSecret() cluster.Redacted {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the process instead
	return cluster.Redacted(hex.EncodeToString(b))
}
