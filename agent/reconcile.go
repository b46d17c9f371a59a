package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"paas/api"
	"paas/cluster"
)

const (
	// pollInterval is the slow look at the engine behind its event stream.
	pollInterval = 10 * time.Second
	// reconcileRetry is the wait after a failed pass, doubling up to the poll.
	reconcileRetry = 500 * time.Millisecond
)

// reconciler makes the node have what is assigned to it. It is level-triggered:
// every pass reads the newest assignments and what the engine has.
type reconciler struct {
	shared *shared
	log    *slog.Logger
	dirty  chan struct{} // capacity 1: look again; never closed

	mu       sync.Mutex // guards what follows
	set      *api.AssignmentSet
	fresh    bool // set came from a server, not from disk
	replicas map[cluster.AllocationID]*replica

	// For run's goroutine only.
	sweeping map[string]chan struct{} // containers being removed, closed when done
	removals *removals
	work     sync.WaitGroup // replicas, sweeps and ends of volumes
}

func newReconciler(s *shared, set *api.AssignmentSet) *reconciler {
	return &reconciler{shared: s, log: s.log, dirty: make(chan struct{}, 1), set: set,
		replicas: map[cluster.AllocationID]*replica{}, sweeping: map[string]chan struct{}{}, removals: newRemovals()}
}

// assign replaces what the node should have.
func (m *reconciler) assign(set *api.AssignmentSet) {
	m.mu.Lock()
	m.set, m.fresh = set, true
	m.mu.Unlock()
	wake(m.dirty)
}

// assignment is what is assigned under id.
func (m *reconciler) assignment(id cluster.AllocationID) (api.Assignment, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.set != nil {
		for _, a := range m.set.Assignments {
			if a.ID == id {
				return a, true
			}
		}
	}
	if r, ok := m.replicas[id]; ok {
		return r.assignment(), true
	}
	return api.Assignment{}, false
}

// images are those of everything that is assigned or still has a replica.
func (m *reconciler) images() []imageRef {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []imageRef
	add := func(a api.Assignment) { out = append(out, imageRef{Registry: m.shared.registry(), Image: a.Image}) }
	if m.set != nil {
		for _, a := range m.set.Assignments {
			add(a)
		}
	}
	for _, r := range m.replicas {
		add(r.assignment())
	}
	return out
}

// run reconciles until ctx ends, then waits for the replicas. settled is called
// after each good pass over a server's set.
func (m *reconciler) run(ctx context.Context, settled func()) error {
	defer m.work.Wait()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	wait := reconcileRetry
	retry := time.NewTimer(0) // the first pass
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.dirty: // the watcher's word that the engine is back waits for no retry
		case <-retry.C:
		case <-tick.C:
		}
		fresh, err := m.pass(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			m.log.Debug("reconcile pass not done", "err", err) // the engine's watcher says once that it is gone
			retry.Reset(wait)
			wait = min(2*wait, pollInterval)
		case err == nil:
			retry.Stop()
			wait = reconcileRetry
			if fresh {
				settled()
			}
		}
	}
}

// pass compares and acts once. It reports whether it worked on a server's set.
func (m *reconciler) pass(ctx context.Context) (fresh bool, err error) {
	m.mu.Lock()
	set, fresh := m.set, m.fresh
	m.mu.Unlock()
	if set == nil {
		return false, nil // never told anything: nothing here is known to be unwanted
	}
	all, err := m.shared.runtime.containers.List(ctx)
	if err != nil {
		return false, fmt.Errorf("list containers: %w", err)
	}
	for _, a := range diff(m.shared.life, set.Assignments, m.known(), m.unswept(all)) {
		m.log.Debug("reconcile action", "action", a.Kind, "alloc", a.ID, "container", a.Container)
		m.act(ctx, a)
	}
	m.destroyVolumes(ctx, set, all)
	return fresh, nil
}

// known is what diff must know of the allocations here. Replicas are looked at
// before the board: one that ends has put its end there before it is gone, and
// would otherwise be seen as neither, and be started again.
func (m *reconciler) known() map[cluster.AllocationID]known {
	out := map[cluster.AllocationID]known{}
	m.mu.Lock()
	for id, r := range m.replicas {
		out[id] = known{Desired: r.assignment().Desired}
	}
	m.mu.Unlock()
	for id, o := range m.shared.board.snapshot() {
		k := out[id]
		k.State, k.Container = o.State, o.ContainerID
		out[id] = k
	}
	return out
}

// unswept is all without the containers that are being removed already.
func (m *reconciler) unswept(all []container) []container {
	for id, done := range m.sweeping {
		select {
		case <-done: // if it did not go, it is tried again
			delete(m.sweeping, id)
		default:
		}
	}
	return slices.DeleteFunc(all, func(c container) bool { return m.sweeping[c.ID] != nil })
}

func (m *reconciler) act(ctx context.Context, a action) {
	switch a.Kind {
	case actionStart:
		m.start(ctx, a)
	case actionForget:
		m.shared.board.forget(a.ID)
		m.shared.archive.forget(a.ID)
	case actionRemove:
		m.sweep(ctx, a.Container)
	case actionTell, actionStop, actionLook:
		m.mu.Lock()
		r := m.replicas[a.ID]
		m.mu.Unlock()
		if r != nil { // else it has ended since diff saw it, which makes another pass
			r.act(a)
		}
	}
}

// act does what is for a replica to do.
func (r *replica) act(a action) {
	switch a.Kind {
	case actionTell:
		r.update(a.Assignment)
	case actionStop:
		want := r.assignment()
		want.Desired = cluster.DesiredStop
		r.update(want)
	case actionLook:
		wake(r.poke)
	}
}

// start gives an allocation its replica.
func (m *reconciler) start(ctx context.Context, a action) {
	r := newReplica(m.shared, a.Assignment, a.Container)
	m.mu.Lock()
	m.replicas[a.ID] = r
	m.mu.Unlock()
	m.work.Go(func() {
		r.run(ctx)
		m.mu.Lock()
		delete(m.replicas, a.ID)
		m.mu.Unlock()
		wake(m.dirty)
	})
}

// sweep removes a container that belongs to nobody, as gently as a replica's.
func (m *reconciler) sweep(ctx context.Context, id string) {
	m.log.Info("removing a container that nobody wants", "container", id)
	done := make(chan struct{})
	m.sweeping[id] = done
	m.work.Go(func() {
		defer close(done)
		c := m.shared.runtime.containers
		err := c.Stop(ctx, id, cluster.DefaultStopGrace)
		if err == nil {
			err = c.Remove(ctx, id)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, errNoContainer) {
			m.log.Warn("container not removed", "container", id, "err", err)
		}
	})
}

// look makes the replica of an allocation look at its container.
func (m *reconciler) look(e containerEvent) {
	m.mu.Lock()
	r := m.replicas[e.Allocation]
	m.mu.Unlock()
	if r == nil {
		return
	}
	if e.OOM {
		r.oom.Store(true)
	}
	if e.Killed {
		r.killed.Store(true)
	}
	wake(r.poke)
}

// lookAll makes everybody look, after a time in which news may have been missed.
func (m *reconciler) lookAll() {
	m.mu.Lock()
	for _, r := range m.replicas {
		wake(r.poke)
	}
	m.mu.Unlock()
	wake(m.dirty)
}
