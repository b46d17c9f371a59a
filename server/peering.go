package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

// peerDialTime bounds a connection to another server.
const peerDialTime = 2 * time.Second

// peering is how hosts ask a server for what is no business of people: HTTP/1.1 with
// ALPN paas-peer/1 over the port between hosts. Each path says which roles may ask.
type peering struct {
	book   *book
	client *http.Client
	mux    *http.ServeMux
	web    *handover
	log    *slog.Logger
}

func newPeering(b *book, d *api.Dialer, web *handover, log *slog.Logger) *peering {
	return &peering{book: b, client: &http.Client{Transport: d.Transport(api.ALPNPeer, peerDialTime)}, mux: http.NewServeMux(), web: web, log: log}
}

// handle serves a pattern of http.ServeMux to nodes of the given roles. It is called
// before Run.
func (p *peering) handle(pattern string, h http.Handler, roles ...identity.Role) {
	p.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		peer, _ := r.Context().Value(peerKey{}).(api.Peer)
		if !slices.Contains(roles, peer.Role) || p.book.refuses(peer.ID) {
			http.Error(w, "not for this node", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// peerConn is a connection of a host whose certificate was checked. It hides that it
// is TLS from net/http, which would look for a protocol of its own behind the ALPN.
type peerConn struct {
	net.Conn
	peer   api.Peer
	once   sync.Once
	closed chan struct{}
}

// Close implements net.Conn.
func (c *peerConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

type peerKey struct{}

// peerOf is the host that a request came from, if it came from one.
func peerOf(r *http.Request) (cluster.NodeID, identity.Role, bool) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", identity.RoleNone, false
	}
	id, role, err := identity.PeerNode(*r.TLS)
	return id, role, err == nil
}

// serve is the port's.
func (p *peering) serve(conn *tls.Conn, peer api.Peer) {
	p.book.called(peer.ID, conn.RemoteAddr())
	held := &peerConn{Conn: conn, peer: peer, closed: make(chan struct{})}
	p.web.give(held)
	<-held.closed // until then the port may have to close it: when the node is removed
}

// Run serves until ctx ends.
func (p *peering) Run(ctx context.Context) error {
	srv := &http.Server{Handler: p.mux, ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, peerKey{}, conn.(*peerConn).peer)
	}, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() }) // peers ask another server, or again
	defer stop()
	defer p.client.CloseIdleConnections()
	if err := srv.Serve(p.web); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve other servers: %w", err)
	}
	return nil
}

// ask sends a request to another server; path begins with a slash. Whatever is no
// 2xx is an error, with the first words of the answer. The caller closes the body.
func (p *peering) ask(ctx context.Context, node cluster.NodeID, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+string(node)+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask server %s: %w", node, err)
	}
	if resp.StatusCode/100 != 2 {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // what there is of it helps
		_ = resp.Body.Close()
		return nil, fmt.Errorf("ask server %s for %s: %s: %s", node, path, resp.Status, said)
	}
	return resp, nil
}

// position is how far a server has followed Raft's log.
type position struct {
	Applied uint64 `json:"applied"`
}

// servePosition answers the leader, which wants to know whether a server that joined
// has caught up.
func (c *control) servePosition(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(position{c.store.Applied()}) // a leader that left asks again
}

// positionOf asks a server how far it is.
func (p *peering) positionOf(ctx context.Context, node cluster.NodeID) (uint64, error) {
	resp, err := p.ask(ctx, node, http.MethodGet, "/position", nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var at position
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<10)).Decode(&at); err != nil {
		return 0, fmt.Errorf("read position of server %s: %w", node, err)
	}
	return at.Applied, nil
}
