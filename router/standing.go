package router

import (
	"errors"
	"sync"
	"time"
)

// settled is how long a replica or a host must have been well again until the log
// says so. One that falters under load fails and recovers at the rate of its requests.
const settled = 5 * time.Second

// standing is what the log was told of a replica or a host: that it is out, once,
// however often it fails until it is well again, and that it is back, once, with how
// much failed meanwhile. The zero standing is well.
type standing struct {
	mu       sync.Mutex
	out      bool // the log was told
	since    time.Time
	well     time.Time // when it was seen to be well again; zero if it is not
	failures int
}

// failed notes a failure at now, and reports whether the log has to be told.
func (s *standing) failed(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.well = time.Time{}
	if s.out {
		s.failures++
		return false
	}
	s.out, s.since, s.failures = true, now, 1
	return true
}

// recovered notes that it is well at now. It reports whether the log has to be told
// that it is back, for how long it was out, and how much failed.
func (s *standing) recovered(now time.Time) (out time.Duration, failures int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.out {
		return 0, 0, false
	}
	if s.well.IsZero() {
		s.well = now
	}
	if now.Sub(s.well) < settled {
		return 0, 0, false
	}
	s.out = false
	return s.well.Sub(s.since).Round(time.Millisecond), s.failures, true
}

// refused notes that a request could not connect to u. What its host is to blame
// for is told of the host alone: it may have hundreds of replicas.
func (r *Router) refused(u *upstream, err error) {
	now := time.Now()
	if u.strike(now) {
		r.counters.ejections.Add(1)
	}
	var host *HostError
	if u.host != nil && errors.As(err, &host) && u.host.out.Load() {
		u.host.standing.failed(now)
		return
	}
	if u.standing.failed(now) {
		r.log.Warn("replica ejected", "alloc", u.Allocation, "node", u.Node, "err", err)
	}
}

// tellReturns logs what is well again.
func (r *Router) tellReturns(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.upstreams {
		if u.mute.Load() || u.until.Load() != 0 || u.held.Load()&retiredBit != 0 {
			continue
		}
		if out, failures, ok := u.standing.recovered(now); ok {
			r.log.Info("replica is back", "alloc", u.Allocation, "node", u.Node, "out", out, "failures", failures)
		}
	}
	for _, n := range r.remotes {
		if n.out.Load() {
			continue
		}
		if out, failures, ok := n.standing.recovered(now); ok {
			r.log.Info("host is back", "node", string(n.node), "out", out, "failures", failures)
		}
	}
}
