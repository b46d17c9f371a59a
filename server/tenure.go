package server

import (
	"context"
	"sync"
)

// tenure is a time in which this server leads and has prepared for it: requests and
// sessions are served then, and passed on to the leader else.
type tenure struct {
	mu      sync.Mutex
	ctx     context.Context // ends with the tenure; nil: this server does not lead; guarded by mu
	changed chan struct{}   // closed when ctx is another; guarded by mu
}

func newTenure() *tenure { return &tenure{changed: make(chan struct{})} }

// begin opens the doors until ctx ends; end must be called then.
func (t *tenure) begin(ctx context.Context) (end func()) {
	t.set(ctx)
	return func() { t.set(nil) }
}

func (t *tenure) set(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ctx = ctx
	close(t.changed)
	t.changed = make(chan struct{})
}

// now returns the context of the present tenure, nil if there is none, and a channel
// that is closed when that is not so any more.
func (t *tenure) now() (context.Context, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx != nil && t.ctx.Err() != nil {
		return nil, t.changed // its loops are about to end: nothing new begins
	}
	return t.ctx, t.changed
}

// during returns ctx, ended by the tenure's end as well.
func during(ctx, tenure context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(tenure, func() { cancel(errNotLeading) })
	return both, func() {
		stop()
		cancel(nil)
	}
}
