package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
)

// Secret is a value sealed with the cluster's key by package identity before it
// enters a command. No log, snapshot, backup or API body holds its plaintext.
// Printed, logged or sent as JSON it shows a fingerprint of the sealed bytes,
// so canonical exports can still be compared.
type Secret struct {
	Key string // ID of the sealing key
	Box []byte // nonce and ciphertext
}

// String never shows the value.
func (s Secret) String() string {
	if len(s.Box) == 0 {
		if strings.HasPrefix(s.Key, sealedMark) {
			return s.Key
		}
		return "[empty]"
	}
	sum := sha256.Sum256(s.Box)
	return sealedMark + hex.EncodeToString(sum[:6]) + "]"
}

// LogValue never shows the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is for JSON: the fingerprint. CBOR stores the fields.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText lets API clients read objects that hold secrets and print them
// again as they came: the fingerprint is all that they get.
func (s *Secret) UnmarshalText(b []byte) error {
	*s = Secret{}
	if strings.HasPrefix(string(b), sealedMark) {
		s.Key = string(b)
	}
	return nil
}

// sealedMark begins the fingerprint; no key ID looks like it.
const sealedMark = "[sealed "

// Redacted is a plaintext secret on its way through memory. It prints as dots
// everywhere; Reveal is the only way to the value.
type Redacted string

// Reveal returns the value. Callers are the sealing code, the agent's
// container environment and the audited config route.
func (r Redacted) Reveal() string { return string(r) }

func (r Redacted) String() string       { return "••••••" }
func (r Redacted) GoString() string     { return "cluster.Redacted(••••••)" }
func (r Redacted) LogValue() slog.Value { return slog.StringValue("••••••") }
