package router

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"golang.org/x/sync/errgroup"
)

type connKey struct{}

// serverName returns the name that the client asked for in its TLS handshake.
func serverName(r *http.Request) (string, bool) {
	if r.TLS != nil { // HTTP/2
		return strings.ToLower(r.TLS.ServerName), true
	}
	c, ok := r.Context().Value(connKey{}).(*guardConn) // HTTP/1
	if !ok {
		return "", false
	}
	return c.serverName, true
}

// server makes an HTTP server with the router's limits. It is given connections
// whose TLS is done.
func (r *Router) server(base context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: r.limits.Header,
		IdleTimeout:       r.limits.KeepAlive,
		MaxHeaderBytes:    r.limits.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ConnState: r.beginAnswer,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 250,
			// A client that answers no ping is gone within 25 s, slow heads included.
			SendPingTimeout:  15 * time.Second,
			PingTimeout:      10 * time.Second,
			WriteByteTimeout: r.limits.WriteStall,
		},
	}
}

// beginAnswer gives every answer its time, redirects and net/http's own refusals
// included: without one, a client that reads nothing holds its connection for ever.
// The proxy moves the deadline with each write.
func (r *Router) beginAnswer(c net.Conn, s http.ConnState) {
	if g, ok := c.(*guardConn); ok && s == http.StateActive { // HTTP/2 has its own
		_ = g.SetWriteDeadline(time.Now().Add(r.limits.WriteStall)) // fails only on a dead connection
	}
}

// serve answers on both listeners until ctx ends, then lets requests finish for
// Limits.Shutdown, upgraded connections excepted: those end at once.
func (r *Router) serve(ctx context.Context, plain, secure net.Listener) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	handshakes := newHandoff(secure.Addr())
	redirects := r.server(base, r.redirects())
	proxies := r.server(base, newProxy(r))
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return closedIsNil(redirects.Serve(r.guarded(plain))) })
	g.Go(func() error { return closedIsNil(proxies.Serve(handshakes)) })
	g.Go(func() error { return r.acceptTLS(gctx, secure, handshakes) })
	g.Go(func() error {
		<-gctx.Done()
		_ = secure.Close() // ends acceptTLS
		limit, cancel := context.WithTimeout(base, r.limits.Shutdown)
		defer cancel()
		_ = redirects.Shutdown(limit) // what is left after the limit is closed below
		_ = proxies.Shutdown(limit)
		_ = redirects.Close()
		_ = proxies.Close()
		cut()
		return nil
	})
	err := g.Wait()
	r.active.Wait()
	return err
}

func closedIsNil(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// guarded wraps a listener of plain HTTP.
func (r *Router) guarded(l net.Listener) net.Listener { return guardListener{l, r} }

type guardListener struct {
	net.Listener
	r *Router
}

func (l guardListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.r.guardConn(c, ""), nil
}

func (r *Router) guardConn(c net.Conn, serverName string) *guardConn {
	// net/http itself stops a head at HeaderBytes and 4 KiB, with a 431.
	return &guardConn{Conn: c, serverName: serverName, guard: guard{maxLine: r.limits.HeaderBytes + 8<<10},
		refused: func() { r.counters.ambiguous.Add(1) }}
}

// acceptTLS shakes hands with every client, each in its own goroutine, and
// hands the connections on.
func (r *Router) acceptTLS(ctx context.Context, l net.Listener, to *handoff) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	config := r.tlsConfig()
	for pause := time.Duration(0); ; {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil { // out of file descriptors, most likely
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			r.log.Warn("connection not accepted", "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		wg.Go(func() { r.handshake(ctx, tls.Server(c, config), to) })
	}
}

// handshake ends with the connection handed on or closed.
func (r *Router) handshake(ctx context.Context, c *tls.Conn, to *handoff) {
	ctx, cancel := context.WithTimeout(ctx, r.limits.Handshake)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		r.counters.handshakes.Add(1)
		r.log.Debug("handshake failed", "remote", c.RemoteAddr().String(), "err", err)
		_ = c.Close()
		return
	}
	switch s := c.ConnectionState(); s.NegotiatedProtocol {
	case acmez.ACMETLS1Protocol:
		_ = c.Close() // the handshake was the answer
	case "h2":
		to.give(c)
	default:
		to.give(r.guardConn(c, strings.ToLower(s.ServerName)))
	}
}

// handoff is a listener of connections that somebody else accepted. The server has
// one like it, see handover there.
type handoff struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{} // closed by Close
}

func newHandoff(addr net.Addr) *handoff {
	return &handoff{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (h *handoff) give(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.done:
		_ = c.Close()
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handoff) Addr() net.Addr { return h.addr }
