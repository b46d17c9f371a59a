package api

import (
	"context"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"paas/cluster"
)

func TestRequestsEndWithTheirToken(t *testing.T) {
	for what, after := range map[string]struct {
		actor Actor
		err   error
		ends  bool
	}{
		"still good":     {actor: testActors["deploy"]},
		"server is busy": {err: cluster.Errorf(cluster.KindUnavailable, "starting", "later")},
		"revoked":        {err: cluster.Errorf(cluster.KindUnauthenticated, "token", "no such token"), ends: true},
		"for other apps": {actor: testActors["shop"], ends: true},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gate{authenticate: func(context.Context, string) (Actor, error) { return after.actor, after.err }}
				r := httptest.NewRequest("GET", "/v1/apps/blog/logs", nil)
				r.Header.Set("Authorization", "Bearer x")
				c := echo.New().NewContext(r, httptest.NewRecorder())
				c.SetParamNames("app")
				c.SetParamValues("blog")
				stop := g.recheck(c, &entry{Route: Route{Scope: cluster.ScopeDeploy, App: true}})
				defer stop()
				ctx := c.Request().Context()
				time.Sleep(recheckEvery - time.Second)
				if ctx.Err() != nil {
					t.Fatal("ended before its token was looked at")
				}
				time.Sleep(2 * time.Second)
				if got := ctx.Err() != nil; got != after.ends {
					t.Errorf("ended: %v, want %v", got, after.ends)
				}
				if after.ends && cluster.KindOf(context.Cause(ctx)) != cluster.KindUnauthenticated {
					t.Errorf("cause: %v", context.Cause(ctx))
				}
			})
		})
	}
}
