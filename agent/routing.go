package agent

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"

	"paas/api"
	"paas/cluster"
)

// newestSession is the replicated certificate storage as the router sees it:
// always through the session there is now.
type newestSession struct {
	session atomic.Pointer[api.AgentSession] // nil: none
}

var _ api.ServerCalls = (*newestSession)(nil)

// now is the session, or KindUnavailable.
func (n *newestSession) now() (*api.AgentSession, error) {
	if s := n.session.Load(); s != nil {
		return s, nil
	}
	return nil, cluster.Errorf(cluster.KindUnavailable, "session", "no server can be reached from this node")
}

// LoadFile implements api.ServerCalls.
func (n *newestSession) LoadFile(ctx context.Context, key string) ([]byte, time.Time, error) {
	s, err := n.now()
	if err != nil {
		return nil, time.Time{}, err
	}
	return s.LoadFile(ctx, key)
}

// StoreFile implements api.ServerCalls.
func (n *newestSession) StoreFile(ctx context.Context, key string, value []byte) error {
	s, err := n.now()
	if err != nil {
		return err
	}
	return s.StoreFile(ctx, key, value)
}

// DeleteFile implements api.ServerCalls.
func (n *newestSession) DeleteFile(ctx context.Context, key string) error {
	s, err := n.now()
	if err != nil {
		return err
	}
	return s.DeleteFile(ctx, key)
}

// ListFiles implements api.ServerCalls.
func (n *newestSession) ListFiles(ctx context.Context, prefix string) ([]string, error) {
	s, err := n.now()
	if err != nil {
		return nil, err
	}
	return s.ListFiles(ctx, prefix)
}

// Lock implements api.ServerCalls.
func (n *newestSession) Lock(ctx context.Context, name, holder string, ttl time.Duration) error {
	s, err := n.now()
	if err != nil {
		return err
	}
	return s.Lock(ctx, name, holder, ttl)
}

// SignEdge implements api.ServerCalls.
func (n *newestSession) SignEdge(ctx context.Context, csr []byte) ([]byte, error) {
	s, err := n.now()
	if err != nil {
		return nil, err
	}
	return s.SignEdge(ctx, csr)
}

// dialUpstream connects the router to a replica: directly when it runs on this
// node. Other nodes are reached through their port between hosts only, for no
// container has an address outside its host.
func (a *Agent) dialUpstream(ctx context.Context, u cluster.Upstream) (net.Conn, error) {
	if u.Node != a.config.Node().ID {
		return reach{a.dialer.Dial}.upstream(ctx, u)
	}
	if a.origins != nil {
		if err := a.origins.confirm(ctx, u); err != nil {
			return nil, err
		}
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", u.Address)
}

// ServeTunnel connects another host's router, which dialed this host's port with
// api.ALPNTunnel, to a container of this node. It owns conn, and returns when one of
// the two ends it or ctx ends.
func (a *Agent) ServeTunnel(ctx context.Context, conn *tls.Conn, from api.Peer) {
	a.tunnels.serve(ctx, conn, from)
}
