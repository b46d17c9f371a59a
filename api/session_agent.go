package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sync/errgroup"

	"paas/cluster"
)

// SessionConfig is an agent's side of a session.
type SessionConfig struct {
	// Conn is connected, its TLS handshake done. The session owns it.
	Conn  net.Conn
	Hello Hello
	// Space says how full the node's file systems are, once per heartbeat; nil says nothing.
	Space func() []cluster.Space
	// Calls serves what the server asks of the node.
	Calls  NodeCalls
	Logger *slog.Logger
}

// AgentSession is an agent's session with a server. It implements ServerCalls.
// When Run returns, it is over: make another one.
type AgentSession struct {
	calls   NodeCalls
	space   func() []cluster.Space
	log     *slog.Logger
	mux     *yamux.Session
	control *streamWire
	welcome Welcome
	server  *peer

	out outbox
	// wake has a place for one signal that out holds something. Report sends, Run receives.
	wake chan struct{}
}

// NewAgentSession says hello over cfg.Conn and waits for the server's welcome,
// until ctx ends and at most ten seconds. A server that refuses is a
// *cluster.Error. On an error cfg.Conn is closed; else call Run or Close.
func NewAgentSession(ctx context.Context, cfg SessionConfig) (*AgentSession, error) {
	log := cfg.Logger.With("component", "session")
	conn := &listeningConn{Conn: cfg.Conn}
	mux, err := yamux.Client(conn, yamuxConfig(log))
	if err != nil {
		_ = cfg.Conn.Close()
		return nil, fmt.Errorf("open session: %w", err)
	}
	if cfg.Space == nil {
		cfg.Space = func() []cluster.Space { return nil }
	}
	s := &AgentSession{calls: cfg.Calls, space: cfg.Space, log: log, mux: mux, server: &peer{mux: mux, name: "the server"},
		wake: make(chan struct{}, 1)}
	if err := s.greet(ctx, cfg.Hello); err != nil {
		_ = mux.Close()
		if conn.removed.Load() {
			return nil, errRemoved
		}
		return nil, err
	}
	return s, nil
}

// greet exchanges Hello and Welcome.
func (s *AgentSession) greet(ctx context.Context, h Hello) error {
	st, err := s.mux.OpenStream()
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	s.control = &streamWire{conn: st}
	ctx, cancel := context.WithTimeout(ctx, sessionOpening)
	defer cancel()
	if err := s.control.write(ctx, message{Hello: &h}); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	var m message
	if err := s.control.read(ctx, &m); err != nil {
		return fmt.Errorf("wait for the server's welcome: %w", err)
	}
	switch {
	case m.Refused != nil:
		return m.Refused
	case m.Welcome == nil:
		return errors.New("the server answered hello with something else")
	}
	s.welcome = *m.Welcome
	return nil
}

// Welcome is what the server said at the beginning.
func (s *AgentSession) Welcome() Welcome { return s.welcome }

// Close ends a session, whether Run was called or not.
func (s *AgentSession) Close() error { return s.mux.Close() }

// Run keeps the session up until ctx ends or the server is gone for NodeLease,
// and says which. Everything the server wants goes to desired, one call at a
// time; while one runs, newer sets replace older ones. Run returns only after
// desired and all calls of NodeCalls have.
func (s *AgentSession) Run(ctx context.Context, desired func(Desired)) error {
	err := s.run(ctx, desired)
	if ctx.Err() != nil {
		return ctx.Err() // both ended at once: who was asked to stop says so
	}
	return err
}

func (s *AgentSession) run(ctx context.Context, desired func(Desired)) error {
	g, ctx := errgroup.WithContext(ctx)
	in := inbox{wake: make(chan struct{}, 1)}
	g.Go(func() error {
		defer s.mux.Close() // frees every goroutine that waits for the wire
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.mux.CloseChan():
			return errors.New("the connection to the server ended")
		}
	})
	g.Go(func() error { return s.talk(ctx) })
	g.Go(func() error { return s.listen(ctx, &in) })
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-in.wake:
				desired(in.take())
			}
		}
	})
	g.Go(func() error {
		return serveCalls(ctx, s.mux, map[string]method{
			"logs": pieces(s.calls.Logs),
			"exec": attached(s.calls.Exec),
			"run":  attached(s.calls.Run),
		}, s.log)
	})
	return g.Wait()
}

