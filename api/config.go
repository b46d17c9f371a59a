package api

import (
	"context"
	"net/http"

	"paas/cluster"
)

// ConfigService reads and changes config variables. Values are write-only in
// every list; ConfigValue is the one audited way to read one.
type ConfigService interface {
	Config(ctx context.Context, app cluster.AppName) (*ConfigList, error)
	// ConfigValue reveals one value; it makes an audit event.
	ConfigValue(ctx context.Context, app cluster.AppName, key string) (*ConfigValue, error)
	// ChangeConfig returns the deployment that carries the change, if there is one.
	ChangeConfig(ctx context.Context, app cluster.AppName, in ChangeConfig) (*DeployResult, error)
}

// ConfigList names an app's config variables.
type ConfigList struct {
	App  cluster.AppName `json:"app"`
	Keys []ConfigKey     `json:"keys"` // sorted
}

// ConfigKey is a config variable without its value.
type ConfigKey struct {
	Key string `json:"key"`
	// Since is the release that first carried this value; 0 if none did yet.
	Since cluster.ReleaseVersion `json:"since"`
}

// ConfigValue is a revealed variable.
type ConfigValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// ChangeConfig sets and unsets variables in one release.
type ChangeConfig struct {
	Set   map[string]cluster.Redacted `json:"set,omitempty"`
	Unset []string                    `json:"unset,omitempty"`
}

type configKeyInput struct {
	App cluster.AppName `path:"app" doc:"The app's name"`
	Key string          `path:"key" doc:"The variable's name"`
}

type changeConfigInput struct {
	App  cluster.AppName `path:"app" doc:"The app's name"`
	Body ChangeConfig
}

func addConfigRoutes(t *table, s ConfigService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/config", name: "list-config", summary: "List config variables, without values",
		rule: onApp(cluster.ScopeRead)}, func(ctx context.Context, in *inApp) (*ConfigList, error) { return s.Config(ctx, in.App) })
	handle(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/config/{key}", name: "reveal-config", summary: "Reveal one value; it makes an audit event",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *configKeyInput) (*ConfigValue, error) {
		return s.ConfigValue(ctx, in.App, in.Key)
	})
	handle(t, spec{method: http.MethodPatch, path: "/v1/apps/{app}/config", name: "change-config", summary: "Set and unset config variables in one release",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *changeConfigInput) (*DeployResult, error) {
		return s.ChangeConfig(ctx, in.App, in.Body)
	})
}

// Config implements ConfigService.
func (c *Client) Config(ctx context.Context, app cluster.AppName) (*ConfigList, error) {
	return call[*ConfigList](ctx, c, request{path: appPath(app, "config")})
}

// ConfigValue implements ConfigService.
func (c *Client) ConfigValue(ctx context.Context, app cluster.AppName, key string) (*ConfigValue, error) {
	return call[*ConfigValue](ctx, c, request{path: appPath(app, "config", key)})
}

// ChangeConfig implements ConfigService.
func (c *Client) ChangeConfig(ctx context.Context, app cluster.AppName, in ChangeConfig) (*DeployResult, error) {
	return call[*DeployResult](ctx, c, request{method: http.MethodPatch, path: appPath(app, "config"), in: in, wait: patience})
}
