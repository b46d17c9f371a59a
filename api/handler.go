package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"

	"paas/cluster"
	"paas/identity"
)

// HandlerConfig is what the API needs to be served.
type HandlerConfig struct {
	Services Services
	// Authenticate returns whom a token stands for; KindUnauthenticated if nobody. It
	// is asked for every request, also from those who are told to stop guessing.
	Authenticate func(ctx context.Context, bearer string) (Actor, error)
	// Git serves /git/{app}.git/…; nil: no such routes. It gets authorised requests
	// only, with their Actor in the context.
	Git     http.Handler
	Version string
	Logger  *slog.Logger
	// Servers are the addresses of all servers, host:port, for clients to remember;
	// nil, or fewer than two: there is nothing to remember.
	Servers func() []string
}

// NewHandler returns the API as an http.Handler and the live route table, by
// path. The handler streams: the server that it runs in must set no write
// timeout, and must cancel its base context to end streams when it stops.
func NewHandler(cfg HandlerConfig) (http.Handler, []Route, error) {
	if cfg.Authenticate == nil || cfg.Logger == nil {
		return nil, nil, errors.New("api handler needs Authenticate and Logger")
	}
	cfg.Logger = cfg.Logger.With("component", "api")
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	t := &table{echo: e, huma: humaecho.New(e, humaConfig(cfg)), throttle: newThrottle()}

	addMetaRoutes(t)
	addAppRoutes(t, cfg.Services.Apps)
	addProcessRoutes(t, cfg.Services.Processes)
	addConfigRoutes(t, cfg.Services.Config)
	addReleaseRoutes(t, cfg.Services.Releases)
	addDeployRoutes(t, cfg.Services.Deploys)
	addBuildRoutes(t, cfg.Services.Builds)
	addLogRoutes(t, cfg.Services.Logs)
	addTerminalRoutes(t, cfg.Services.Terminals)
	addDomainRoutes(t, cfg.Services.Domains)
	addVolumeRoutes(t, cfg.Services.Volumes)
	addEventRoutes(t, cfg.Services.Events)
	addNodeRoutes(t, cfg.Services.Nodes)
	addTokenRoutes(t, cfg.Services.Tokens)
	addJoinRoutes(t, cfg.Services.Joins)
	addClusterRoutes(t, cfg.Services.Cluster)
	if cfg.Git != nil {
		addGitRoutes(t, cfg.Git)
	}
	if err := t.verify(); err != nil {
		return nil, nil, err
	}
	g := newGate(cfg, t)
	e.Use(g.middleware)
	e.HTTPErrorHandler = func(err error, c echo.Context) { g.fail(c, err) } // the gate leaves it nothing
	return e, t.routes(), nil
}

// humaConfig describes the API; everything that huma would serve by itself is
// off, because only the table's routes exist.
func humaConfig(cfg HandlerConfig) huma.Config {
	c := huma.DefaultConfig("paas", cfg.Version)
	c.Info.Description = "One binary turns Linux hosts into a Heroku of your own. " +
		"Authenticate with `Authorization: Bearer TOKEN`. Errors are RFC 9457 problems."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.CreateHooks = nil // it would put links made of the Host header into answers
	c.RejectUnknownQueryParameters = true
	c.Formats = maps.Clone(c.Formats)
	for name, f := range c.Formats {
		f.Unmarshal = strictly(f.Unmarshal)
		c.Formats[name] = f
	}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	c.Security = []map[string][]string{{"token": {}}}
	registry := c.Components.Schemas
	aliasEnums(registry)
	problem := registry.Schema(reflect.TypeFor[Problem](), true, "Problem")
	c.OnAddOperation = append(c.OnAddOperation, func(_ *huma.OpenAPI, op *huma.Operation) {
		// huma documents its own error model, which never leaves this server.
		op.Responses["default"] = &huma.Response{Description: "A problem",
			Content: map[string]*huma.MediaType{problemType: {Schema: problem}}}
		delete(registry.Map(), "ErrorModel")
		delete(registry.Map(), "ErrorDetail")
	})
	c.Transformers = []huma.Transformer{func(hc huma.Context, _ string, v any) (any, error) {
		switch v := v.(type) {
		case *huma.ErrorModel:
			return invalidRequest(registry, hc, v), nil
		case *Problem:
			c := humaecho.Unwrap(hc)
			logProblem(c.Request().Context(), cfg.Logger, c.Path(), v.cause)
		}
		return v, nil
	}}
	return c
}