// talk sends heartbeats, and reports as they come.
func (s *AgentSession) talk(ctx context.Context) error {
	tick := time.NewTicker(HeartbeatInterval)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			err = s.control.write(ctx, message{Heartbeat: true, Space: s.space()})
		case <-s.wake:
			err = s.flush(ctx)
		}
		if err != nil {
			return fmt.Errorf("talk to the server: %w", err)
		}
	}
}

// flush sends what was reported.
func (s *AgentSession) flush(ctx context.Context) error {
	news, router := s.out.take()
	if len(news.Observed)+len(news.Gone) > 0 {
		if err := s.control.write(ctx, message{Observed: news.Observed, Gone: news.Gone}); err != nil {
			return err
		}
	}
	if router == nil {
		return nil
	}
	return s.control.write(ctx, message{Router: router})
}

// listen takes the server's full sets.
func (s *AgentSession) listen(ctx context.Context, in *inbox) error {
	for {
		var m message
		if err := s.control.read(ctx, &m); err != nil {
			return fmt.Errorf("listen to the server: %w", err)
		}
		in.put(Desired{Assignments: m.Assignments, Routes: m.Routes, Roster: m.Roster})
	}
}

// Report sends allocations' news. It does not wait: of an allocation that
// changes faster than the wire, the newest news is sent. It fails when the
// session is over; the next session's Hello carries everything.
func (s *AgentSession) Report(observed []Observed) error {
	s.out.observe(observed)
	return s.nudge()
}

// ReportGone says that nothing is left of destroyed volumes, as Report does. What is
// lost with a session is asked for again by the next one's assignments.
func (s *AgentSession) ReportGone(volumes []cluster.VolumeID) error {
	s.out.lose(volumes)
	return s.nudge()
}

// ReportRouter sends what the node's router serves, as Report does.
func (s *AgentSession) ReportRouter(status cluster.RouterStatus) error {
	s.out.route(status)
	return s.nudge()
}

func (s *AgentSession) nudge() error {
	if s.mux.IsClosed() {
		return s.server.lost(context.Background(), yamux.ErrSessionShutdown)
	}
	select {
	case s.wake <- struct{}{}:
	default: // Run already knows that there is something
	}
	return nil
}

// outbox holds news until the wire takes it: the newest of each allocation, in
// the order in which they first changed.
type outbox struct {
	mu       sync.Mutex
	observed []Observed                   // guarded by mu, as are the fields below
	at       map[cluster.AllocationID]int // index in observed
	router   *cluster.RouterStatus
	gone     []cluster.VolumeID // sorted
}

func (o *outbox) observe(observed []Observed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.at == nil {
		o.at = map[cluster.AllocationID]int{}
	}
	for _, x := range observed {
		if i, ok := o.at[x.ID]; ok {
			o.observed[i] = x
			continue
		}
		o.at[x.ID] = len(o.observed)
		o.observed = append(o.observed, x)
	}
}

func (o *outbox) lose(volumes []cluster.VolumeID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := append(slices.Clone(o.gone), volumes...)
	slices.Sort(all)
	o.gone = slices.Compact(all)
}

func (o *outbox) route(status cluster.RouterStatus) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.router = &status
}

// take empties the box.
func (o *outbox) take() (News, *cluster.RouterStatus) {
	o.mu.Lock()
	defer o.mu.Unlock()
	news, router := News{Observed: o.observed, Gone: o.gone}, o.router
	o.observed, o.at, o.router, o.gone = nil, nil, nil, nil
	return news, router
}

// inbox holds the newest sets until the agent takes them.
type inbox struct {
	mu     sync.Mutex
	newest Desired // guarded by mu
	// wake has a place for one signal that newest holds something.
	wake chan struct{}
}

func (b *inbox) put(d Desired) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d.Assignments != nil {
		b.newest.Assignments = d.Assignments
	}
	if d.Routes != nil {
		b.newest.Routes = d.Routes
	}
	if d.Roster != nil {
		b.newest.Roster = d.Roster
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) take() Desired {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.newest
	b.newest = Desired{}
	return d
}
