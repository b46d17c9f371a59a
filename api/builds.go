package api

import (
	"context"
	"io"
	"net/http"

	"paas/cluster"
)

// BuildService shows builds. A build is always named together with its app, so
// that the caller's right can be checked; another app's build is KindNotFound.
type BuildService interface {
	// Builds lists newest first.
	Builds(ctx context.Context, app cluster.AppName) ([]cluster.Build, error)
	Build(ctx context.Context, app cluster.AppName, id cluster.BuildID) (*cluster.Build, error)
	// BuildLog copies a build's log to w, following it while the build runs.
	BuildLog(ctx context.Context, app cluster.AppName, id cluster.BuildID, w io.Writer) error
	CancelBuild(ctx context.Context, app cluster.AppName, id cluster.BuildID) error
}

type buildInput struct {
	App cluster.AppName `path:"app" doc:"The app's name"`
	ID  cluster.BuildID `path:"id" doc:"The build's ID"`
}

func addBuildRoutes(t *table, s BuildService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/builds", name: "list-builds", summary: "List builds, newest first",
		rule: onApp(cluster.ScopeRead)}, func(ctx context.Context, in *inApp) ([]cluster.Build, error) { return list(s.Builds(ctx, in.App)) })
	handle(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/builds/{id}", name: "show-build", summary: "Show a build",
		rule: onApp(cluster.ScopeRead)}, func(ctx context.Context, in *buildInput) (*cluster.Build, error) {
		return s.Build(ctx, in.App, in.ID)
	})
	// Whatever a build prints may hold secrets, so reading is not enough.
	stream(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/builds/{id}/log", name: "read-build-log", summary: "Read a build's log, following it while the build runs",
		rule: onApp(cluster.ScopeDeploy)}, textForm, func(ctx context.Context, in *buildInput, w *streamWriter) error {
		return s.BuildLog(ctx, in.App, in.ID, w)
	})
	perform(t, spec{method: http.MethodPost, path: "/v1/apps/{app}/builds/{id}/cancel", name: "cancel-build", summary: "Stop a build",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *buildInput) error { return s.CancelBuild(ctx, in.App, in.ID) })
}

// Builds implements BuildService.
func (c *Client) Builds(ctx context.Context, app cluster.AppName) ([]cluster.Build, error) {
	return call[[]cluster.Build](ctx, c, request{path: appPath(app, "builds")})
}

// Build implements BuildService.
func (c *Client) Build(ctx context.Context, app cluster.AppName, id cluster.BuildID) (*cluster.Build, error) {
	return call[*cluster.Build](ctx, c, request{path: appPath(app, "builds", string(id))})
}

// BuildLog implements BuildService.
func (c *Client) BuildLog(ctx context.Context, app cluster.AppName, id cluster.BuildID, w io.Writer) error {
	return c.copyTo(ctx, request{path: appPath(app, "builds", string(id), "log")}, w)
}

// CancelBuild implements BuildService.
func (c *Client) CancelBuild(ctx context.Context, app cluster.AppName, id cluster.BuildID) error {
	return c.send(ctx, request{method: http.MethodPost, path: appPath(app, "builds", string(id), "cancel")})
}
