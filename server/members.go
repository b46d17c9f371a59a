package server

import (
	"context"
	"errors"
	"time"

	"paas/cluster"
	"paas/store"
)

// memberInterval is how often a server that is learning is asked how far it is.
const memberInterval = 200 * time.Millisecond

// memberTries bounds the look at one server that does not answer.
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
		select {
		case <-m.store.Changed(st.Index()):
		case <-time.After(pace):
		case <-ctx.Done():
			return nil
		}
	}
}

// pass does the next step for each server. pending says that one is learning.
func (m *members) pass(ctx context.Context, st *cluster.State) (pending bool, err error) {
	have := m.store.Servers()
	roster := st.Roster()
	var errs []error
	for _, n := range roster.Servers() {
		voting, in := have[n.ID]
		switch {
		case !in:
			pending = true
			errs = append(errs, m.admit(ctx, n))
		case voting == store.Learner:
			pending = true
			errs = append(errs, m.promote(ctx, n))
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
	return pending, errors.Join(errs...)
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

// admit makes a server a learner once it answers: until then it starts.
func (m *members) admit(ctx context.Context, n cluster.Member) error {
	asking, cancel := context.WithTimeout(ctx, memberTries)
	defer cancel()
	if _, err := m.peers.positionOf(asking, n.ID); err != nil {
		return nil //nolint:nilerr // it is asked again
	}
	m.log.Info("server comes into the group", "node", n.Name)
	return m.store.AddServer(ctx, n.ID, store.Learner)
}

// promote lets a learner vote once it has all that was committed when it was asked.
func (m *members) promote(ctx context.Context, n cluster.Member) error {
	want := m.store.Applied()
	asking, cancel := context.WithTimeout(ctx, memberTries)
	defer cancel()
	at, err := m.peers.positionOf(asking, n.ID)
	if err != nil || at < want {
		return nil //nolint:nilerr // it may be on its way, or down: it is asked again
	}
	m.log.Info("server votes from now on", "node", n.Name)
	return m.store.AddServer(ctx, n.ID, store.Voter)
}
