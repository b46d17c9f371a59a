package server

import (
	"context"
	"errors"

	"paas/cluster"
)

// errDeployCancelled is the end of a deploy that nobody waits for any more.
var errDeployCancelled = cluster.Errorf(cluster.KindUnavailable, "cancelled", "the deploy was cancelled")

// classify makes err one that people understand: who cancelled, or what is ours.
func (d *deployer) classify(ctx context.Context, app cluster.AppName, err error) *cluster.Error {
	var e *cluster.Error
	switch {
	case errors.As(err, &e):
		if e.Kind == cluster.KindInternal {
			d.log.Error("deploy met an internal error", "app", string(app), "err", errors.Join(err, e.Err))
		}
		return e
	case ctx.Err() != nil:
		return errDeployCancelled.Wrap(err)
	}
	d.log.Error("deploy met an internal error", "app", string(app), "err", err)
	return cluster.Errorf(cluster.KindInternal, "internal", "the deploy met an internal error").
		Because("the server's log says more").Wrap(err)
}

// loggedError carries the last lines of what failed beside its error.
type loggedError struct {
	err *cluster.Error
	log []string
}

func (e *loggedError) Error() string { return e.err.Error() }

// Unwrap makes the cluster.Error visible to errors.As.
func (e *loggedError) Unwrap() error { return e.err }

func logOf(err error) []string {
	var l *loggedError
	if errors.As(err, &l) {
		return l.log
	}
	return nil
}
