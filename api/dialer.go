package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"paas/cluster"
	"paas/identity"
)

// ALPNPeer is HTTP/1.1 between hosts: images, git repositories and build logs on
// their way to other servers. ALPNRelay carries an agent's session from the server
// that it dialed to the one that leads.
const (
	ALPNPeer  = "paas-peer/1"
	ALPNRelay = "paas-relay/1"
)

const (
	// deadAfter is how long a host may leave what was sent to it unacknowledged, or
	// probes unanswered: a host that lost its power says nothing. Two seconds are a
	// few retransmissions even where one in a hundred packets is lost.
	deadAfter = 2 * time.Second
	// probeInterval is how often an idle connection is probed.
	probeInterval = time.Second
)

// attemptTime bounds one try at one address, when there are others.
const attemptTime = time.Second

// Dialer connects to hosts of the cluster by who they are. It is safe for concurrent
// use.
type Dialer struct {
	// Node returns this host's newest identity.
	Node func() *identity.Node
	// Addresses returns where a node may be, host:port, likeliest first.
	Addresses func(cluster.NodeID) []string
	// Sessions shortens handshakes with nodes that were met before; nil shortens none.
	Sessions tls.ClientSessionCache
	// Met is told who was found at an address that was believed to be another's, or
	// after likelier ones had failed; nil does not care.
	Met func(id cluster.NodeID, address string)
}

// Dial connects to a node, and to no other, and does the handshake.
func (d *Dialer) Dial(ctx context.Context, id cluster.NodeID, alpn string) (*tls.Conn, error) {
	addresses := d.Addresses(id)
	err := error(cluster.Errorf(cluster.KindUnavailable, "address", "node %s cannot be reached", id).
		Because("nobody knows its address"))
	for i, address := range addresses {
		try, cancel := ctx, context.CancelFunc(func() {})
		if i < len(addresses)-1 { // leave time for the next one
			try, cancel = context.WithTimeout(ctx, attemptTime)
		}
		var conn *tls.Conn
		conn, err = d.dialAt(try, address, id, alpn)
		cancel()
		if err == nil && i > 0 && d.Met != nil {
			d.Met(id, address) // what was believed likelier is wrong: the next one need not try it
		}
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
	}
	return nil, err
}

// DialHost connects to another host's port by TCP, such that a host that vanishes
// is noticed: after deadAfter, if alpn is one whose other end always reads what it
// is sent.
//
// That cannot be had for the others. TCP_USER_TIMEOUT also ends a connection whose
// other end is there, but has been busy for that long with what it got (tcp(7): "due
// to zero window size"): an upload to an app that thinks, an image that a slow disk
// takes in. Kept alive they are as well, so they end soon while they are idle; who
// uses them must know by other means whether the host is there while data waits.
func DialHost(ctx context.Context, address, alpn string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive()}
	if !bulk(alpn) {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { // a kernel without it notices later
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadAfter/time.Millisecond))
			})
		}
	}
	return d.DialContext(ctx, "tcp", address)
}

// bulk reports whether what a protocol carries may wait for its reader.
func bulk(alpn string) bool {
	switch alpn {
	case ALPNTunnel, ALPNPeer, "http/1.1", "h2":
		return true
	}
	return false
}

// keepAlive finds that the other host is gone while nothing is sent to it.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: probeInterval, Interval: probeInterval, Count: 2}
}

// NoticeSilence makes the accepting side of a connection notice as well that the
// other host is gone, while nothing is sent to it.
func NoticeSilence(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(keepAlive()) // fails only on a dead connection
	}
}

// peerHeaderTime is how long a peer may think before it begins to answer: it may
// first have to fetch an image itself.
const peerHeaderTime = 5 * time.Minute

// Transport is HTTP/1.1 to nodes with an ALPN protocol: the host of a request's URL
// is a node's ID. dial bounds how long a connection may take; an error of connecting
// is a *NotSentError.
func (d *Dialer) Transport(alpn string, dial time.Duration) *http.Transport {
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dial)
			defer cancel()
			id, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, &NotSentError{err}
			}
			conn, err := d.Dial(ctx, cluster.NodeID(id), alpn)
			if err != nil {
				return nil, &NotSentError{err}
			}
			return conn, nil
		},
		DisableCompression:    true,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: peerHeaderTime,
		ExpectContinueTimeout: 5 * time.Second,
	}
}

// NotSentError marks a request that never left this host.
type NotSentError struct{ Err error }

// Error implements error.
func (e *NotSentError) Error() string { return "connect: " + e.Err.Error() }

// Unwrap returns why.
func (e *NotSentError) Unwrap() error { return e.Err }

// dialAt tries one address.
func (d *Dialer) dialAt(ctx context.Context, address string, id cluster.NodeID, alpn string) (*tls.Conn, error) {
	raw, err := DialHost(ctx, address, alpn)
	if err != nil {
		return nil, err
	}
	cfg := d.Node().NodeConfig(id, alpn)
	if d.Sessions != nil {
		cfg.ClientSessionCache, cfg.ServerName = d.Sessions, string(id) // by whom they are found
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // it is no connection
		var other *identity.WrongNodeError
		if errors.As(err, &other) && d.Met != nil {
			d.Met(other.Got, address)
		}
		return nil, fmt.Errorf("dial node %s at %s: %w", id, address, err)
	}
	return conn, nil
}
