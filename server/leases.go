package server

import (
	"context"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/store"
)

// leases judges which nodes are up, while this server leads. Leases are armed
// anew when it begins to: silence before that was nobody's to hear.
func (f *fleet) leases(ctx context.Context) error {
	begun := f.inherit(time.Now())
	failures := 0
	for {
		next, err := f.judge(ctx, begun, time.Now())
		wait := time.Until(next)
		if err != nil {
			failures++
			wait = backoff(failures)
			if ctx.Err() == nil {
				f.log.Warn("state of a node was not recorded", "err", err)
			}
		} else {
			failures = 0
		}
		t := time.NewTimer(max(wait, 10*time.Millisecond))
		select {
		case <-t.C:
		case <-f.heard:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
		t.Stop()
	}
}

// judge records each node whose state changed and says when to look again.
func (f *fleet) judge(ctx context.Context, begun tenureStart, now time.Time) (next time.Time, err error) {
	next = now.Add(time.Hour)
	st := f.store.State()
	f.forgetStrangers(st)
	for n := range st.Nodes() {
		ends := f.lastHeard(n, begun).Add(api.NodeLease)
		if arrives := n.StateAt.Add(api.NodeLease); n.State == cluster.NodeUnknown && ends.Before(arrives) && now.Before(arrives) {
			next = earlier(next, arrives) // it has just joined, and is on its way
			continue
		}
		state := cluster.NodeDown
		if now.Before(ends) {
			state, next = cluster.NodeUp, earlier(next, ends)
		}
		if n.State == state {
			continue
		}
		if _, err := f.store.Propose(ctx, store.SetNodeState{By: platform(), ID: n.ID, State: state}); err != nil {
			return next, err
		}
		if state == cluster.NodeDown {
			f.forgetRouter(n.ID)
			f.log.Warn("node is down", "node", n.Name, "silent", api.NodeLease.String())
		} else {
			f.log.Info("node is up", "node", n.Name)
		}
	}
	return next, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// headStart is by how much the lease of a server that led may have begun before the
// tenure of the next one: no more than an election takes. If it still runs it opens a
// session with the new leader in that time, wherever its lead went.
const headStart = time.Second

// tenureStart is when a server began to lead, and what it knows from before.
type tenureStart struct {
	at time.Time
	// predecessor led before, and was heard last at heard; "" if nobody is known to have.
	predecessor cluster.NodeID
	heard       time.Time
}

// inherit makes the start of a tenure. Nobody else's silence was heard before it; the
// leader's was.
func (f *fleet) inherit(now time.Time) tenureStart {
	id, heard := f.store.Predecessor()
	if earliest := now.Add(-headStart); heard.Before(earliest) {
		heard = earliest
	}
	return tenureStart{at: now, predecessor: id, heard: earlier(heard, now)}
}

// doubt is until when a node that was up has the benefit of the doubt.
func (s tenureStart) doubt(id cluster.NodeID) time.Time {
	if id == s.predecessor {
		return s.heard
	}
	return s.at
}

// lastHeard is when n spoke last. A node that was up when this server began to
// lead has until then the benefit of the doubt.
func (f *fleet) lastHeard(n *cluster.Node, begun tenureStart) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	heard := f.alive[n.ID]
	if doubt := begun.doubt(n.ID); n.State == cluster.NodeUp && heard.Before(doubt) {
		return doubt
	}
	return heard
}
