package server

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"paas/cluster"
	"paas/store"
)

const (
	maxFileBytes = 256 << 10
	maxLockTTL   = 10 * time.Minute
)

// nodeCalls serves what the agents' routers ask: the replicated certificate
// storage and the edge CA. It implements api.ServerCalls. Values are sealed
// before they enter the store.
type nodeCalls struct {
	*control
	assign *assigner
}

// LoadFile implements api.ServerCalls.
func (n *nodeCalls) LoadFile(ctx context.Context, key string) ([]byte, time.Time, error) {
	st, err := n.store.Read(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	f, ok := st.File(key)
	if !ok {
		return nil, time.Time{}, fs.ErrNotExist
	}
	value, err := n.sealer.Open(f.Value, "file/"+key)
	return value, f.ModifiedAt, err
}

// StoreFile implements api.ServerCalls.
func (n *nodeCalls) StoreFile(ctx context.Context, key string, value []byte) error {
	if key == "" || len(value) > maxFileBytes {
		return cluster.Invalid("file", "the file cannot be stored").Because("it needs a key, and at most %d bytes", maxFileBytes)
	}
	sealed, err := n.sealer.Seal(value, "file/"+key)
	if err != nil {
		return err
	}
	_, err = n.store.Propose(ctx, store.PutFile{By: platform(), Key: key, Value: sealed})
	return err
}

// DeleteFile implements api.ServerCalls.
func (n *nodeCalls) DeleteFile(ctx context.Context, key string) error {
	if key == "" {
		return cluster.Invalid("file", "no file is named")
	}
	_, err := n.store.Propose(ctx, store.DeleteFile{By: platform(), Key: key})
	return err
}

// ListFiles implements api.ServerCalls.
func (n *nodeCalls) ListFiles(ctx context.Context, prefix string) ([]string, error) {
	st, err := n.store.Read(ctx)
	if err != nil {
		return nil, err
	}
	keys := []string{}
	for f := range st.Files(prefix) {
		keys = append(keys, f.Key)
	}
	return keys, nil
}

// Lock implements api.ServerCalls.
func (n *nodeCalls) Lock(ctx context.Context, name, holder string, ttl time.Duration) error {
	if name == "" || holder == "" || ttl < 0 || ttl > maxLockTTL {
		return cluster.Invalid("lock", "the lease cannot be given").Because("it needs a name, a holder, and lasts at most %s", maxLockTTL)
	}
	var cmd store.Command = store.AcquireLock{By: platform(), Name: name, Holder: holder, TTL: ttl}
	if ttl == 0 {
		cmd = store.ReleaseLock{By: platform(), Name: name, Holder: holder}
	}
	_, err := n.store.Propose(ctx, cmd)
	return err
}

// SignEdge implements api.ServerCalls: only for hosts in the route table, of those
// only for the ones that no public authority signs, and for the domain's wildcard,
// which routers answer with where nobody is.
func (n *nodeCalls) SignEdge(ctx context.Context, csr []byte) ([]byte, error) {
	st, err := n.store.Read(ctx)
	if err != nil {
		return nil, err
	}
	table := n.assign.routes(st)
	chain, err := n.edge.SignHosts(csr, func(host string) bool {
		if table.Domain != "" && host == "*."+string(table.Domain) {
			return true
		}
		i, ok := slices.BinarySearchFunc(table.Routes, cluster.Hostname(host), func(r cluster.Route, h cluster.Hostname) int {
			return cmp.Compare(r.Host, h)
		})
		return ok && (table.Routes[i].Internal || n.cfg.ACME.Directory == "")
	}, time.Now())
	if err != nil {
		return nil, fmt.Errorf("sign private host: %w", err)
	}
	return chain, nil
}
