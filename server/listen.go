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
)

const (
	// handshakeTime bounds a TLS handshake; handshakes how many are under way at once.
	handshakeTime = 5 * time.Second
	handshakes    = 256
	// drainTime is how long requests may end by themselves after their contexts did.
	drainTime = 10 * time.Second
)

// front is the one listener between hosts. Connections are split by the protocol
// that TLS negotiated; paas-raft/1 has its place here and nobody behind it yet.
type front struct {
	listener net.Listener
	// node returns the newest identity: certificates are renewed while it runs.
	node     func() *identity.Node
	handler  http.Handler
	sessions *api.SessionServer
	log      *slog.Logger
}

// Run serves until ctx ends. Then, in this order: the port closes, so that nobody
// new comes; requests are told and may finish; sessions end last, because what
// requests do (logs, run, exec) goes through them.
func (f *front) Run(ctx context.Context) error {
	web := newHandover(f.listener.Addr())
	sessionCtx, endSessions := context.WithCancel(context.WithoutCancel(ctx))
	defer endSessions()
	var conns sync.WaitGroup // handshakes and sessions

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.serveHTTP(ctx, web) })
	g.Go(func() error {
		err := f.accept(ctx, &conns, func(conn *tls.Conn) { f.route(sessionCtx, conn, web) })
		return err
	})
	g.Go(func() error {
		<-ctx.Done()
		return f.listener.Close()
	})
	err := g.Wait()
	endSessions()
	conns.Wait()
	return err
}

// accept hands every connection to route, in a goroutine of its own.
func (f *front) accept(ctx context.Context, conns *sync.WaitGroup, route func(*tls.Conn)) error {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return f.node().ServerConfig("h2", "http/1.1", api.ALPNSession), nil
	}}
	slots := make(chan struct{}, handshakes)
	for {
		conn, err := f.listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close() // it came too late; nothing was said on it
			}
			return nil
		}
		if err != nil {
			f.log.Warn("connection was not accepted", "err", err)
			if pause(ctx, 100*time.Millisecond) != nil { // out of file descriptors: do not spin
				return nil
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			_ = conn.Close() // nothing was said on it
			return nil
		}
		conns.Go(func() {
			secure, err := handshake(ctx, tls.Server(conn, cfg))
			<-slots
			if err != nil {
				f.log.Debug("handshake ended", "remote", conn.RemoteAddr().String(), "err", err)
				_ = conn.Close() // it is no connection
				return
			}
			route(secure)
		})
	}
}

func handshake(ctx context.Context, conn *tls.Conn) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	return conn, conn.HandshakeContext(ctx)
}

// route gives conn to who speaks its protocol.
func (f *front) route(ctx context.Context, conn *tls.Conn, web *handover) {
	switch conn.ConnectionState().NegotiatedProtocol {
	case "h2", "http/1.1", "":
		web.give(conn)
		return
	case api.ALPNSession:
		f.serveSession(ctx, conn)
	}
	_ = conn.Close() // a session's own end was told already
}

func (f *front) serveSession(ctx context.Context, conn *tls.Conn) {
	id, role, err := identity.PeerNode(conn.ConnectionState())
	if err != nil || role == identity.RoleNone {
		f.log.Warn("session without a node certificate was refused", "remote", conn.RemoteAddr().String(), "err", err)
		return
	}
	err = f.sessions.Serve(ctx, conn, id)
	if err != nil && ctx.Err() == nil {
		f.log.Info("session ended", "node", string(id), "err", err)
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

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
