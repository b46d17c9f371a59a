package router

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"paas/cluster"
)

// A host that lost its power says nothing, and neither TCP nor a request's own
// deadline notices within half a minute. So hosts to which requests go are asked for
// a sign of life all the time, on a connection of its own. The price is two packets
// and some 50 µs of this process's time, four times a second per host.
const (
	watchEvery = 250 * time.Millisecond
	// doubtAfter is how long a host may owe an answer until its replicas are left out.
	// Its connections go on: it may only be slow.
	doubtAfter = 750 * time.Millisecond
	// lostAfter is how long until its connections are cut, and what was asked on them
	// is asked elsewhere if that is safe.
	lostAfter = 1750 * time.Millisecond
	// watchSlack is how late a timer may come. One that comes later tells that this
	// process got no processor, and nothing of the host.
	watchSlack = 200 * time.Millisecond
	// watchIdle is how long a host that gets no request is still watched.
	watchIdle = 10 * time.Second
	// watchRetry is how long a host that cannot be reached is left alone.
	watchRetry = 500 * time.Millisecond
)

// follow watches hosts, from their first request on, until ctx ends.
func (r *Router) follow(ctx context.Context) error {
	var hosts sync.WaitGroup
	defer hosts.Wait()
	for {
		select {
		case n := <-r.watches:
			hosts.Go(func() {
				defer n.watched.Store(false)
				r.watchHost(ctx, n)
			})
		case <-ctx.Done():
			return nil
		}
	}
}

// startWatch asks follow to watch a host. If it is not there, the next request asks again.
func (r *Router) startWatch(n *remote) {
	select {
	case r.watches <- n:
	default:
		n.watched.Store(false)
	}
}

// watchHost keeps asking a host for signs of life while it is of interest.
func (r *Router) watchHost(ctx context.Context, n *remote) {
	for ctx.Err() == nil && n.wanted(time.Now()) {
		err := r.converse(ctx, n)
		if err == nil || ctx.Err() != nil {
			return
		}
		r.doubt(n, err)
		if !r.deaf(n) {
			n.cut()
		}
		pause(ctx, watchRetry)
	}
}

// converse asks on one connection, until an answer does not come in time or nobody is
// interested any more.
func (r *Router) converse(ctx context.Context, n *remote) error {
	dialing, cancel := context.WithTimeout(ctx, r.limits.Reach)
	defer cancel()
	var armed atomic.Int64
	armed.Store(time.Now().UnixNano())
	doubts := time.AfterFunc(doubtAfter, func() {
		if time.Now().UnixNano()-armed.Load() < int64(doubtAfter+watchSlack) {
			r.doubt(n, errHostDoubt)
		}
	})
	defer doubts.Stop()
	conn, err := r.config.Probe(dialing, n.node)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()                                              // nothing more is wanted of it
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // long past
	defer stop()
	for ctx.Err() == nil && n.wanted(time.Now()) {
		armed.Store(time.Now().UnixNano())
		doubts.Reset(doubtAfter)
		if err := askForLife(conn); err != nil {
			return err
		}
		doubts.Stop()
		r.trust(n)
		pause(ctx, watchEvery)
	}
	return nil
}

// askForLife sends a byte and waits for it to come back.
func askForLife(conn net.Conn) error {
	began := time.Now()
	_ = conn.SetDeadline(began.Add(lostAfter)) // fails only on a dead connection
	var one [1]byte
	if _, err := conn.Write(one[:]); err != nil {
		return err
	}
	_, err := conn.Read(one[:])
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() && time.Since(began) > lostAfter+watchSlack {
		_ = conn.SetDeadline(time.Now().Add(doubtAfter)) // the answer may lie there: nobody looked
		_, err = conn.Read(one[:])
	}
	return err
}

// deaf reports whether all other hosts are out as well. Then it is this one that
// hears nobody, and cutting what it has would only make it worse: requests go where
// they went, as if nobody were out.
func (r *Router) deaf(n *remote) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	others := 0
	for _, o := range r.remotes {
		if o == n || !o.watched.Load() {
			continue
		}
		if !o.out.Load() {
			return false
		}
		others++
	}
	return others > 0
}

// doubt leaves a host's replicas out until it answers.
func (r *Router) doubt(n *remote, err error) {
	if n.standing.failed(time.Now()) {
		r.log.Warn("host ejected: it does not answer", "node", string(n.node), "err", err)
	}
	if n.out.Swap(true) {
		return
	}
	r.counters.ejections.Add(1)
	n.giveUp()
	for _, u := range r.upstreamsOn(n) {
		u.transport.CloseIdleConnections() // each would cost a request
	}
}

// trust lets a host that answers take requests again.
func (r *Router) trust(n *remote) {
	n.lost.Store(false)
	if !n.out.Swap(false) {
		return
	}
	for _, u := range r.upstreamsOn(n) {
		u.forgive()
	}
}

func (r *Router) upstreamsOn(n *remote) (out []*upstream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.upstreams {
		if u.host == n {
			out = append(out, u)
		}
	}
	return out
}

// remoteLocked returns the state kept for the host of a replica, new if there is none;
// nil for this host, and if other hosts are not watched.
func (r *Router) remoteLocked(id cluster.NodeID) *remote {
	if id == r.config.Node || r.config.Probe == nil {
		return nil
	}
	n := r.remotes[id]
	if n == nil {
		n = &remote{node: id, start: r.startWatch, conns: map[*remoteConn]struct{}{}, dials: map[*remoteConn]context.CancelFunc{}}
		n.listed.Store(true)
		r.remotes[id] = n
	}
	return n
}

// forgetRemotesLocked drops hosts without a replica.
func (r *Router) forgetRemotesLocked() {
	used := make(map[*remote]bool, len(r.remotes))
	for _, u := range r.upstreams {
		used[u.host] = true
	}
	for id, n := range r.remotes {
		if !used[n] {
			n.listed.Store(false)
			delete(r.remotes, id)
		}
	}
}

// blameHost doubts the host of a replica that could not be reached, if the error is
// its host's. A connection that took too long proves nothing: one packet in a
// hundred gets lost. The watch finds out.
func (r *Router) blameHost(up *upstream, err error) {
	var host *HostError
	var timeout net.Error
	slow := errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded)
	if up.host != nil && errors.As(err, &host) && !slow && !errors.Is(err, context.Canceled) {
		r.doubt(up.host, err)
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
