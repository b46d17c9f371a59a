package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"paas/cluster"
)

const (
	logFile = "raft.db"
	// snapshotDir is the library's own name for it.
	snapshotDir = "snapshots"
	// keptSnapshots: the newest, and one before it should the newest be damaged.
	keptSnapshots = 2
	// cachedEntries are kept in memory for followers that are nearly up to date.
	cachedEntries = 512
	// lockWait bounds the wait for another process to let go of the log.
	lockWait = 2 * time.Second

	// The defaults of contract: half of Consul's production values, twice and more
	// the fsync of a busy disk.
	defaultTimeout = 300 * time.Millisecond
	defaultLease   = 300 * time.Millisecond
	// defaultCommit is how often followers are told what is committed when nothing new
	// tells them. Each time wakes all servers, also idle ones: 20 ms cost the leader of
	// three 3.4 % of a core, this costs 2 %, heartbeats included.
	defaultCommit = 100 * time.Millisecond
	// aloneTimeout is how often a server that is alone looks whether it still leads:
	// each look wakes an idle host. Nobody waits for it, see hasten.
	aloneTimeout = time.Second
)

// stores are where one server's Raft keeps its things.
type stores struct {
	disk      *disk
	snapshots raft.SnapshotStore
	transport raft.Transport
	close     func() error
}

// hangUp closes the transport.
func (s *stores) hangUp() error {
	if t, ok := s.transport.(raft.WithClose); ok {
		return t.Close()
	}
	return nil
}

// openStores opens log, snapshots and transport in c.Dir.
func openStores(c Config) (*stores, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := ownSnapshots(c.Dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	path := filepath.Join(c.Dir, logFile)
	if err := intact(path); err != nil {
		return nil, err
	}
	bolt, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: lockWait}, MsgpackUseNewTimeFormat: true})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, cluster.Conflict("store_locked", "the data directory is in use").
			Because("another process holds %s", path).WithHint("stop the other paas process first").Wrap(err)
	}
	if err != nil {
		return nil, fmt.Errorf("open raft log %s: %w", path, err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(c.Dir, keptSnapshots, newRaftLog(c.Logger))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open snapshots: %w", err), bolt.Close())
	}
	reserve := func() { reserveLog(path) }
	reserve()
	return &stores{
		disk:      &disk{LogStore: bolt, stable: bolt, logger: c.Logger, reserve: reserve},
		snapshots: snapshots,
		transport: c.transport(),
		close:     bolt.Close,
	}, nil
}

// ownSnapshots makes the folder of the snapshots before the library does, which
// would let everybody read what it puts there.
func ownSnapshots(dir string) error {
	dir = filepath.Join(dir, snapshotDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700) // one of an earlier version
}

// transport is the given one, or one that reaches nobody.
func (c Config) transport() raft.Transport {
	if c.Transport == nil {
		_, t := raft.NewInmemTransport(raft.ServerAddress(c.Node))
		return t
	}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: c.Transport, MaxPool: 3, Timeout: rpcTimeout, MsgpackUseNewTimeFormat: true, Logger: newRaftLog(c.Logger),
	})
}

// hasten makes a server that is alone a candidate at once, as one is to whom another
// hands the lead: there is nobody whose heartbeat it could wait for. Without it the
// first election comes after one to two heartbeat timeouts.
func (s *Store) hasten(r *raft.Raft) error {
	servers := r.GetConfiguration().Configuration().Servers
	if len(servers) != 1 || servers[0].ID != raft.ServerID(s.cfg.Node) {
		return nil
	}
	t := s.stores.transport
	if memory, ok := t.(*raft.InmemTransport); ok {
		memory.Connect(memory.LocalAddr(), memory)
		defer memory.Disconnect(memory.LocalAddr())
	}
	if network, ok := t.(*raft.NetworkTransport); ok {
		defer network.CloseStreams() // the one to itself, which nobody needs again
	}
	now := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
	return t.TimeoutNow(servers[0].ID, t.LocalAddr(), &now, &raft.TimeoutNowResponse{})
}

// raftConfig is c in Raft's terms.
func (c Config) raftConfig() *raft.Config {
	r := raft.DefaultConfig()
	r.LocalID = raft.ServerID(c.Node)
	r.HeartbeatTimeout = c.HeartbeatTimeout
	r.ElectionTimeout = c.ElectionTimeout
	r.LeaderLeaseTimeout = c.LeaderLease
	r.CommitTimeout = c.CommitTimeout
	r.BatchApplyCh = true
	r.MaxAppendEntries = 512
	r.ShutdownOnRemove = false
	r.NoLegacyTelemetry = true
	r.Logger = newRaftLog(c.Logger)
	return r
}

// alone is a group of which c's server is the only voter.
func (c Config) alone() raft.Configuration {
	return raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: raft.ServerID(c.Node), Address: raft.ServerAddress(c.Node),
	}}}
}
