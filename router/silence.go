package router

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// silence is what a router knows of a replica that takes requests and answers
// nothing: a stopped process whose kernel still accepts connections, a deadlock,
// workers that are all stuck. An endpoint that is slow is none of that, and only
// the replica knows which it is; so after Limits.Silence without any answer it is
// asked, and left out only if that stays unanswered, too. The zero silence is
// nothing.
type silence struct {
	since   atomic.Int64 // Unix nanoseconds of the first request after the last answer; 0: none waits
	mute    atomic.Bool  // it leaves pings unanswered: out until it answers anything
	pinging atomic.Bool
}

// asked is called when a request goes to the replica.
func (s *silence) asked() {
	if s.since.Load() == 0 {
		s.since.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// heard is called when it answers, no matter what or to whom. It reports whether
// the replica was mute until now.
func (s *silence) heard() bool {
	s.since.Store(0)
	return s.mute.Load() && s.mute.CompareAndSwap(true, false)
}

// silent is since when a mute replica owes an answer.
func (s *silence) silent(now time.Time) (since time.Time, mute bool) {
	if !s.mute.Load() {
		return time.Time{}, false
	}
	if at := s.since.Load(); at != 0 {
		now = time.Unix(0, at)
	}
	return now.UTC(), true
}

// suspicious reports whether the replica should be pinged at now.
func (s *silence) suspicious(now time.Time, after time.Duration) bool {
	since := s.since.Load()
	return s.mute.Load() || since != 0 && now.UnixNano()-since >= int64(after)
}

// listen pings replicas that have fallen silent until ctx ends, and tells what is well
// again.
func (r *Router) listen(ctx context.Context) error {
	tick := time.NewTicker(r.limits.Silence / 2)
	defer tick.Stop()
	var pings sync.WaitGroup
	defer pings.Wait()
	for {
		select {
		case now := <-tick.C:
			r.tellReturns(now)
			for _, u := range r.suspects(now) {
				pings.Go(func() {
					defer u.pinging.Store(false)
					r.ping(ctx, u)
				})
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// suspects returns the replicas that have to be pinged, each for one ping.
func (r *Router) suspects(now time.Time) (out []*upstream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.upstreams {
		if u.host != nil && u.host.out.Load() {
			continue // nothing there answers
		}
		if u.held.Load()&retiredBit == 0 && u.suspicious(now, r.limits.Silence) && u.pinging.CompareAndSwap(false, true) {
			out = append(out, u)
		}
	}
	return out
}

// ping asks u for nothing: "OPTIONS *" is what RFC 9110, 9.3.7, has for that, and
// servers answer it, well or badly, without the app's doing. Any answer will do.
func (r *Router) ping(ctx context.Context, u *upstream) {
	once, cancel := context.WithTimeout(ctx, r.limits.Silence)
	defer cancel()
	req := &http.Request{Method: http.MethodOptions, URL: &url.URL{Scheme: "http", Host: "replica", Opaque: "*"}, Host: u.Address,
		Header: http.Header{"User-Agent": {"paas-router/1"}}}
	resp, err := u.transport.RoundTrip(req.WithContext(once))
	if err == nil {
		_ = resp.Body.Close()
	}
	switch {
	case ctx.Err() != nil:
	case err == nil || once.Err() == nil: // refused or broken is an answer: it counts elsewhere
		u.heard()
	case !u.mute.Swap(true):
		u.changed()
		r.counters.ejections.Add(1)
		if u.standing.failed(time.Now()) {
			r.log.Warn("replica ejected: it takes requests and answers none", "alloc", u.Allocation, "node", u.Node, "waiting", u.load())
		}
	default:
		u.standing.failed(time.Now())
	}
}
