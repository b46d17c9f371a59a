package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"paas/cluster"
)

// Config describes one server's store.
type Config struct {
	// Dir holds the log (raft.db) and the snapshots; it is made if it is missing.
	Dir string
	// Node is this server, to the other servers too: its Raft address is its ID.
	Node cluster.NodeID
	// Transport carries Raft between servers. nil means a single voter for good, which
	// reaches nobody.
	Transport *Transport
	Logger    *slog.Logger // nil discards

	HeartbeatTimeout time.Duration // 0 means 300 ms, without a Transport 1 s
	ElectionTimeout  time.Duration // 0 means 300 ms, without a Transport 1 s
	LeaderLease      time.Duration // 0 means 300 ms, without a Transport 1 s
	CommitTimeout    time.Duration // 0 means 100 ms
}

// drainTime bounds how long Run waits for proposals under way before it stops.
const drainTime = 2 * time.Second

// Store is one server's replica of the cluster's state. All methods are safe
// for concurrent use.
type Store struct {
	cfg    Config
	stores *stores
	fsm    *fsm
	view   *view

	raft    atomic.Pointer[raft.Raft] // nil before Run
	leading atomic.Bool
	// readTerm is the term in which this leader's state was last known to hold
	// everything committed before it.
	readTerm atomic.Uint64
	leaders  chan bool // capacity 1, newest value; Run sends, nobody closes
	lead     *lead
	caughtUp chan struct{} // closed by closeCaughtUp

	caughtUpOnce sync.Once

	mu       sync.Mutex
	started  bool           // Run or Close was called
	closing  bool           // no proposal is taken any more
	inFlight sync.WaitGroup // proposals; Add only under mu while not closing
	gone     chan struct{}  // closed when Raft has stopped
}

// Open opens the log and the snapshots in c.Dir. The store must be Run or Closed.
func Open(c Config) (*Store, error) {
	if err := c.Node.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	st, err := openStores(c)
	if err != nil {
		return nil, err
	}
	return newStore(c, st), nil
}

func newStore(c Config, st *stores) *Store {
	v := newView(c.Logger)
	return &Store{
		cfg: c, stores: st, view: v, fsm: &fsm{view: v},
		leaders: make(chan bool, 1), gone: make(chan struct{}), lead: newLead(), caughtUp: make(chan struct{}),
	}
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("component", "store")
	timeout, lease := defaultTimeout, defaultLease
	if c.Transport == nil {
		timeout, lease = aloneTimeout, aloneTimeout
	}
	c.HeartbeatTimeout = cmp.Or(c.HeartbeatTimeout, timeout)
	c.ElectionTimeout = cmp.Or(c.ElectionTimeout, c.HeartbeatTimeout)
	c.LeaderLease = min(cmp.Or(c.LeaderLease, lease), c.HeartbeatTimeout)
	c.CommitTimeout = cmp.Or(c.CommitTimeout, defaultCommit)
	return c
}

// Bootstrap makes a new group of which this server is the only voter. It does
// nothing when the directory already holds one. It must be called before Run.
func (s *Store) Bootstrap() error {
	st := s.stores
	err := raft.BootstrapCluster(s.cfg.raftConfig(), st.disk, st.disk, st.snapshots, st.transport, s.cfg.alone())
	if errors.Is(err, raft.ErrCantBootstrap) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bootstrap store: %w", err)
	}
	return nil
}

// Run takes part in the Raft group until ctx ends. It waits a moment for the
// proposals under way, stops Raft and closes everything; the store cannot be
// used again, but State keeps the last state.
func (s *Store) Run(ctx context.Context) error {
	if !s.start() {
		return errors.New("run store: it was run or closed before")
	}
	cache, err := raft.NewLogCache(cachedEntries, s.stores.disk)
	if err != nil {
		return errors.Join(fmt.Errorf("run store: %w", err), s.stores.close())
	}
	r, err := raft.NewRaft(s.cfg.raftConfig(), s.fsm, cache, s.stores.disk, s.stores.snapshots, s.stores.transport)
	if err != nil {
		return errors.Join(fmt.Errorf("start raft: %w", err), s.stores.close())
	}
	s.raft.Store(r)
	if err := s.hasten(r); err != nil {
		s.cfg.Logger.Debug("first election waits for its time", "err", err)
	}
	var watching sync.WaitGroup
	watching.Go(func() { s.observeLeader(ctx, r) })
	watching.Go(func() { s.watchCatchUp(ctx, r) })
	s.followLeadership(ctx, r)
	watching.Wait()
	return s.stop(r)
}

// start reports whether the caller is the first to run or close the store.
func (s *Store) start() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.started
	s.started = true
	return first
}

// Close closes a store that was never run; after Run it does nothing.
func (s *Store) Close() error {
	if !s.start() {
		return nil
	}
	return errors.Join(s.stores.hangUp(), s.stores.close())
}

// stop ends Raft after the proposals under way, or after drainTime.
func (s *Store) stop(r *raft.Raft) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	drained := make(chan struct{})
	go func() {
		s.inFlight.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-time.After(drainTime):
	}
	err := r.Shutdown().Error()
	s.setLeading(false)
	close(s.gone) // proposals that Raft forgot are answered by this
	<-drained
	if err := errors.Join(err, s.stores.hangUp(), s.stores.close()); err != nil {
		return fmt.Errorf("stop store: %w", err)
	}
	return nil
}

// State is the newest applied state. It never blocks. Before the first leader is
// known after a start it may be older than what was acknowledged before.
func (s *Store) State() *cluster.State { return s.view.state() }

// Changed returns a channel that is closed when State().Index() > after.
func (s *Store) Changed(after uint64) <-chan struct{} { return s.view.changed(after) }
