package api

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	// throttleBurst wrong tokens are free, then one every throttleRefill: a typo or
	// an expired script goes unnoticed, who guesses is told to stop.
	throttleBurst  = 10
	throttleRefill = 3 * time.Second
	// throttleSources bounds the memory; sources beyond it share one bucket.
	throttleSources = 4096
)

// throttle counts wrong tokens per source address: a token bucket each.
type throttle struct {
	mu sync.Mutex
	// fullAt says when a source's bucket is full again, which is all that a bucket
	// has to remember. Guarded by mu.
	fullAt map[string]time.Time
}

func newThrottle() *throttle { return &throttle{fullAt: map[string]time.Time{}} }

// wait returns how long source must wait before its next try, in whole seconds
// and at least one; 0 if it may try now.
func (t *throttle) wait(source string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	free := t.fullAt[t.bucket(source)].Add(-(throttleBurst - 1) * throttleRefill) // one token is back then
	if !free.After(now) {
		return 0
	}
	return max(time.Second, free.Sub(now).Round(time.Second))
}

// punish takes one token out of source's bucket.
func (t *throttle) punish(source string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucket(source)
	if len(t.fullAt) >= throttleSources {
		for k, at := range t.fullAt {
			if !at.After(now) {
				delete(t.fullAt, k)
			}
		}
	}
	at := t.fullAt[b]
	if at.Before(now) {
		at = now
	}
	t.fullAt[b] = at.Add(throttleRefill)
}

// bucket names the bucket of source. The caller holds mu.
func (t *throttle) bucket(source string) string {
	if _, known := t.fullAt[source]; known || len(t.fullAt) < throttleSources {
		return source
	}
	return "" // everybody else
}

// sourceOf is what counts as one source: an IPv4 address, or an IPv6 /64, which
// one host can have all of.
func sourceOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap(); ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip.WithZone(""), 64).Masked().String()
}
