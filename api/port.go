package api

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"paas/cluster"
	"paas/identity"
)

const (
	// handshakeTime bounds a TLS handshake; handshakes how many are under way at once
	// (see doorstep).
	handshakeTime = 5 * time.Second
	handshakes    = 256
	// acceptPause is how long a port rests when it cannot accept: it is out of file
	// descriptors, and must not spin.
	acceptPause = 100 * time.Millisecond
)

// Peer is the host at the other end of a connection, known by its certificate. The
// zero Peer showed none.
type Peer struct {
	ID   cluster.NodeID
	Role identity.Role
}

// Protocol is one of those that share the port between hosts.
type Protocol struct {
	// ALPN names it. The protocol of people's clients has several names, and ""
	// stands for clients that name none.
	ALPN []string
	// Roles are who may speak it; none means anybody, with a certificate or without.
	Roles []identity.Role
	// Serve owns the connection, whose handshake is done. Each call has a goroutine
	// of its own.
	Serve func(conn *tls.Conn, peer Peer)
}

// PortConfig is what a Port is made of.
type PortConfig struct {
	Listener net.Listener
	// Node returns the newest identity: certificates are renewed meanwhile.
	Node func() *identity.Node
	// Refused reports whether a node was removed from the cluster; nil refuses nobody.
	Refused   func(cluster.NodeID) bool
	Protocols []Protocol
	Logger    *slog.Logger
}

// Port is the one port between hosts. It splits connections by the protocol that
// TLS negotiated, and refuses who may not speak it: this is the one place where the
// certificates of hosts are judged.
type Port struct {
	PortConfig
	log      *slog.Logger
	conns    sync.WaitGroup
	doorstep doorstep

	mu     sync.Mutex
	served map[*tls.Conn]cluster.NodeID // who has a connection in Serve; guarded by mu
	told   map[string]time.Time         // when a refusal was last in the log; guarded by mu
	closed bool                         // Close was called; guarded by mu
}

// NewPort makes a Port on a listener, which it owns once Accept is called.
func NewPort(cfg PortConfig) *Port {
	return &Port{PortConfig: cfg, log: cfg.Logger.With("component", "port"), served: map[*tls.Conn]cluster.NodeID{}, told: map[string]time.Time{}}
}

// Accept hands connections to their protocols until ctx ends, and closes the
// listener. What was handed over goes on: see Wait.
func (p *Port) Accept(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.Listener.Close() }) // Accept sees it
	defer stop()
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return p.Node().ServerConfig(p.names()...), nil
	}}
	for {
		conn, err := p.Listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close() // it came too late; nothing was said on it
			}
			return nil
		}
		if err != nil {
			p.log.Warn("connection was not accepted", "err", err)
			if !pause(ctx, acceptPause) {
				return nil
			}
			continue
		}
		p.doorstep.enter(conn)
		p.conns.Go(func() {
			secure, err := handshake(ctx, tls.Server(conn, cfg))
			p.doorstep.leave(conn)
			if err != nil {
				p.log.Debug("handshake ended", "remote", conn.RemoteAddr().String(), "err", err)
				_ = conn.Close() // it is no connection
				return
			}
			p.route(secure)
		})
	}
}

// Close closes the connections that are being served, and those that would be.
func (p *Port) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for conn := range p.served {
		_ = conn.NetConn().Close() // without TLS's good-bye, which could wait
	}
}

// Wait returns when all connections that were handed over are served.
func (p *Port) Wait() { p.conns.Wait() }

// names are what the port speaks.
func (p *Port) names() []string {
	var all []string
	for _, x := range p.Protocols {
		for _, name := range x.ALPN {
			if name != "" {
				all = append(all, name)
			}
		}
	}
	return all
}

func handshake(ctx context.Context, conn *tls.Conn) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	return conn, conn.HandshakeContext(ctx)
}

// route gives conn to who speaks its protocol, if the other side may.
func (p *Port) route(conn *tls.Conn) {
	alpn := conn.ConnectionState().NegotiatedProtocol
	i := slices.IndexFunc(p.Protocols, func(x Protocol) bool { return slices.Contains(x.ALPN, alpn) })
	if i < 0 {
		_ = conn.Close() // it was told what there is
		return
	}
	peer, err := p.admit(conn.ConnectionState(), p.Protocols[i].Roles)
	if err == nil {
		var end func()
		end, err = p.serving(conn, peer)
		defer end()
	}
	if err != nil {
		tell := p.log.Debug
		if p.isNews(peer, alpn, time.Now()) {
			tell = p.log.Warn
		}
		tell("connection was refused", "remote", conn.RemoteAddr().String(), "protocol", alpn, "node", string(peer.ID), "err", err)
		if alpn == ALPNSession && WasRemoved(err) {
			bidFarewell(conn)
		}
		_ = conn.Close() // the log has the reason; strangers learn nothing
		return
	}
	p.Protocols[i].Serve(conn, peer)
}

const (
	// refusalRest is how long a refusal that was told is no news: a host that was
	// removed tries for ever.
	refusalRest = time.Hour
	// maxTold bounds the memory of refusals.
	maxTold = 1024
)

// isNews reports whether a refusal is to be told: once in refusalRest for each node and
// protocol, with all strangers as one.
func (p *Port) isNews(peer Peer, alpn string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := string(peer.ID) + " " + alpn
	if last, ok := p.told[key]; ok && now.Sub(last) < refusalRest {
		return false
	}
	if len(p.told) >= maxTold {
		clear(p.told)
	}
	p.told[key] = now
	return true
}

// errPortClosed is of connections that came when the port closed.
var errPortClosed = errors.New("the port is closed")

// serving notes that conn is peer's until the returned function is called. Who was
// removed between admit and this is seen here: from now on Expel and Close find conn.
func (p *Port) serving(conn *tls.Conn, peer Peer) (end func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.served[conn] = peer.ID
	switch {
	case p.closed:
		err = errPortClosed
	case p.refuses(peer.ID):
		err = errRemoved
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.served, conn)
	}, err
}

func (p *Port) refuses(id cluster.NodeID) bool { return id != "" && p.Refused != nil && p.Refused(id) }

// Expel closes the connections of nodes that are refused now. It is called when
// somebody was removed.
func (p *Port) Expel() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn, id := range p.served {
		if p.refuses(id) {
			_ = conn.NetConn().Close() // without TLS's good-bye, which could wait
		}
	}
}

// admit says who is at the other end, and whether it may speak a protocol that is
// for roles.
func (p *Port) admit(cs tls.ConnectionState, roles []identity.Role) (Peer, error) {
	if len(cs.PeerCertificates) == 0 && len(roles) == 0 {
		return Peer{}, nil
	}
	id, role, err := identity.PeerNode(cs)
	peer := Peer{id, role}
	switch {
	case err != nil:
		return peer, err
	case p.refuses(id):
		return peer, errRemoved
	case len(roles) > 0 && !slices.Contains(roles, role):
		return peer, cluster.Errorf(cluster.KindForbidden, "role", "a node of role %s may not speak this protocol", role)
	}
	return peer, nil
}

// pause waits for d; false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
