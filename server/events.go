package server

import (
	"context"

	"paas/api"
	"paas/cluster"
)

// eventsShown is how many events a list has if nobody says how many.
const eventsShown = 50

// eventService implements api.EventService.
type eventService struct{ *control }

// Events implements api.EventService.
func (s *eventService) Events(ctx context.Context, app cluster.AppName, limit int) ([]cluster.Event, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = eventsShown
	}
	sees, out := sight(ctx, app), []cluster.Event{}
	for e := range st.EventsSince(0) {
		if sees(e) {
			out = append(out, *e)
		}
	}
	if app != "" && len(out) == 0 { // an app that was destroyed has events; one that never was has a typo
		if _, _, err := s.app(ctx, app); err != nil {
			return nil, err
		}
	}
	return out[max(0, len(out)-limit):], nil
}

// FollowEvents implements api.EventService.
func (s *eventService) FollowEvents(ctx context.Context, app cluster.AppName, since uint64, send func(cluster.Event) error) error {
	sees := sight(ctx, app)
	if gap, ok := lost(s.store.State(), since); ok {
		if err := send(gap); err != nil {
			return err
		}
	}
	for {
		st := s.store.State()
		for e := range st.EventsSince(since) {
			since = e.Index
			if !sees(e) {
				continue
			}
			if err := send(*e); err != nil {
				return err
			}
		}
		since = max(since, st.Index())
		select {
		case <-s.store.Changed(st.Index()):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lost tells of events after since that are not kept any more. The oldest kept
// one follows what was dropped only if the audit is full.
func lost(st *cluster.State, since uint64) (cluster.Event, bool) {
	n, oldest := 0, cluster.Event{}
	for e := range st.EventsSince(0) {
		if n == 0 {
			oldest = *e
		}
		n++
	}
	if since == 0 || n < cluster.KeptEvents || oldest.Index <= since+1 {
		return cluster.Event{}, false
	}
	return cluster.Event{Index: since, At: oldest.At, Actor: "paas", Action: "gap",
		Text: "older events are not kept any more"}, true
}

// sight says which events the caller asked for and may see.
func sight(ctx context.Context, app cluster.AppName) func(*cluster.Event) bool {
	actor := api.ActorFrom(ctx)
	return func(e *cluster.Event) bool {
		return (app == "" || e.App == app) && actor.May(cluster.ScopeRead, e.App)
	}
}
