package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"paas/cluster"
	"paas/store"
)

// memberInterval is how often a server that is learning is asked how far it is.
const memberInterval = 200 * time.Millisecond

// memberTries bounds the look at servers that do not answer.
const memberTries = 2 * time.Second

// members keeps Raft's group what the state says: servers that joined come in as
// learners and vote once they have what the leader has; those that were removed go.
// A server that is only down stays: majorities are of all servers, dead or alive.
type members struct {
	*control
	peers *peering
}

// Run works while this server leads.
func (m *members) Run(ctx context.Context) error {
	failures := 0
	for {
		st := m.store.State()
		pending, err := m.pass(ctx, st)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			failures++
			m.log.Warn("the group of servers is not yet what it should be", "err", err)
		default:
			failures = 0
		}
		pace := time.Hour // a look now and then repairs what nobody thought of
		if pending {
			pace = memberInterval
		}
		if failures > 0 && pause(ctx, backoff(failures)) == nil {
			continue
		}
		if m.newer(ctx, st, pace) != nil {
			return nil
		}
	}
}

// pass does the next step for each server: it becomes a learner once it answers, and
// votes once it has all that was committed when it was asked. pending says that one is
// on its way.
func (m *members) pass(ctx context.Context, st *cluster.State) (pending bool, err error) {
	have := m.store.Servers()
	roster := st.Roster()
	waiting := slices.DeleteFunc(roster.Servers(), func(n cluster.Member) bool { return have[n.ID] == store.Voter })
	want := m.store.Applied()
	at := m.positions(ctx, waiting)
	var errs []error
	for _, n := range waiting {
		applied, answers := at[n.ID]
		_, in := have[n.ID]
		switch {
		case !answers: // it starts, or is down: it is asked again
		case !in:
			m.log.Info("server comes into the group", "node", n.Name)
			errs = append(errs, m.store.AddServer(ctx, n.ID, store.Learner))
		case applied >= want:
			m.log.Info("server votes from now on", "node", n.Name)
			errs = append(errs, m.store.AddServer(ctx, n.ID, store.Voter))
		}
	}
	for id := range have {
		if _, known := roster.Member(id); known || id == m.self && !roster.Refuses(id) {
			continue
		}
		m.log.Info("server leaves the group", "node", string(id))
		errs = append(errs, m.store.RemoveServer(ctx, id))
	}
	errs = append(errs, m.upgrade(ctx, st))
	return len(waiting) > 0, errors.Join(errs...)
}

// upgrade raises the feature level once all servers have it.
func (m *members) upgrade(ctx context.Context, st *cluster.State) error {
	if st.Settings().FeatureLevel >= cluster.FeatureLevel {
		return nil
	}
	servers := 0
	for n := range st.Nodes() {
		if n.Server && n.FeatureLevel < cluster.FeatureLevel {
			return nil
		}
		if n.Server {
			servers++
		}
	}
	if servers == 0 {
		return nil // this server's own agent has yet to say hello
	}
	_, err := m.store.Propose(ctx, store.RaiseFeatureLevel{By: platform(), Level: cluster.FeatureLevel})
	return err
}

// positions asks servers how far they are, all at the same time: one that is silent
// costs the others nothing. Who does not answer is left out: it starts, or is down, and
// is asked again.
func (m *members) positions(ctx context.Context, list []cluster.Member) map[cluster.NodeID]uint64 {
	ctx, cancel := context.WithTimeout(ctx, memberTries)
	defer cancel()
	var asking sync.WaitGroup
	var mu sync.Mutex
	at := map[cluster.NodeID]uint64{} // guarded by mu
	for _, n := range list {
		asking.Go(func() {
			applied, err := m.peers.positionOf(ctx, n.ID)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			at[n.ID] = applied
		})
	}
	asking.Wait()
	return at
}
