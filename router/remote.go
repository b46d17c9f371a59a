package router

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"paas/cluster"
)

// HostError says that the host of a replica could not be reached at all: it says
// nothing of the replica, and as much of all others there.
type HostError struct{ Err error }

// Error implements error.
func (e *HostError) Error() string { return e.Err.Error() }

// Unwrap returns why.
func (e *HostError) Unwrap() error { return e.Err }

var (
	errHostLost  = errors.New("the replica's host does not answer any more")
	errHostDoubt = errors.New("the replica's host does not answer")
)

// remote is another host as this router reaches it. What befalls the host befalls all
// its replicas, and is found out once for all of them: see watchHost.
type remote struct {
	node cluster.NodeID
	// start has the host watched; see follow.
	start func(*remote)

	standing standing

	out     atomic.Bool  // its replicas are left out while there are others
	lost    atomic.Bool  // it is gone: connecting is vain until it answers its watch
	listed  atomic.Bool  // a replica of the table, or one with holders, is there
	watched atomic.Bool  // or about to be
	asked   atomic.Int64 // when a request last went there, Unix nanoseconds

	mu    sync.Mutex
	conns map[*remoteConn]struct{}           // guarded by mu
	dials map[*remoteConn]context.CancelFunc // under way, by what they will become; guarded by mu
}

// ask notes a request that goes there.
func (n *remote) ask(now time.Time) {
	n.asked.Store(now.UnixNano())
	if !n.watched.Load() && n.watched.CompareAndSwap(false, true) {
		n.start(n)
	}
}

// wanted reports whether the host should be watched at now: requests go there, or
// went a moment ago, or would go if it were not left out.
func (n *remote) wanted(now time.Time) bool {
	n.mu.Lock()
	open := len(n.conns)
	n.mu.Unlock()
	return open > 0 || n.listed.Load() && (n.out.Load() || now.UnixNano()-n.asked.Load() < int64(watchIdle))
}

// dial connects to a replica there with connect.
func (n *remote) dial(ctx context.Context, connect func(context.Context) (net.Conn, error)) (net.Conn, error) {
	if n.lost.Load() {
		// net/http repeats a request on the same replica before anybody else may decide.
		return nil, &HostError{errHostLost}
	}
	c := &remoteConn{host: n}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.mu.Lock()
	n.dials[c] = cancel
	n.mu.Unlock()
	conn, err := connect(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	_, wanted := n.dials[c]
	delete(n.dials, c)
	if err != nil {
		if !wanted {
			err = &HostError{errHostDoubt}
		}
		return nil, err
	}
	c.Conn = conn
	n.conns[c] = struct{}{}
	return c, nil
}

// giveUp ends dials that are under way: other hosts take the requests sooner.
func (n *remote) giveUp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c, cancel := range n.dials {
		cancel()
		delete(n.dials, c)
	}
}

// cut ends the connections there: who waits on them learns that nothing will come.
func (n *remote) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost.Store(true)
	for c := range n.conns {
		c.lost.Store(true)
		_ = c.SetDeadline(time.Unix(1, 0)) // long past: reads and writes end
	}
}

// remoteConn is a connection to a replica on another host.
type remoteConn struct {
	net.Conn
	host *remote
	lost atomic.Bool
}

func (c *remoteConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.judge(err)
}

func (c *remoteConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.judge(err)
}

// judge tells the end of a host from other errors. It is no timeout: nobody works on
// the request any more, or can say so.
func (c *remoteConn) judge(err error) error {
	if err != nil && (c.lost.Load() || errors.Is(err, syscall.ETIMEDOUT) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)) {
		return &HostError{errHostLost}
	}
	return err
}

// CloseWrite says that nothing more will be sent.
func (c *remoteConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *remoteConn) Close() error {
	c.host.mu.Lock()
	delete(c.host.conns, c)
	c.host.mu.Unlock()
	if under, ok := c.Conn.(interface{ NetConn() net.Conn }); ok && c.lost.Load() {
		return under.NetConn().Close() // TLS's good-bye would wait for a host that is gone
	}
	return c.Conn.Close()
}
