package identity

import (
	"crypto/rand"
	"encoding/hex"
)

// NewID draws an identity for a node or a cluster: 16 lower-case hex digits.
func NewID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the process instead
	return hex.EncodeToString(b)
}
