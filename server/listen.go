package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"paas/api"
	"paas/identity"
	"paas/store"
)

// drainTime is how long requests may end by themselves after their contexts did.
const drainTime = 10 * time.Second

// front is the server's side of the one port between hosts.
type front struct {
	*control
	listener net.Listener
	// node returns the newest identity: certificates are renewed while it runs.
	node     func() *identity.Node
	handler  http.Handler
	sessions *api.SessionServer
	dialer   *api.Dialer
	peers    *peering
	raft     *store.Transport // nil: this server is alone for good
	// tunnel serves routers of other hosts that want a container of this one; nil if
	// no container runs here.
	tunnel func(context.Context, *tls.Conn, api.Peer)
	log    *slog.Logger
}

// Run serves until ctx ends. Then, in this order: the port closes, so that nobody
// new comes; requests are told and may finish; sessions, tunnels and what other
// servers have here end last, because what requests do (logs, run, exec) goes through
// them.
func (f *front) Run(ctx context.Context) error {
	web := newHandover(f.listener.Addr())
	late, endLate := context.WithCancel(context.WithoutCancel(ctx))
	defer endLate()
	port := api.NewPort(api.PortConfig{Listener: f.listener, Node: f.node, Refused: f.book.refuses, Logger: f.log, Protocols: f.protocols(late, web)})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.serveHTTP(ctx, web) })
	g.Go(func() error { return port.Accept(ctx) })
	g.Go(func() error { return f.followRoster(ctx, port) })
	var behind errgroup.Group
	behind.Go(func() error { return f.peers.Run(late) })
	err := g.Wait()
	endLate()
	port.Close() // Raft itself stops after this; it reaches others, nobody reaches it
	port.Wait()
	return errors.Join(err, behind.Wait())
}

// protocols is what the port speaks, and with whom.
func (f *front) protocols(ctx context.Context, web *handover) []api.Protocol {
	server, both := []identity.Role{identity.RoleServer}, []identity.Role{identity.RoleServer, identity.RoleAgent}
	all := []api.Protocol{
		{ALPN: []string{"h2", "http/1.1", ""}, Serve: func(conn *tls.Conn, _ api.Peer) { web.give(conn) }},
		{ALPN: []string{api.ALPNSession}, Roles: both, Serve: func(conn *tls.Conn, peer api.Peer) { f.serveSession(ctx, conn, peer) }},
		{ALPN: []string{api.ALPNRelay}, Roles: server, Serve: func(conn *tls.Conn, peer api.Peer) { f.serveRelay(ctx, conn, peer) }},
		{ALPN: []string{api.ALPNPeer}, Roles: both, Serve: f.peers.serve},
	}
	if f.raft != nil {
		all = append(all, api.Protocol{ALPN: []string{api.ALPNRaft}, Roles: server, Serve: f.serveRaft})
	}
	if f.tunnel != nil {
		all = append(all, api.Protocol{ALPN: []string{api.ALPNTunnel}, Roles: both, Serve: func(conn *tls.Conn, peer api.Peer) { f.tunnel(ctx, conn, peer) }})
	}
	return all
}

// serveRaft gives Raft another server's connection.
func (f *front) serveRaft(conn *tls.Conn, peer api.Peer) {
	f.book.called(peer.ID, conn.RemoteAddr())
	f.raft.Hand(conn)
}

// followRoster keeps the book, and closes the connections of who was removed.
func (f *front) followRoster(ctx context.Context, port *api.Port) error {
	for failures := 0; ; {
		st := f.store.State()
		var again <-chan time.Time
		if f.book.update(st.Roster()) {
			failures = 0
		} else {
			failures++
			again = time.After(backoff(failures))
		}
		port.Expel()
		select {
		case <-f.store.Changed(st.Index()):
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

// serveHTTP serves API and git until ctx ends.
func (f *front) serveHTTP(ctx context.Context, l *handover) error {
	var requests sync.RWMutex // held for reading by each request, WebSockets included
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.RLock()
			defer requests.RUnlock()
			f.handler.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{ // a client that answers no ping, or reads nothing, is gone within 45 s
			SendPingTimeout:  30 * time.Second,
			PingTimeout:      15 * time.Second,
			WriteByteTimeout: 30 * time.Second,
		},
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	ending, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer stop()
	go func() { // HTTP/2 connections would keep Shutdown for a second after their last request
		requests.Lock()
		defer requests.Unlock()
		stop()
	}()
	if srv.Shutdown(ending) != nil {
		_ = srv.Close() // idle connections, and whoever did not listen
	}
	requests.Lock() // they were told, by context and by connection
	defer requests.Unlock()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handover is a net.Listener of connections whose handshake is done. The router has
// one like it: thirty lines of the standard library's interface are no reason for
// the data plane and the control plane to know one another.
type handover struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	gone  chan struct{} // closed by Close
}

func newHandover(addr net.Addr) *handover {
	return &handover{addr: addr, conns: make(chan net.Conn), gone: make(chan struct{})}
}

func (h *handover) give(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.gone:
		_ = conn.Close() // the server is shutting down
	}
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.gone:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.gone) })
	return nil
}

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return h.addr }
