package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/router"
)

// reach is the near end of tunnels: how this node's router gets to other hosts.
type reach struct {
	dial func(ctx context.Context, id cluster.NodeID, alpn string) (*tls.Conn, error)
}

// upstream connects to a replica on another host. An error that says nothing of the
// replica but of its host is a *router.HostError.
func (r reach) upstream(ctx context.Context, u cluster.Upstream) (net.Conn, error) {
	conn, status, err := r.open(ctx, u.Node, preface{Version: tunnelVersion, Allocation: u.Allocation, Instance: u.Instance, Address: u.Address})
	if err != nil {
		return nil, err
	}
	if status != tunnelOpen {
		_ = conn.Close() // it was answered
		return nil, cluster.Errorf(cluster.KindUnavailable, "tunnel", "replica %s on node %s cannot be reached at %s", u.Instance, u.Node, u.Address).
			Because("%s", status)
	}
	return conn, nil
}

// probe connects to the echo of another host's far end.
func (r reach) probe(ctx context.Context, id cluster.NodeID) (net.Conn, error) {
	conn, status, err := r.open(ctx, id, preface{Version: tunnelVersion})
	if err != nil {
		return nil, err
	}
	if status != tunnelOpen {
		_ = conn.Close() // it was answered
		return nil, fmt.Errorf("ask node %s for its echo: %s", id, status)
	}
	return conn, nil
}

// open sends a preface and returns the answer.
func (r reach) open(ctx context.Context, id cluster.NodeID, p preface) (*tls.Conn, tunnelStatus, error) {
	conn, err := r.dial(ctx, id, api.ALPNTunnel)
	if err != nil {
		return nil, 0, &router.HostError{Err: err}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // long past: reading ends
	var status [1]byte
	err = p.write(conn)
	if err == nil {
		_, err = io.ReadFull(conn, status[:])
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.NetConn().Close() // it is no tunnel
		return nil, 0, &router.HostError{Err: fmt.Errorf("open tunnel to node %s: %w", id, err)}
	}
	return conn, tunnelStatus(status[0]), nil
}
