package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sync/errgroup"

	"paas/cluster"
	"paas/identity"
)

// SessionServerConfig is a server's side of all sessions.
type SessionServerConfig struct {
	Events NodeEvents
	// Calls serves what agents ask of the server.
	Calls ServerCalls
	// Sign answers a node's request for its next certificate: csr is a request (DER)
	// for its new key, the answer a PEM chain. nil: nobody gets one here.
	Sign   func(ctx context.Context, node Peer, csr []byte) (chainPEM []byte, err error)
	Logger *slog.Logger
}

// SessionServer serves the sessions of many agents: one per node at a time.
type SessionServer struct {
	events  NodeEvents
	methods map[string]method
	log     *slog.Logger

	mu       sync.Mutex
	sessions map[cluster.NodeID]*serverSession // guarded by mu
}

// serverSession is one node's session.
type serverSession struct {
	peer *peer
	// cancel ends the session because of a newer one.
	cancel context.CancelCauseFunc
	// done is closed by Serve when nothing of the session runs any more.
	done chan struct{}
}

// NewSessionServer makes a SessionServer. Its sessions live as long as their
// Serve calls.
func NewSessionServer(cfg SessionServerConfig) *SessionServer {
	methods := serverMethods(cfg.Calls)
	if cfg.Sign != nil {
		methods["cert.renew"] = unary(func(ctx context.Context, csr []byte) ([]byte, error) { return cfg.Sign(ctx, callerFrom(ctx), csr) })
	}
	return &SessionServer{events: cfg.Events, methods: methods,
		log: cfg.Logger.With("component", "session"), sessions: map[cluster.NodeID]*serverSession{}}
}

// Node returns the calls that a connected node answers; KindUnavailable if it
// is not connected here.
func (s *SessionServer) Node(id cluster.NodeID) (NodeCalls, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session, ok := s.sessions[id]; ok && session.peer != nil {
		return remoteNode{session.peer}, nil
	}
	return nil, cluster.Errorf(cluster.KindUnavailable, "node", "node %s is not connected", id).
		WithHint("see which nodes are up with: paas nodes")
}

// Serve runs the session of peer, whose certificate was checked, over conn until
// ctx ends, the node is silent for NodeLease, or it connects anew; it says
// which. Serve owns conn and returns only after everything of the session has
// ended, NodeLeft included.
func (s *SessionServer) Serve(ctx context.Context, conn net.Conn, from Peer) error {
	node := from.ID
	log := s.log.With("node", node)
	cfg := yamuxConfig(log)
	cfg.EnableKeepAlive = false // the agent's heartbeats tell that it lives; its pings tell it that we do
	mux, err := yamux.Server(conn, cfg)
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("open session: %w", err)
	}
	defer mux.Close()
	control, hello, err := s.greet(ctx, mux, node)
	if err != nil {
		return err
	}
	hello.Node.Server = from.Role == identity.RoleServer
	ctx, cancel := context.WithCancelCause(withCaller(ctx, from))
	defer cancel(nil)
	session := &serverSession{cancel: cancel, done: make(chan struct{})}
	defer close(session.done)
	if err := s.replace(ctx, node, session); err != nil {
		return err
	}
	defer s.remove(node, session)

	welcome, err := s.events.NodeJoined(ctx, hello)
	if err != nil {
		refuseAgent(ctx, mux, control, toWire(err).Error)
		return fmt.Errorf("welcome node: %w", err)
	}
	defer s.events.NodeLeft(node)
	if err := control.write(ctx, message{Welcome: &welcome}); err != nil {
		return fmt.Errorf("welcome node: %w", err)
	}
	s.mu.Lock()
	session.peer = &peer{mux: mux, name: "node " + hello.Node.Name}
	s.mu.Unlock()
	err = s.run(ctx, mux, control, node, log)
	if ctx.Err() != nil {
		return context.Cause(ctx) // the node may have hung up at the same moment
	}
	return err
}

// errReplaced ends a session whose node has a newer one.
var errReplaced = errors.New("the node connected anew")

// greet waits for the agent's first stream and its Hello.
func (s *SessionServer) greet(ctx context.Context, mux *yamux.Session, node cluster.NodeID) (*streamWire, Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionOpening)
	defer cancel()
	st, err := mux.AcceptStreamWithContext(ctx)
	if err != nil {
		return nil, Hello{}, fmt.Errorf("wait for hello: %w", err)
	}
	control := &streamWire{conn: st}
	var m message
	if err := control.read(ctx, &m); err != nil {
		return nil, Hello{}, fmt.Errorf("wait for hello: %w", err)
	}
	var bad *cluster.Error
	switch {
	case m.Hello == nil:
		bad = cluster.Invalid("hello", "the agent did not say hello")
	case m.Hello.Node.ID != node:
		bad = cluster.Errorf(cluster.KindForbidden, "node", "the agent is not who it says").
			Because("its certificate is of another node")
	default:
		return control, *m.Hello, nil
	}
	refuseAgent(ctx, mux, control, bad)
	return nil, Hello{}, bad
}

