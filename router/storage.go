package router

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"paas/cluster"
)

// remoteTimeout bounds one call to the servers, so that a session that hangs
// costs a handshake no more than that.
const remoteTimeout = 5 * time.Second

type diskOnlyKey struct{}

// diskOnly makes storage answer from this router's disk: at start, when
// certificates must be there before any server is.
func diskOnly(ctx context.Context) context.Context {
	return context.WithValue(ctx, diskOnlyKey{}, true)
}

// storage is certmagic's storage in the replicated store, so that any router
// answers any challenge and each certificate is ordered once. Everything that
// passes is kept on disk: when no server can be reached, reads come from there.
// Writes go through, and fail when they cannot.
type storage struct {
	local  *localStorage
	remote Certificates
	node   cluster.NodeID
	log    *slog.Logger

	mu     sync.Mutex
	leases map[string]*lease // by lock name
}

var _ certmagic.Storage = (*storage)(nil)

func newStorage(local *localStorage, remote Certificates, node cluster.NodeID, log *slog.Logger) *storage {
	return &storage{local: local, remote: remote, node: node, log: log, leases: map[string]*lease{}}
}

// Store writes to the servers, then to disk.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	if err := s.remote.StoreFile(ctx, key, value); err != nil {
		return fmt.Errorf("store %s: %w", key, err)
	}
	return s.local.Store(ctx, key, value)
}

// Load asks the servers, and the disk if they cannot be reached.
func (s *storage) Load(ctx context.Context, key string) ([]byte, error) {
	value, _, err := s.load(ctx, key)
	return value, err
}

func (s *storage) load(ctx context.Context, key string) ([]byte, time.Time, error) {
	if ctx.Value(diskOnlyKey{}) != nil {
		return s.loadLocal(ctx, key)
	}
	rctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	value, modified, err := s.remote.LoadFile(rctx, key)
	switch {
	case err == nil:
		if err := s.local.Store(ctx, key, value); err != nil {
			s.log.Warn("certificate file not kept", "err", err)
		}
		return value, modified, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, time.Time{}, err
	case ctx.Err() != nil:
		return nil, time.Time{}, ctx.Err()
	}
	value, modified, lerr := s.loadLocal(ctx, key)
	if lerr != nil {
		return nil, time.Time{}, fmt.Errorf("load %s: %w", key, err) // not "absent": nobody knows
	}
	return value, modified, nil
}

func (s *storage) loadLocal(ctx context.Context, key string) ([]byte, time.Time, error) {
	value, err := s.local.Load(ctx, key)
	if err != nil {
		return nil, time.Time{}, err
	}
	info, err := s.local.Stat(ctx, key)
	return value, info.Modified, err
}

// Delete removes key and everything below it.
func (s *storage) Delete(ctx context.Context, key string) error {
	rctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	if err := s.remote.DeleteFile(rctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return s.local.Delete(ctx, key)
}

// Exists reports whether key is a file or has files below it.
func (s *storage) Exists(ctx context.Context, key string) bool {
	if _, err := s.Load(ctx, key); err == nil {
		return true
	}
	below, err := s.List(ctx, key, true)
	return err == nil && len(below) > 0
}

// List returns what lies below dir.
func (s *storage) List(ctx context.Context, dir string, recursive bool) ([]string, error) {
	if ctx.Value(diskOnlyKey{}) != nil {
		return s.local.List(ctx, dir, recursive)
	}
	rctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	keys, err := s.remote.ListFiles(rctx, dir)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return children(keys, dir, recursive), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return s.local.List(ctx, dir, recursive)
}

// Stat describes a file.
func (s *storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	value, modified, err := s.load(ctx, key)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: key, Modified: modified, Size: int64(len(value)), IsTerminal: true}, nil
}
