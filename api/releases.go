package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"paas/cluster"
)

// ReleaseService lists releases and goes back to one.
type ReleaseService interface {
	// Releases lists newest first, at most limit; 0 means 15.
	Releases(ctx context.Context, app cluster.AppName, limit int) ([]cluster.Release, error)
	Release(ctx context.Context, app cluster.AppName, v cluster.ReleaseVersion) (*cluster.Release, error)
	// Rollback makes a new release from an old one; To 0 means the one before.
	Rollback(ctx context.Context, app cluster.AppName, in Rollback) (*DeployResult, error)
}

// Rollback names the release to return to.
type Rollback struct {
	To cluster.ReleaseVersion `json:"to,omitempty"`
}

type releasesInput struct {
	App   cluster.AppName `path:"app" doc:"The app's name"`
	Limit int             `query:"limit" minimum:"0" maximum:"1000" doc:"How many at most; 0 means 15"`
}

type releaseInput struct {
	App     cluster.AppName        `path:"app" doc:"The app's name"`
	Version cluster.ReleaseVersion `path:"version" minimum:"1" doc:"The release's number, without v"`
}

type rollbackInput struct {
	App  cluster.AppName `path:"app" doc:"The app's name"`
	Body Rollback
}

func addReleaseRoutes(t *table, s ReleaseService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/releases", name: "list-releases", summary: "List releases, newest first",
		rule: onApp(cluster.ScopeRead)}, func(ctx context.Context, in *releasesInput) ([]cluster.Release, error) {
		return list(s.Releases(ctx, in.App, in.Limit))
	})
	handle(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/releases/{version}", name: "show-release", summary: "Show a release",
		rule: onApp(cluster.ScopeRead)}, func(ctx context.Context, in *releaseInput) (*cluster.Release, error) {
		return s.Release(ctx, in.App, in.Version)
	})
	handle(t, spec{method: http.MethodPost, path: "/v1/apps/{app}/rollback", name: "rollback", summary: "Go back to an earlier release",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *rollbackInput) (*DeployResult, error) {
		return s.Rollback(ctx, in.App, in.Body)
	})
}

// Releases implements ReleaseService.
func (c *Client) Releases(ctx context.Context, app cluster.AppName, limit int) ([]cluster.Release, error) {
	return call[[]cluster.Release](ctx, c, request{path: appPath(app, "releases"), query: limitQuery(limit)})
}

// Release implements ReleaseService.
func (c *Client) Release(ctx context.Context, app cluster.AppName, v cluster.ReleaseVersion) (*cluster.Release, error) {
	return call[*cluster.Release](ctx, c, request{path: appPath(app, "releases", strconv.Itoa(int(v)))})
}

// Rollback implements ReleaseService.
func (c *Client) Rollback(ctx context.Context, app cluster.AppName, in Rollback) (*DeployResult, error) {
	return call[*DeployResult](ctx, c, request{method: http.MethodPost, path: appPath(app, "rollback"), in: in, wait: patience})
}

func limitQuery(limit int) url.Values {
	if limit == 0 {
		return nil
	}
	return url.Values{"limit": {strconv.Itoa(limit)}}
}
