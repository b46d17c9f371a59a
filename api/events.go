package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"paas/cluster"
)

// EventService shows who changed what.
type EventService interface {
	// Events lists the newest, oldest first; app "" means the whole cluster; limit 0 means 50.
	Events(ctx context.Context, app cluster.AppName, limit int) ([]cluster.Event, error)
	// FollowEvents sends events after the Raft index since, then new ones until ctx
	// ends. It resumes exactly: events that were dropped meanwhile are announced by
	// one of action "gap".
	FollowEvents(ctx context.Context, app cluster.AppName, since uint64, send func(cluster.Event) error) error
}

type eventsInput struct {
	App   cluster.AppName `query:"app" doc:"Events of one app only"`
	Limit int             `query:"limit" minimum:"0" maximum:"1000" doc:"How many at most; 0 means 50"`
}

type followEventsInput struct {
	App   cluster.AppName `query:"app" doc:"Events of one app only"`
	Since uint64          `query:"since" doc:"The Raft index after which to begin"`
	Last  uint64          `header:"Last-Event-ID" doc:"Resume: takes precedence over since"`
}

func addEventRoutes(t *table, s EventService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/events", name: "list-events", summary: "List the newest events that the token may see",
		rule: filtered(cluster.ScopeRead)}, func(ctx context.Context, in *eventsInput) ([]cluster.Event, error) {
		if err := mayFilter(ctx, in.App); err != nil {
			return nil, err
		}
		return list(s.Events(ctx, in.App, in.Limit))
	})
	stream(t, spec{method: http.MethodGet, path: "/v1/events/stream", name: "follow-events", summary: "Follow the events that the token may see",
		rule: filtered(cluster.ScopeRead)}, eventForm, func(ctx context.Context, in *followEventsInput, w *streamWriter) error {
		if err := mayFilter(ctx, in.App); err != nil {
			return err
		}
		since := in.Since
		if in.Last != 0 {
			since = in.Last
		}
		w.begin()
		return s.FollowEvents(ctx, in.App, since, func(e cluster.Event) error {
			body, err := json.Marshal(e)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", e.Index, body)
			return err
		})
	})
}

// mayFilter refuses a filter for what is no app, or for one that the caller may
// not see. Without a filter the service leaves such apps out.
func mayFilter(ctx context.Context, app cluster.AppName) error {
	if app == "" {
		return nil
	}
	if err := app.Validate(); err != nil {
		return err // no event will ever be of it
	}
	if a := ActorFrom(ctx); !a.May(cluster.ScopeRead, app) {
		return cluster.Errorf(cluster.KindForbidden, "app", "the token may not do this").Because("it is for other apps").
			WithHint("ask an admin for one of this app: paas token create NAME --app " + string(app))
	}
	return nil
}

// Events implements EventService.
func (c *Client) Events(ctx context.Context, app cluster.AppName, limit int) ([]cluster.Event, error) {
	q := url.Values{}
	if app != "" {
		q.Set("app", string(app))
	}
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return call[[]cluster.Event](ctx, c, request{path: "/v1/events", query: q})
}

// FollowEvents implements EventService. A connection that breaks is made again,
// until ctx ends, and goes on with the event after the last one.
func (c *Client) FollowEvents(ctx context.Context, app cluster.AppName, since uint64, send func(cluster.Event) error) error {
	f := follower{client: c, app: app, since: since, send: send}
	pause := followPause
	for {
		before := f.received
		err := f.once(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case f.sendErr != nil:
			return f.sendErr
		case !f.connected, err != nil && cluster.KindOf(err) != cluster.KindUnavailable:
			return err
		}
		if f.received > before {
			pause = followPause
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, maxFollowPause)
	}
}

const (
	followPause    = 250 * time.Millisecond
	maxFollowPause = 5 * time.Second
)

// follower remembers exactly how far it came. Several events may share a Raft
// index, so it resumes before the last index and skips what it had of it.
type follower struct {
	client *Client
	app    cluster.AppName
	send   func(cluster.Event) error

	since     uint64 // the last index that is complete for sure
	last      uint64 // the newest index
	had       int    // events of last already sent
	received  int
	connected bool
	sendErr   error
}

// once follows over one connection until it ends.
func (f *follower) once(ctx context.Context) error {
	q := url.Values{"since": {strconv.FormatUint(f.since, 10)}}
	if f.app != "" {
		q.Set("app", string(f.app))
	}
	h := http.Header{"Accept": {"text/event-stream"}}
	if f.since != 0 {
		h.Set("Last-Event-ID", strconv.FormatUint(f.since, 10))
	}
	skip := f.had
	var failed bool
	opened := func() { f.connected = true }
	return f.client.lines(ctx, request{path: "/v1/events/stream", query: q, header: h, opened: opened}, func(line []byte) error {
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch string(name) {
		case "event":
			failed = string(value) == "error"
		case "data":
			if failed {
				e := &cluster.Error{}
				if json.Unmarshal(value, e) != nil {
					return f.client.broken(ctx, io.ErrUnexpectedEOF)
				}
				return e
			}
			var e cluster.Event
			if err := json.Unmarshal(value, &e); err != nil {
				return f.client.broken(ctx, err)
			}
			if e.Index == f.last && skip > 0 {
				skip--
				return nil
			}
			return f.take(e)
		}
		return nil
	})
}

// take sends one event on and remembers it.
func (f *follower) take(e cluster.Event) error {
	if err := f.send(e); err != nil {
		f.sendErr = err
		return err
	}
	if e.Index != f.last {
		if f.last != 0 {
			f.since = f.last
		}
		f.last, f.had = e.Index, 0
	}
	f.had++
	f.received++
	return nil
}
