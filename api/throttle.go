package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"paas/cluster"
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

// count takes a wrong secret of source into account: nil, or the refusal of one that
// came too soon after others.
func (t *throttle) count(source string, now time.Time) error {
	wait := t.wait(source, now)
	if wait == 0 {
		t.punish(source, now)
		return nil
	}
	err := refuse(http.StatusTooManyRequests, cluster.Errorf(cluster.KindUnavailable, "throttled",
		"too many wrong tokens from your address").Because("the next try is possible in %s", wait).
		WithHint("wait, then use a valid token"))
	err.header.Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
	return err
}

// guessed is err, or a refusal if err says that the caller's secret is wrong, as
// too many of its source were. A right secret is never refused.
func (t *throttle) guessed(ctx context.Context, err error) error {
	if cluster.KindOf(err) != cluster.KindUnauthenticated {
		return err
	}
	if refusal := t.count(sourceFrom(ctx), time.Now()); refusal != nil {
		return refusal
	}
	return err
}

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
