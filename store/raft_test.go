package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"paas/cluster"
)

// group is several servers in one bubble of fake time, on memory stores.
type group struct {
	t          *testing.T
	stores     []*Store
	transports []*raft.InmemTransport
	logs       []*faultyLog
	out        bytes.Buffer // what they logged, from level info
	stop       func()
}

// faultyLog is a Raft log whose writes can be made to fail, as on a full disk.
type faultyLog struct {
	*raft.InmemStore
	mu  sync.Mutex
	err error
}

func (f *faultyLog) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *faultyLog) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *faultyLog) StoreLog(log *raft.Log) error { return f.StoreLogs([]*raft.Log{log}) }
func (f *faultyLog) StoreLogs(logs []*raft.Log) error {
	if err := f.failure(); err != nil {
		return err
	}
	return f.InmemStore.StoreLogs(logs)
}
func (f *faultyLog) Set(k, v []byte) error {
	if err := f.failure(); err != nil {
		return err
	}
	return f.InmemStore.Set(k, v)
}
func (f *faultyLog) SetUint64(k []byte, v uint64) error {
	if err := f.failure(); err != nil {
		return err
	}
	return f.InmemStore.SetUint64(k, v)
}

// newGroup starts n servers; call it inside a bubble, and stop at its end.
func newGroup(t *testing.T, n int) *group {
	t.Helper()
	g := &group{t: t}
	logger := slog.New(slog.NewTextHandler(&g.out, nil))
	var members raft.Configuration
	for i := range n {
		c := Config{Node: cluster.NodeID(fmt.Sprintf("%016x", i)), HeartbeatTimeout: defaultTimeout, LeaderLease: defaultLease, Logger: logger}.withDefaults()
		address, transport := raft.NewInmemTransport(raft.ServerAddress(string(c.Node)))
		log := &faultyLog{InmemStore: raft.NewInmemStore()}
		st := &stores{
			disk:      &disk{LogStore: log, stable: log, logger: c.Logger},
			snapshots: raft.NewInmemSnapshotStore(), transport: transport, close: func() error { return nil },
		}
		members.Servers = append(members.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(c.Node), Address: address})
		g.stores, g.transports, g.logs = append(g.stores, newStore(c, st)), append(g.transports, transport), append(g.logs, log)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i, s := range g.stores {
		g.heal(i)
		if err := raft.BootstrapCluster(s.cfg.raftConfig(), s.stores.disk, s.stores.disk, s.stores.snapshots, s.stores.transport, members); err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Errorf("run server %d: %v", i, err)
			}
		})
	}
	g.stop = func() { cancel(); running.Wait() }
	return g
}

// cut takes server i off the net; heal brings it back.
func (g *group) cut(i int) {
	g.transports[i].DisconnectAll()
	for _, t := range g.transports {
		t.Disconnect(g.transports[i].LocalAddr())
	}
}

func (g *group) heal(i int) {
	for j, t := range g.transports {
		if i != j {
			t.Connect(g.transports[i].LocalAddr(), g.transports[i])
			g.transports[i].Connect(t.LocalAddr(), t)
		}
	}
}

// leader waits until one of the servers other than except leads.
func (g *group) leader(except ...int) int {
	g.t.Helper()
	began := time.Now()
	for time.Since(began) < 20*time.Second {
		for i, s := range g.stores {
			if !slices.Contains(except, i) && s.Leading() {
				return i
			}
		}
		<-time.After(10 * time.Millisecond)
	}
	g.t.Fatal("no leader in 20s")
	return -1
}

// converge waits until all servers have the same state.
func (g *group) converge() {
	g.t.Helper()
	<-time.After(5 * time.Second)
	want := stateBytes(g.t, g.stores[0].State())
	for i, s := range g.stores {
		if !bytes.Equal(want, stateBytes(g.t, s.State())) {
			g.t.Errorf("server %d is at index %d with another state than server 0 at %d", i, s.State().Index(), g.stores[0].State().Index())
		}
	}
}

func (g *group) propose(i int, c Command) Outcome {
	g.t.Helper()
	out, err := g.stores[i].Propose(g.t.Context(), c)
	if err != nil {
		g.t.Fatalf("propose %T on server %d: %v", c, i, err)
	}
	return out
}

func TestFollowersGetEveryWriteAndRefuseProposals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		defer g.stop()
		l := g.leader()
		g.propose(l, bootstrapCommand())
		g.propose(l, CreateApp{By: by(1), Name: "blog"})
		g.converge()
		f := (l + 1) % 3
		_, err := g.stores[f].Propose(t.Context(), CreateApp{By: by(2), Name: "shop"})
		var e *cluster.Error
		if !errors.As(err, &e) || e.Kind != cluster.KindUnavailable || e.Code != "not_leader" {
			t.Errorf("proposal to a follower: %v", err)
		}
		if id, ok := g.stores[f].Leader(); !ok || id != g.stores[l].cfg.Node {
			t.Errorf("follower says %s leads (%v), want %s", id, ok, g.stores[l].cfg.Node)
		}
		if _, err := g.stores[f].Read(t.Context()); cluster.KindOf(err) != cluster.KindUnavailable {
			t.Errorf("read on a follower: %v", err)
		}
	})
}

