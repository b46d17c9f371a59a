package router

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"paas/cluster"
)

// A lock is a lease, so that a router that dies holding one stops nobody for
// longer than leaseTTL. It is renewed while held: an ACME order takes minutes.
const (
	leaseTTL   = 30 * time.Second
	leaseRenew = leaseTTL / 3
	leaseRetry = 500 * time.Millisecond
)

// lease is a lock held.
type lease struct {
	holder string
	stop   context.CancelFunc
	ended  chan struct{} // closed when renewing has ended
}

// Lock blocks until this router has the lease called name. Each call is a holder
// of its own, so it excludes this router's other goroutines too.
func (s *storage) Lock(ctx context.Context, name string) error {
	holder := string(s.node) + "/" + rand.Text()
	for {
		err := s.lease(ctx, name, holder, leaseTTL)
		if err == nil {
			break
		}
		if cluster.KindOf(err) != cluster.KindConflict {
			return fmt.Errorf("lock %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(leaseRetry):
		}
	}
	l := &lease{holder: holder, ended: make(chan struct{})}
	ctx, l.stop = context.WithCancel(ctx)
	s.mu.Lock()
	s.leases[name] = l
	s.mu.Unlock()
	go s.renew(ctx, name, l) // ends in Unlock, which certmagic always calls
	return nil
}

// Unlock gives a lease back, even when ctx has ended: others wait for it.
func (s *storage) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	l := s.leases[name]
	delete(s.leases, name)
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	l.stop()
	<-l.ended
	if err := s.lease(context.WithoutCancel(ctx), name, l.holder, 0); err != nil {
		return fmt.Errorf("unlock %s: %w", name, err) // it ends by itself
	}
	return nil
}

func (s *storage) renew(ctx context.Context, name string, l *lease) {
	defer close(l.ended)
	tick := time.NewTicker(leaseRenew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.lease(ctx, name, l.holder, leaseTTL); err != nil && ctx.Err() == nil {
				s.log.Warn("certificate lock not renewed", "err", err)
			}
		}
	}
}

func (s *storage) lease(ctx context.Context, name, holder string, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	return s.remote.Lock(ctx, name, holder, ttl)
}
