package store

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"paas/cluster"
)

// Peers reaches the other servers' Raft. A server is known by its ID alone, which is
// its Raft address too: where it is at the moment is for Dial to find out.
type Peers interface {
	Dial(ctx context.Context, id cluster.NodeID) (net.Conn, error)
}

// rpcTimeout bounds one message to another server, and how long a connection to it
// may take. Votes and heartbeats are answered within milliseconds, or their sender is
// better off with a new connection.
const rpcTimeout = 3 * time.Second

// Transport carries Raft between servers. It owns no port: whoever accepts Raft's
// connections hands them over. It implements raft.StreamLayer and is safe for
// concurrent use.
type Transport struct {
	self  cluster.NodeID
	peers Peers
	conns chan net.Conn
	once  sync.Once
	gone  chan struct{} // closed by Close
}

// NewTransport makes the Transport of server self.
func NewTransport(self cluster.NodeID, peers Peers) *Transport {
	return &Transport{self: self, peers: peers, conns: make(chan net.Conn), gone: make(chan struct{})}
}

// Hand gives Raft a connection of another server, whose certificate was checked, and
// returns when Raft is done with it. Without a Raft that runs, it is closed.
func (t *Transport) Hand(conn net.Conn) {
	held := &heldConn{Conn: conn, closed: make(chan struct{})}
	select {
	case t.conns <- held:
		<-held.closed
	case <-t.gone:
		_ = conn.Close() // nobody will read from it
	}
}

// Dial implements raft.StreamLayer. A server that is alone talks to itself, once: see hasten.
func (t *Transport) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout) // the interface has none
	defer cancel()
	if cluster.NodeID(address) != t.self {
		return t.peers.Dial(ctx, cluster.NodeID(address))
	}
	ours, theirs := net.Pipe()
	select {
	case t.conns <- theirs:
		return ours, nil
	case <-t.gone:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (t *Transport) Accept() (net.Conn, error) {
	select {
	case conn := <-t.conns:
		return conn, nil
	case <-t.gone:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (t *Transport) Close() error {
	t.once.Do(func() { close(t.gone) })
	return nil
}

// Addr implements net.Listener: Raft takes it for its own address.
func (t *Transport) Addr() net.Addr { return nodeAddr(t.self) }

// nodeAddr is a server as an address.
type nodeAddr cluster.NodeID

// Network implements net.Addr.
func (nodeAddr) Network() string { return "node" }

// String is the server's ID.
func (a nodeAddr) String() string { return string(a) }

// heldConn tells when it was closed.
type heldConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

// Close implements net.Conn.
func (c *heldConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