// refusalLinger is how long an agent may take to hang up after a refusal.
const refusalLinger = 2 * time.Second

// refuseAgent tells the agent why it gets no session, and lets it hang up: closing
// first could destroy the reason on its way.
func refuseAgent(ctx context.Context, mux *yamux.Session, control *streamWire, e *cluster.Error) {
	if control.write(ctx, message{Refused: e}) != nil {
		return // the agent sees the end, if not the reason
	}
	linger := time.NewTimer(refusalLinger)
	defer linger.Stop()
	select {
	case <-mux.CloseChan():
	case <-linger.C:
	case <-ctx.Done():
	}
}

// replace makes session the node's own, once an older one has ended wholly.
func (s *SessionServer) replace(ctx context.Context, node cluster.NodeID, session *serverSession) error {
	for {
		s.mu.Lock()
		old := s.sessions[node]
		if old == nil {
			s.sessions[node] = session
		}
		s.mu.Unlock()
		if old == nil {
			return nil
		}
		old.cancel(errReplaced)
		select {
		case <-old.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *SessionServer) remove(node cluster.NodeID, session *serverSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[node] == session {
		delete(s.sessions, node)
	}
}

// run keeps the session up.
func (s *SessionServer) run(ctx context.Context, mux *yamux.Session, control *streamWire, node cluster.NodeID, log *slog.Logger) error {
	g, ctx := errgroup.WithContext(ctx)
	in := &outbox{}
	wake := make(chan struct{}, 1) // one signal that in holds something; listen sends, tell receives
	control.lease = NodeLease
	g.Go(func() error {
		defer mux.Close() // frees every goroutine that waits for the wire
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-mux.CloseChan():
			return errors.New("the connection to the node ended")
		}
	})
	g.Go(func() error { return s.listen(ctx, control, node, in, wake) })
	g.Go(func() error { return s.tell(ctx, node, in, wake) })
	g.Go(func() error { return s.push(ctx, control, node) })
	g.Go(func() error { return serveCalls(ctx, mux, s.methods, log) })
	return g.Wait()
}

// listen reads the agent's messages. It only takes note of them, so that slow
// work on news never makes a living node look silent.
func (s *SessionServer) listen(ctx context.Context, control *streamWire, node cluster.NodeID, in *outbox, wake chan<- struct{}) error {
	for {
		var m message
		if err := control.read(ctx, &m); err != nil {
			if errors.Is(err, yamux.ErrTimeout) {
				return fmt.Errorf("the node was silent for %s", NodeLease)
			}
			return fmt.Errorf("listen to the node: %w", err)
		}
		s.events.NodeAlive(node, m.Space)
		if m.Router != nil {
			m.Router.Node = node
			in.route(*m.Router)
		}
		if len(m.Observed) > 0 {
			in.observe(m.Observed)
		}
		if len(m.Gone) > 0 {
			in.lose(m.Gone)
		}
		if m.Router != nil || len(m.Observed)+len(m.Gone) > 0 {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}
}

// tell passes the agent's news on, one at a time.
func (s *SessionServer) tell(ctx context.Context, node cluster.NodeID, in *outbox, wake <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
		news, router := in.take()
		if len(news.Observed)+len(news.Gone) > 0 {
			if err := s.events.NodeObserved(ctx, node, news); err != nil {
				return fmt.Errorf("take observations: %w", err)
			}
		}
		if router != nil {
			if err := s.events.NodeRouter(ctx, *router); err != nil {
				return fmt.Errorf("take router status: %w", err)
			}
		}
	}
}

// push sends the newest full sets whenever they change.
func (s *SessionServer) push(ctx context.Context, control *streamWire, node cluster.NodeID) error {
	var has Indexes
	for {
		d, err := s.events.NodeDesired(ctx, node, has)
		if err != nil {
			return fmt.Errorf("learn what the node should have: %w", err)
		}
		var news []message
		if d.Roster != nil { // first: the others may name hosts that it introduces
			has.Roster = d.Roster.Index
			news = append(news, message{Roster: d.Roster})
		}
		if d.Assignments != nil {
			has.Assignments = d.Assignments.Index
			news = append(news, message{Assignments: d.Assignments})
		}
		if d.Routes != nil {
			has.Routes = d.Routes.Index
			news = append(news, message{Routes: d.Routes})
		}
		for _, m := range news {
			if err := control.write(ctx, m); err != nil {
				return fmt.Errorf("send what the node should have: %w", err)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
