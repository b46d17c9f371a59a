package router

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"paas/cluster"
)

// retiredBit is set in upstream.held while the replica is outside the table.
const retiredBit = int64(1) << 62

// upstreamKey is what makes a replica the same one across tables. Another
// address is another upstream: its connections lead somewhere else.
type upstreamKey struct {
	allocation cluster.AllocationID
	node       cluster.NodeID
	address    string
}

// upstream is one replica as this router uses it: its load, what is
// held against it and its own connection pool. It survives table changes for as long as the replica
// is in the table or still has holders.
type upstream struct {
	cluster.Upstream
	ejection
	silence
	standing  standing
	host      *remote      // nil: this one, or one that is not watched
	held      atomic.Int64 // holders, and retiredBit
	transport *http.Transport
	changed   func() // called when what Status says of it changed
}

func keyOf(u cluster.Upstream) upstreamKey {
	return upstreamKey{u.Allocation, u.Node, u.Address}
}

// hold counts a request in. It fails when the replica has left the table, so
// a caller that read an old table must read it again. Count and mark are one
// word: nobody can slip in between the mark and a look at the count.
func (u *upstream) hold() bool {
	for {
		n := u.held.Load()
		if n&retiredBit != 0 {
			return false
		}
		if u.held.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release undoes one hold.
func (u *upstream) release() {
	n := u.held.Add(-1)
	if n&retiredBit == 0 {
		return
	}
	if n == retiredBit {
		u.transport.CloseIdleConnections()
	}
	u.changed()
}

// retire refuses new holders and closes what is idle; connections that become
// idle later are closed then.
func (u *upstream) retire() {
	u.held.Or(retiredBit)
	u.transport.CloseIdleConnections()
}

// revive lets a replica that came back into the table be held again.
func (u *upstream) revive() { u.held.And(^retiredBit) }

// heard notes an answer, see silence.
func (u *upstream) heard() {
	if u.silence.heard() {
		u.changed()
	}
}

// out reports whether u is to be left out at now while there are others.
func (u *upstream) out(now time.Time) bool {
	return u.mute.Load() || u.ejected(now) || u.host != nil && u.host.out.Load()
}

// asked notes a request that goes to u.
func (u *upstream) asked() {
	u.silence.asked()
	if u.host != nil {
		u.host.ask(time.Now())
	}
}

// load is the number of holders.
func (u *upstream) load() int64 { return u.held.Load() &^ retiredBit }

// dialError marks a failure before anything could be sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return "connect: " + e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// newTransport is the connection pool of one replica. One per replica, and not
// one for all, so that a replica that leaves takes its idle connections with it
// and nobody else's.
func (r *Router) newTransport(u cluster.Upstream, host *remote) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := r.connect(ctx, u, host)
			if err != nil {
				return nil, &dialError{err}
			}
			return c, nil
		},
		DisableCompression:     true, // or it would ask for gzip on its own and unpack answers
		MaxIdleConnsPerHost:    1024,
		IdleConnTimeout:        r.limits.UpstreamIdle,
		ResponseHeaderTimeout:  r.limits.FirstByte,
		ExpectContinueTimeout:  time.Second, // then the body goes without being asked for
		MaxResponseHeaderBytes: 256 << 10,
	}
}

// connect dials a replica.
func (r *Router) connect(ctx context.Context, u cluster.Upstream, host *remote) (net.Conn, error) {
	limit := r.limits.Connect
	if host != nil {
		limit = r.limits.Reach
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if host == nil {
		return r.dial(ctx, u)
	}
	return host.dial(ctx, func(ctx context.Context) (net.Conn, error) { return r.dial(ctx, u) })
}

// dialTCP is the default of Config.Dial.
func dialTCP(ctx context.Context, u cluster.Upstream) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", u.Address)
}
