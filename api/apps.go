package api

import (
	"context"
	"net/http"
	"net/url"

	"paas/cluster"
)

// AppService creates, shows and destroys apps.
type AppService interface {
	CreateApp(ctx context.Context, in CreateApp) (*AppInfo, error)
	UpdateApp(ctx context.Context, app cluster.AppName, in UpdateApp) (*AppInfo, error)
	// Apps lists the apps that the caller may see.
	Apps(ctx context.Context) ([]AppInfo, error)
	App(ctx context.Context, app cluster.AppName) (*AppInfo, error)
	// DestroyApp returns when nothing of the app is left; confirm must repeat its name.
	DestroyApp(ctx context.Context, app cluster.AppName, confirm cluster.AppName) error
}

// CreateApp asks for a new app. An empty name asks the server for one.
type CreateApp struct {
	Name         cluster.AppName `json:"name,omitempty"`
	DeployBranch string          `json:"deploy_branch,omitempty"`
}

// UpdateApp changes settings; nil fields stay.
type UpdateApp struct {
	DeployBranch *string `json:"deploy_branch,omitempty"`
}

// AppInfo is an app with what people ask about it first.
type AppInfo struct {
	cluster.App
	URL        string              `json:"url"`     // https, with the port if it is not 443
	GitURL     string              `json:"git_url"` // of the smart HTTP remote
	Domains    []cluster.Hostname  `json:"domains"`
	Healthy    int                 `json:"healthy"` // replicas that pass their check
	Wanted     int                 `json:"wanted"`
	Deployment *cluster.Deployment `json:"deployment,omitempty"` // the active one
	Release    *cluster.Release    `json:"release,omitempty"`    // the current one
}

type createAppInput struct{ Body CreateApp }

type updateAppInput struct {
	App  cluster.AppName `path:"app" doc:"The app's name"`
	Body UpdateApp
}

type destroyAppInput struct {
	App     cluster.AppName `path:"app" doc:"The app's name"`
	Confirm cluster.AppName `query:"confirm" required:"true" doc:"The app's name again"`
}

func addAppRoutes(t *table, s AppService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/apps", name: "list-apps", summary: "List the apps that the token may see",
		rule: filtered(cluster.ScopeRead)}, func(ctx context.Context, _ *noInput) ([]AppInfo, error) { return list(s.Apps(ctx)) })
	handle(t, spec{method: http.MethodPost, path: "/v1/apps", name: "create-app", summary: "Create an app",
		rule: onCluster(cluster.ScopeDeploy)}, func(ctx context.Context, in *createAppInput) (*AppInfo, error) { return s.CreateApp(ctx, in.Body) })
	handle(t, spec{method: http.MethodGet, path: "/v1/apps/{app}", name: "show-app", summary: "Show an app",
		rule: onApp(cluster.ScopeRead)}, func(ctx context.Context, in *inApp) (*AppInfo, error) { return s.App(ctx, in.App) })
	handle(t, spec{method: http.MethodPatch, path: "/v1/apps/{app}", name: "update-app", summary: "Change an app's settings",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *updateAppInput) (*AppInfo, error) {
		return s.UpdateApp(ctx, in.App, in.Body)
	})
	perform(t, spec{method: http.MethodDelete, path: "/v1/apps/{app}", name: "destroy-app", summary: "Destroy an app and everything of it",
		rule: onApp(cluster.ScopeAdmin)}, func(ctx context.Context, in *destroyAppInput) error {
		return s.DestroyApp(ctx, in.App, in.Confirm)
	})
}

// CreateApp implements AppService.
func (c *Client) CreateApp(ctx context.Context, in CreateApp) (*AppInfo, error) {
	return call[*AppInfo](ctx, c, request{method: http.MethodPost, path: "/v1/apps", in: in})
}

// UpdateApp implements AppService.
func (c *Client) UpdateApp(ctx context.Context, app cluster.AppName, in UpdateApp) (*AppInfo, error) {
	return call[*AppInfo](ctx, c, request{method: http.MethodPatch, path: appPath(app), in: in})
}

// Apps implements AppService.
func (c *Client) Apps(ctx context.Context) ([]AppInfo, error) {
	return call[[]AppInfo](ctx, c, request{path: "/v1/apps"})
}

// App implements AppService.
func (c *Client) App(ctx context.Context, app cluster.AppName) (*AppInfo, error) {
	return call[*AppInfo](ctx, c, request{path: appPath(app)})
}

// DestroyApp implements AppService.
func (c *Client) DestroyApp(ctx context.Context, app, confirm cluster.AppName) error {
	return c.send(ctx, request{method: http.MethodDelete, path: appPath(app),
		query: url.Values{"confirm": {string(confirm)}}, wait: patience})
}
