package server

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"paas/cluster"
	"paas/store"
)

// leader runs what only the leading server does.
type leader struct {
	*control
	trust    *trust
	deployer *deployer
	fleet    *fleet
	loops    []layer
	began    time.Time // of this process
}

// term is one time of leading.
type term struct {
	cancel context.CancelFunc
	// done carries how it ended, once; its goroutine sends, capacity 1.
	done chan error
}

// Run starts the loops when this server begins to lead and ends them when it
// stops, until ctx ends or a loop meets what it cannot mend.
func (l *leader) Run(ctx context.Context) error {
	changes := l.store.LeaderChanges()
	var now *term
	var ended <-chan error // of now; nil while not leading
	end := func() error {
		if now == nil {
			return nil
		}
		now.cancel()
		err := <-now.done
		now, ended = nil, nil
		return err
	}
	for {
		select {
		case leading := <-changes:
			if err := end(); err != nil {
				return err
			}
			if leading {
				now = l.lead(ctx)
				ended = now.done
			}
		case err := <-ended:
			now.cancel()
			now, ended = nil, nil
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return end()
		}
	}
}

// lead starts the loops.
func (l *leader) lead(ctx context.Context) *term {
	ctx, cancel := context.WithCancel(ctx)
	t := &term{cancel: cancel, done: make(chan error, 1)}
	go func() { t.done <- l.serve(ctx) }()
	return t
}

// serve prepares, then runs the loops. A write that was not taken is tried again
// until ctx ends: who loses the lead for a moment only may never be told that it did.
func (l *leader) serve(ctx context.Context) error {
	for failures := 1; ; failures++ {
		err := l.prepare(ctx)
		if err == nil {
			return l.preside(ctx)
		}
		if ctx.Err() != nil {
			return nil // the next leader prepares
		}
		if cluster.KindOf(err) != cluster.KindUnavailable {
			return err
		}
		l.log.Warn("the leader's work has not begun yet", "err", err)
		_ = pause(ctx, backoff(failures)) // prepare sees the end
	}
}

// preside opens the doors and runs the loops. Builds that run here end with the
// tenure: nobody could say what became of them.
func (l *leader) preside(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer l.tenure.begin(ctx)()
	err := l.runLoops(ctx)
	l.deployer.stopBuilds(errNotLeading)
	return err
}

func (l *leader) runLoops(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, loop := range l.loops {
		g.Go(func() error {
			if err := loop.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", loop.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// prepare makes the cluster if there is none, and mends what a process before
// this one left unfinished.
func (l *leader) prepare(ctx context.Context) error {
	st := l.store.State()
	if !st.Bootstrapped() {
		if _, err := l.store.Propose(ctx, store.Bootstrap{By: platform(), Settings: l.trust.settings}); err != nil {
			return fmt.Errorf("bootstrap cluster: %w", err)
		}
		l.log.Info("cluster created", "cluster", string(l.trust.settings.ID))
	} else if st.Settings().ID != l.trust.settings.ID {
		return fmt.Errorf("the state is of cluster %s, the identity of %s: the data directory is mixed up", st.Settings().ID, l.trust.settings.ID)
	}
	if err := l.dismiss(ctx); err != nil {
		return err
	}
	if err := l.deployer.interrupted(ctx, l.began); err != nil {
		return fmt.Errorf("end interrupted builds: %w", err)
	}
	l.fleet.forget()
	return nil
}

// nudge leaves a signal in a channel of capacity 1.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting already
	}
}

// backoff is how long to wait after so many failures in a row: 100 ms, doubling to 5 s.
func backoff(failures int) time.Duration {
	return min(100*time.Millisecond<<min(failures-1, 6), 5*time.Second)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