// strictly refuses bytes that are no UTF-8. JSON's decoder would put replacement
// characters in their place, and what is kept would not be what was sent.
func strictly(unmarshal func([]byte, any) error) func([]byte, any) error {
	return func(data []byte, v any) error {
		if !utf8.Valid(data) {
			return errors.New("not UTF-8")
		}
		return unmarshal(data, v)
	}
}

// aliasEnums lets the schemas of enumerations list their words.
func aliasEnums(r huma.Registry) {
	aliasEnum[cluster.Scope](r)
	aliasEnum[cluster.ReleaseState](r)
	aliasEnum[cluster.BuildState](r)
	aliasEnum[cluster.DeploymentState](r)
	aliasEnum[cluster.DesiredState](r)
	aliasEnum[cluster.AllocationState](r)
	aliasEnum[cluster.NodeState](r)
	aliasEnum[cluster.CheckKind](r)
	aliasEnum[identity.Role](r)
}

func aliasEnum[T wordEnum](r huma.Registry) {
	r.RegisterTypeAlias(reflect.TypeFor[T](), reflect.TypeFor[enumSchema[T]]())
}

type wordEnum interface {
	~uint8
	String() string
	MarshalText() ([]byte, error)
}

// enumSchema stands for an enumeration T in the API's description.
type enumSchema[T wordEnum] struct{}

// Schema lists T's words, from its zero value up.
func (enumSchema[T]) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for v := T(0); ; v++ {
		word := v.String()
		if len(word) > 8 && word[:8] == "unknown(" {
			return s
		}
		s.Enum = append(s.Enum, word)
	}
}

type noInput struct{}

// addMetaRoutes adds what describes the API itself.
func addMetaRoutes(t *table) {
	ok := map[string]*huma.Response{"200": {Description: "The process serves."}}
	raw(t, spec{method: http.MethodGet, path: "/healthz", name: "healthz", summary: "Tell that the process serves",
		rule: public("load balancers and service managers ask it; it says nothing but ok")}, ok,
		func(c echo.Context) error { return c.String(http.StatusOK, "ok\n") })
	raw(t, spec{method: http.MethodGet, path: "/v1/openapi.json", name: "get-openapi", summary: "Describe this API (OpenAPI 3.1)",
		rule: filtered(cluster.ScopeRead)}, map[string]*huma.Response{"200": {Description: "OpenAPI 3.1"}},
		func(c echo.Context) error {
			body, err := json.Marshal(t.huma.OpenAPI())
			if err != nil {
				return err
			}
			return c.Blob(http.StatusOK, "application/openapi+json", body)
		})
	handle(t, spec{method: http.MethodGet, path: "/v1/routes", name: "list-routes", summary: "List all routes with the right that each demands",
		rule: filtered(cluster.ScopeRead)}, func(context.Context, *noInput) ([]Route, error) { return t.routes(), nil })
}

// addGitRoutes mounts git's smart HTTP protocol: reading needs the read scope,
// pushing the deploy scope.
func addGitRoutes(t *table, git http.Handler) {
	serve := func(c echo.Context) error {
		git.ServeHTTP(c.Response(), c.Request())
		return nil
	}
	t.add(spec{method: http.MethodGet, path: "/git/{app}.git/info/refs", query: "service=git-upload-pack",
		name: "git-upload-pack-refs", summary: "List refs to fetch", rule: onApp(cluster.ScopeRead)})
	raw(t, spec{method: http.MethodGet, path: "/git/{app}.git/info/refs", query: "service=git-receive-pack",
		name: "git-receive-pack-refs", summary: "List refs to push", rule: onApp(cluster.ScopeDeploy)}, nil, serve)
	raw(t, spec{method: http.MethodPost, path: "/git/{app}.git/git-upload-pack", name: "git-upload-pack", summary: "Fetch",
		accepts: []string{"application/x-git-upload-pack-request"}, unlimited: true, rule: onApp(cluster.ScopeRead)}, nil, serve)
	raw(t, spec{method: http.MethodPost, path: "/git/{app}.git/git-receive-pack", name: "git-receive-pack", summary: "Push: build and deploy",
		accepts: []string{"application/x-git-receive-pack-request"}, unlimited: true, rule: onApp(cluster.ScopeDeploy)}, nil, serve)
}
