package api

import (
	"context"
	"time"

	"github.com/labstack/echo/v4"

	"paas/cluster"
)

// recheckEvery is how often the token of a request under way is looked at again.
const recheckEvery = 5 * time.Second

// recheck ends the request's context when its token is revoked or expires, so
// that streams, terminals and pushes outlive it by no more than recheckEvery.
// stop must be called when the request is over.
func (g *gate) recheck(c echo.Context, e *entry) (stop func()) {
	if e.Public || e.Once {
		return func() {}
	}
	r, app := c.Request(), appOf(c)
	bearer := credential(r)
	ctx, cancel := context.WithCancelCause(r.Context())
	c.SetRequest(r.WithContext(ctx))
	go func() {
		tick := time.NewTicker(recheckEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			actor, err := g.authenticate(ctx, bearer)
			if err == nil {
				err = e.allow(actor, app)
			}
			if k := cluster.KindOf(err); k == cluster.KindUnauthenticated || k == cluster.KindForbidden {
				cancel(cluster.Errorf(cluster.KindUnauthenticated, "token", "the token is not good any more").
					Because("it was revoked or has expired").WithHint("log in with: paas login"))
				return
			}
		}
	}()
	return func() {
		cancel(nil)
		c.SetRequest(r) // whoever writes the end down must not take it for a caller who left
	}
}
