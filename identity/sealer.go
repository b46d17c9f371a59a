package identity

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/crypto/chacha20poly1305"

	"paas/cluster"
)

// Sealer encrypts secrets with the cluster's key before they enter a command,
// and opens them where they are used. It is safe for concurrent use.
type Sealer struct {
	id   string
	aead cipher.AEAD
}

// NewSealKey draws a cluster's sealing key: 32 bytes.
func NewSealKey() []byte {
	key := make([]byte, chacha20poly1305.KeySize)
	_, _ = rand.Read(key) // never fails: crypto/rand aborts the process instead
	return key
}

// NewSealer makes a Sealer of a key that NewSealKey drew.
func NewSealer(key []byte) (*Sealer, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("make sealer: %w", err)
	}
	sum := sha256.Sum256(append([]byte("paas seal key id\x00"), key...))
	return &Sealer{id: hex.EncodeToString(sum[:8]), aead: aead}, nil
}

// LoadOrCreateSealKey reads the key file at path, or draws a key and writes it
// there (0600) when there is none. A file of the wrong size is an error, never
// replaced: what it sealed would be lost.
func LoadOrCreateSealKey(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := NewSealKey()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("create seal key: %w", err)
		}
		if err := WriteFile(path, []byte(hex.EncodeToString(key)+"\n")); err != nil {
			return nil, fmt.Errorf("create seal key: %w", err)
		}
		return key, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load seal key: %w", err)
	}
	if len(text) != 2*chacha20poly1305.KeySize+1 {
		return nil, fmt.Errorf("load seal key %s: it does not hold a key", path)
	}
	key, err := hex.DecodeString(string(text[:len(text)-1]))
	if err != nil {
		// The decoder's error would repeat bytes of the key.
		return nil, fmt.Errorf("load seal key %s: it does not hold a key", path)
	}
	return key, nil
}

// Seal encrypts plain for one purpose: opening it for another fails, so a value
// cannot be moved to where others may read it.
func (s *Sealer) Seal(plain []byte, purpose string) (cluster.Secret, error) {
	if purpose == "" {
		return cluster.Secret{}, errors.New("seal secret: no purpose")
	}
	box := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	_, _ = rand.Read(box) // never fails: crypto/rand aborts the process instead
	return cluster.Secret{Key: s.id, Box: s.aead.Seal(box, box, plain, []byte(purpose))}, nil
}

// Open decrypts what Seal made with the same key for the same purpose.
func (s *Sealer) Open(sec cluster.Secret, purpose string) ([]byte, error) {
	if sec.Key != s.id {
		return nil, fmt.Errorf("open secret for %s: sealed with key %q, this is %q", purpose, sec.Key, s.id)
	}
	if len(sec.Box) < chacha20poly1305.NonceSizeX {
		return nil, fmt.Errorf("open secret for %s: too short", purpose)
	}
	nonce, box := sec.Box[:chacha20poly1305.NonceSizeX], sec.Box[chacha20poly1305.NonceSizeX:]
	plain, err := s.aead.Open(nil, nonce, box, []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("open secret for %s: %w", purpose, err)
	}
	return plain, nil
}

// KeyID names the sealing key without revealing it.
func (s *Sealer) KeyID() string { return s.id }

// String names the key and never shows it.
func (s *Sealer) String() string { return "sealer " + s.id }

// GoString is String: %#v must not walk into the cipher.
func (s *Sealer) GoString() string { return s.String() }

// LogValue never shows the key.
func (s *Sealer) LogValue() slog.Value { return slog.StringValue(s.String()) }
