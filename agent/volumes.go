package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"paas/api"
	"paas/cluster"
)

// The agent's half of a volume's fence. The scheduler places no second replica
// while the first may be alive; but what its state has forgotten, the replica of an
// app that was destroyed while this node was cut off, may run here all the same. So
// nobody starts with a volume before everybody else who has it has ended.
//
// The end of a session ends nobody. It looks the same whether this node is cut off
// or all servers are dead, and then apps have to go on serving; and since the data
// is here and never moves, no replacement can have been started elsewhere. Only who
// is told that this node was removed ends what it runs (reconciler.fence): the
// cluster has given its work to somebody else, and a worker that goes on here takes
// jobs twice.

// users says who has which volume on this node. It is safe for concurrent use.
type users struct {
	mu      sync.Mutex
	of      map[cluster.VolumeID]cluster.AllocationID // guarded by mu
	changed chan struct{}                             // closed and replaced by release; guarded by mu
}

func newUsers() *users {
	return &users{of: map[cluster.VolumeID]cluster.AllocationID{}, changed: make(chan struct{})}
}

// take gives volumes to an allocation, all at once, when nobody else has any of
// them; an error means that ctx ended first.
func (u *users) take(ctx context.Context, id cluster.AllocationID, mounts []cluster.Mount) error {
	for {
		u.mu.Lock()
		free := !slices.ContainsFunc(mounts, func(m cluster.Mount) bool {
			other, used := u.of[m.Volume]
			return used && other != id
		})
		if free {
			for _, m := range mounts {
				u.of[m.Volume] = id
			}
		}
		changed := u.changed
		u.mu.Unlock()
		if free {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// release gives back what an allocation has.
func (u *users) release(id cluster.AllocationID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for v, user := range u.of {
		if user == id {
			delete(u.of, v)
		}
	}
	close(u.changed)
	u.changed = make(chan struct{})
}

// fence makes r the only user of its volumes: it waits for replicas of this agent,
// and ends containers that none of them cares for.
func (r *replica) fence(ctx, live context.Context) error {
	a := r.assignment()
	if len(a.Mounts) == 0 {
		return nil
	}
	if err := r.users.take(live, a.ID, a.Mounts); err != nil {
		return err
	}
	return patiently(live, func() error { return r.evict(ctx, a) })
}

// evict ends whatever runs with one of a's volumes.
func (r *replica) evict(ctx context.Context, a api.Assignment) error {
	all, err := r.runtime.containers.List(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if !c.Running || !slices.ContainsFunc(a.Mounts, func(m cluster.Mount) bool { return slices.Contains(c.Volumes, m.Volume) }) {
			continue
		}
		r.log.Warn("ending a container that has the same volume", "container", c.ID, "other", c.Allocation)
		if err := r.runtime.containers.Stop(ctx, c.ID, cluster.DefaultStopGrace); err != nil {
			return fmt.Errorf("stop container %s with the same volume: %w", c.ID, err)
		}
	}
	return nil
}

// fence ends everything, for this node is no member of the cluster any more. Volumes
// keep their data. The set that is left is what the agent has from now on; nil if
// nothing has to end.
func (m *reconciler) fence() *api.AssignmentSet {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.set == nil {
		return nil
	}
	left := *m.set
	left.Assignments = slices.Clone(m.set.Assignments)
	left.Destroyed = nil // nobody may ask for it any more
	ends := 0
	for i := range left.Assignments {
		if a := &left.Assignments[i]; a.Desired != cluster.DesiredStop {
			a.Desired = cluster.DesiredStop
			ends++
		}
	}
	if ends == 0 {
		return nil
	}
	m.set = &left
	wake(m.dirty)
	return m.set
}

// removals are which destroyed volumes are being removed, and are gone. It is safe for
// concurrent use.
type removals struct {
	mu         sync.Mutex
	asked      *api.AssignmentSet        // the set that gone is about; guarded by mu, as is the rest
	busy, gone map[cluster.VolumeID]bool // being removed; reported
}

func newRemovals() *removals {
	return &removals{busy: map[cluster.VolumeID]bool{}, gone: map[cluster.VolumeID]bool{}}
}

// begin reports whether id is to be removed now. A new set is a new question: who
// asked may not have heard the last answer.
func (e *removals) begin(set *api.AssignmentSet, id cluster.VolumeID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asked != set {
		e.asked = set
		clear(e.gone)
	}
	if e.busy[id] || e.gone[id] {
		return false
	}
	e.busy[id] = true
	return true
}

// end is what became of a removal that set asked for.
func (e *removals) end(set *api.AssignmentSet, id cluster.VolumeID, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.busy, id)
	if err == nil && e.asked == set {
		e.gone[id] = true
	}
}

// destroyVolumes removes the data of exactly the volumes that the set names, unless
// something here has them still: then a later pass does.
func (m *reconciler) destroyVolumes(ctx context.Context, set *api.AssignmentSet, all []container) {
	for _, id := range set.Destroyed {
		wanted := slices.ContainsFunc(set.Assignments, func(a api.Assignment) bool {
			return a.Desired != cluster.DesiredStop && slices.ContainsFunc(a.Mounts, func(x cluster.Mount) bool { return x.Volume == id })
		})
		used := slices.ContainsFunc(all, func(c container) bool { return slices.Contains(c.Volumes, id) })
		if !wanted && !used && m.removals.begin(set, id) {
			m.work.Go(func() { m.destroyVolume(ctx, set, id) })
		}
	}
}

func (m *reconciler) destroyVolume(ctx context.Context, set *api.AssignmentSet, id cluster.VolumeID) {
	err := m.shared.runtime.volumes.DestroyVolume(ctx, id)
	switch {
	case err == nil:
		m.log.Info("volume destroyed", "volume", id)
		m.shared.board.lose(id)
	case ctx.Err() == nil:
		m.log.Warn("volume not destroyed", "volume", id, "err", err)
	}
	m.removals.end(set, id, err)
}
