package router

import (
	"sync"
	"sync/atomic"
	"time"
)

// A replica that refuses connections is left out for ejectFirst, doubling up to
// ejectMost; the first connection that succeeds forgives everything.
const (
	ejectFirst = time.Second
	ejectMost  = 30 * time.Second
)

// ejection is what a router holds against a replica that refuses connections. The zero ejection is
// nothing.
type ejection struct {
	until atomic.Int64 // Unix nanoseconds; 0 if it is not ejected

	mu     sync.Mutex
	streak int // ejections in a row
}

// ejected reports whether the replica is left out at now.
func (e *ejection) ejected(now time.Time) bool {
	until := e.until.Load()
	return until != 0 && now.UnixNano() < until
}

// strike ejects the replica, and reports whether it was in until now: many
// requests that fail at once are one strike.
func (e *ejection) strike(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ejected(now) {
		return false
	}
	out := min(ejectFirst<<min(e.streak, 10), ejectMost)
	e.streak++
	e.until.Store(now.Add(out).UnixNano())
	return true
}

// forgive ends an ejection after a success.
func (e *ejection) forgive() {
	if e.until.Load() == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.streak = 0
	e.until.Store(0)
}