func TestFailoverKeepsAcknowledgedWritesAndRefusesStaleReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		defer g.stop()
		old := g.leader()
		g.propose(old, bootstrapCommand())
		g.propose(old, CreateApp{By: by(1), Name: "before"})
		g.cut(old)
		began := time.Now()
		l := g.leader(old)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("failover took %s", took)
		}
		if _, err := g.stores[l].State().App("before"); err != nil {
			t.Errorf("the new leader does not have an acknowledged write: %v", err)
		}
		g.propose(l, CreateApp{By: by(2), Name: "after"})
		if _, err := g.stores[old].Read(t.Context()); cluster.KindOf(err) != cluster.KindUnavailable {
			t.Errorf("a leader without a majority answered a read: %v", err)
		}
		if _, err := g.stores[old].Propose(t.Context(), CreateApp{By: by(3), Name: "lost"}); cluster.KindOf(err) != cluster.KindUnavailable {
			t.Errorf("a leader without a majority took a write: %v", err)
		}
		g.heal(old)
		g.converge()
		st, err := g.stores[g.leader()].Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.App("after"); err != nil {
			t.Errorf("write of the second term is gone: %v", err)
		}
		if _, err := st.App("lost"); err == nil {
			t.Error("an unacknowledged write of the old leader is there")
		}
	})
}

func TestProposalGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		defer g.stop()
		l := g.leader()
		g.propose(l, bootstrapCommand())
		g.cut(l)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := g.stores[l].Propose(ctx, CreateApp{By: by(1), Name: "blog"})
		var e *cluster.Error
		if !errors.As(err, &e) || e.Code != "outcome_unknown" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want outcome_unknown", err)
		}
	})
}

// TestReadIsNoChange: one that a leader without a majority gives up, or is too late for,
// says nothing of a change that may have been made.
func TestReadIsNoChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		defer g.stop()
		l := g.leader()
		g.propose(l, bootstrapCommand())
		g.cut(l)
		<-time.After(10 * time.Millisecond) // what was on its way before has arrived
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		for _, c := range []struct {
			ctx  context.Context
			code string
		}{{ctx, "not_read"}, {t.Context(), "not_leader"}} {
			_, err := g.stores[l].Read(c.ctx)
			var e *cluster.Error
			if !errors.As(err, &e) || e.Kind != cluster.KindUnavailable || e.Code != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
		}
	})
}

func TestFullDiskRefusesWritesAndHealsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 1)
		defer g.stop()
		s := g.stores[0]
		g.leader()
		g.propose(0, bootstrapCommand())
		full := errors.New("no space left on device")
		g.logs[0].fail(full)
		for i := range 5 { // through the step-down and the elections that fail after it
			_, err := s.Propose(t.Context(), CreateApp{By: by(1), Name: "blog"})
			var e *cluster.Error
			if !errors.As(err, &e) || e.Kind != cluster.KindUnavailable || e.Code != "log_write" || e.Reason != full.Error() {
				t.Fatalf("attempt %d on a full disk: %v", i, err)
			}
			<-time.After(time.Second)
		}
		if s.Leading() {
			t.Error("it says that it leads")
		}
		g.logs[0].fail(nil)
		g.leader()
		g.propose(0, CreateApp{By: by(2), Name: "blog"})
	})
}

func TestFullDiskOfTheLeaderMovesLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		defer g.stop()
		old := g.leader()
		g.propose(old, bootstrapCommand())
		g.logs[old].fail(errors.New("no space left on device"))
		_, err := g.stores[old].Propose(t.Context(), CreateApp{By: by(1), Name: "blog"})
		if cluster.KindOf(err) != cluster.KindUnavailable {
			t.Fatalf("write on a full disk: %v", err)
		}
		l := g.leader(old)
		g.propose(l, CreateApp{By: by(2), Name: "blog"})
		g.logs[old].fail(nil)
		g.converge()
	})
}

func TestTermThatCouldNotBeSavedBlocksVotesUntilItIs(t *testing.T) {
	log := &faultyLog{InmemStore: raft.NewInmemStore()}
	d := &disk{LogStore: log, stable: log, logger: quiet()}
	log.fail(errors.New("I/O error"))
	if err := d.SetUint64(keyCurrentTerm, 7); err != nil {
		t.Fatalf("saving the term: %v: Raft would panic", err)
	}
	if term, err := d.GetUint64(keyCurrentTerm); err != nil || term != 7 {
		t.Errorf("term is %d, %v", term, err)
	}
	if err := d.Set([]byte("LastVoteCand"), []byte("x")); err == nil {
		t.Error("a vote was saved without its term")
	}
	log.fail(nil)
	if err := d.Set([]byte("LastVoteCand"), []byte("x")); err != nil || d.err() != nil {
		t.Errorf("vote after repair: %v, %v", err, d.err())
	}
	if term, err := log.GetUint64(keyCurrentTerm); err != nil || term != 7 {
		t.Errorf("term on disk is %d, %v, want 7", term, err)
	}
}

func TestLeadershipIsToldOnceAndCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 1)
		defer g.stop()
		if !<-g.stores[0].LeaderChanges() {
			t.Fatal("told that it does not lead")
		}
		g.propose(0, bootstrapCommand())
		g.stop()
		if <-g.stores[0].LeaderChanges() {
			t.Error("told that a stopped server leads")
		}
	})
}

func TestPredecessorIsWhoLedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		defer g.stop()
		old := g.leader()
		if id, _ := g.stores[old].Predecessor(); id != "" {
			t.Errorf("before the first leader: %s", id)
		}
		<-time.After(time.Minute)
		g.cut(old)
		at := time.Now()
		next := g.leader(old)
		id, heard := g.stores[next].Predecessor()
		if silent := at.Sub(heard); id != g.stores[old].cfg.Node || silent < 0 || silent > defaultTimeout {
			t.Errorf("%s, silent for %s when it was cut off", id, silent)
		}
	})
}
