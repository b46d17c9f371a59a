package api

import (
	"context"
	"net/http"

	"paas/cluster"
)

// DomainService routes host names to apps.
type DomainService interface {
	// Domains lists an app's host names, its default one first.
	Domains(ctx context.Context, app cluster.AppName) ([]DomainInfo, error)
	AddDomain(ctx context.Context, app cluster.AppName, in AddDomain) (*DomainInfo, error)
	RemoveDomain(ctx context.Context, app cluster.AppName, host cluster.Hostname) error
}

// AddDomain names the host to route.
type AddDomain struct {
	Host cluster.Hostname `json:"host"`
}

// DomainInfo is a routed host name.
type DomainInfo struct {
	cluster.Domain
	Default bool   `json:"default,omitempty"` // NAME.DOMAIN: cannot be removed
	TLS     string `json:"tls"`               // "internal" or "acme"
}

type addDomainInput struct {
	App  cluster.AppName `path:"app" doc:"The app's name"`
	Body AddDomain
}

type domainInput struct {
	App  cluster.AppName  `path:"app" doc:"The app's name"`
	Host cluster.Hostname `path:"host" doc:"The host name"`
}

func addDomainRoutes(t *table, s DomainService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/domains", name: "list-domains", summary: "List an app's host names",
		rule: onApp(cluster.ScopeRead)}, func(ctx context.Context, in *inApp) ([]DomainInfo, error) { return list(s.Domains(ctx, in.App)) })
	handle(t, spec{method: http.MethodPost, path: "/v1/apps/{app}/domains", name: "add-domain", summary: "Route a host name to an app",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *addDomainInput) (*DomainInfo, error) {
		return s.AddDomain(ctx, in.App, in.Body)
	})
	perform(t, spec{method: http.MethodDelete, path: "/v1/apps/{app}/domains/{host}", name: "remove-domain", summary: "End a route",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *domainInput) error { return s.RemoveDomain(ctx, in.App, in.Host) })
}

// Domains implements DomainService.
func (c *Client) Domains(ctx context.Context, app cluster.AppName) ([]DomainInfo, error) {
	return call[[]DomainInfo](ctx, c, request{path: appPath(app, "domains")})
}

// AddDomain implements DomainService.
func (c *Client) AddDomain(ctx context.Context, app cluster.AppName, in AddDomain) (*DomainInfo, error) {
	return call[*DomainInfo](ctx, c, request{method: http.MethodPost, path: appPath(app, "domains"), in: in})
}

// RemoveDomain implements DomainService.
func (c *Client) RemoveDomain(ctx context.Context, app cluster.AppName, host cluster.Hostname) error {
	return c.send(ctx, request{method: http.MethodDelete, path: appPath(app, "domains", string(host))})
}
