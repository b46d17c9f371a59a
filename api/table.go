package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"

	"paas/cluster"
)

// Route is one line of the live route table, together with its rule. It is what
// the authorisation check reads: a request that matches no line is refused.
type Route struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	// Query is a query parameter that a request must have to match ("service=git-upload-pack").
	Query   string `json:"query,omitempty"`
	Name    string `json:"name"`
	Summary string `json:"summary"`

	// Scope is what the caller's token must have; App checks it on the {app} of
	// the path. Without App it is checked on the whole cluster, which tokens of
	// single apps never have, unless Filtered: then the answer holds only what
	// the token may see.
	Scope    cluster.Scope `json:"scope"`
	App      bool          `json:"app"`
	Filtered bool          `json:"filtered,omitempty"`
	// Once is the route of one-time tokens: they may call no other, and no other
	// token may call it.
	Once bool `json:"once,omitempty"`
	// Public needs no token at all; Reason says why that is right.
	Public bool   `json:"public,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// A rule says who may call a route. The zero rule is refused when the table is
// made: a route without a rule cannot exist.
type rule func(*Route)

// onApp demands scope on the {app} of the path.
func onApp(scope cluster.Scope) rule { return func(r *Route) { r.Scope, r.App = scope, true } }

// onCluster demands scope on the whole cluster.
func onCluster(scope cluster.Scope) rule { return func(r *Route) { r.Scope = scope } }

// filtered demands scope, on whichever apps: the service shows only what
// ActorFrom(ctx) may see.
func filtered(scope cluster.Scope) rule {
	return func(r *Route) { r.Scope, r.Filtered = scope, true }
}

// once is for one-time tokens alone.
func once() rule { return func(r *Route) { r.Once = true } }

// public is for everybody, because of reason.
func public(reason string) rule { return func(r *Route) { r.Public, r.Reason = true, reason } }

// check reports what makes r no valid line of the table.
func (r *Route) check() error {
	kinds := 0
	for _, is := range []bool{r.Scope > cluster.ScopeNone, r.Once, r.Public} {
		if is {
			kinds++
		}
	}
	hasApp := strings.Contains(r.Path, "{app}")
	switch {
	case kinds != 1:
		return fmt.Errorf("route %s %s: it needs exactly one rule", r.Method, r.Path)
	case r.Public && r.Reason == "":
		return fmt.Errorf("route %s %s: public without a reason", r.Method, r.Path)
	case hasApp != r.App:
		return fmt.Errorf("route %s %s: a path with {app} and a rule on the app go together", r.Method, r.Path)
	case r.Name == "" || r.Summary == "":
		return fmt.Errorf("route %s %s: no name or no summary", r.Method, r.Path)
	}
	return nil
}

// spec is a route being registered.
type spec struct {
	method, path string
	query        string
	name         string // operation ID
	summary      string
	rule         rule
	// accepts are the media types of the body; JSON if empty.
	accepts []string
	// unlimited lifts the 1 MiB limit of the body: the service limits it.
	unlimited bool
	// describe completes the description of a raw route.
	describe func(*huma.Operation, huma.Registry)
}

// entry is a line of the table with what only the gate needs.
type entry struct {
	Route
	accepts   []string
	unlimited bool
}

// table collects the routes while the handler is made.
type table struct {
	echo    *echo.Echo
	huma    huma.API
	entries []*entry
	errs    []error
	// throttle counts the wrong secrets of every route.
	throttle *throttle
}

// add puts a line into the table; every registration goes through it.
func (t *table) add(s spec) {
	r := Route{Method: s.method, Path: s.path, Query: s.query, Name: s.name, Summary: s.summary}
	if s.rule == nil {
		t.errs = append(t.errs, fmt.Errorf("route %s %s has no rule", s.method, s.path))
		return
	}
	s.rule(&r)
	if err := r.check(); err != nil {
		t.errs = append(t.errs, err)
		return
	}
	accepts := s.accepts
	if len(accepts) == 0 {
		accepts = []string{jsonType}
	}
	t.entries = append(t.entries, &entry{Route: r, accepts: accepts, unlimited: s.unlimited})
}

// routes returns the table's lines, by path.
func (t *table) routes() []Route {
	out := make([]Route, 0, len(t.entries))
	for _, e := range t.entries {
		out = append(out, e.Route)
	}
	slices.SortFunc(out, func(a, b Route) int {
		return strings.Compare(a.Path+" "+a.Method+" "+a.Query, b.Path+" "+b.Method+" "+b.Query)
	})
	return out
}

// verify compares the table with what the router really serves.
func (t *table) verify() error {
	listed := map[string]bool{}
	for _, e := range t.entries {
		listed[e.Method+" "+echoPath(e.Path)] = true
	}
	for _, r := range t.echo.Routes() {
		k := r.Method + " " + r.Path
		if !listed[k] {
			t.errs = append(t.errs, fmt.Errorf("route %s is served without a rule", k))
		}
		delete(listed, k)
	}
	for k := range listed {
		t.errs = append(t.errs, fmt.Errorf("route %s is listed and not served", k))
	}
	return errors.Join(t.errs...)
}

// echoPath writes {app} as :app. "{app}.git" is one segment, named repository.
func echoPath(path string) string {
	path = strings.ReplaceAll(path, "{app}.git", ":repository")
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// bodyLimit is the most that a body may have: strangers send little.
func (s spec) bodyLimit() int64 {
	var r Route
	if s.rule != nil {
		s.rule(&r)
	}
	if r.Public {
		return maxPublicBody
	}
	return maxJSONBody
}

// operation is s as huma wants it.
func (s spec) operation(status int) huma.Operation {
	op := huma.Operation{OperationID: s.name, Method: s.method, Path: s.path, Summary: s.summary,
		MaxBodyBytes: s.bodyLimit(), DefaultStatus: status}
	if rest, ok := strings.CutPrefix(s.path, "/v1/"); ok {
		tag, _, _ := strings.Cut(rest, "/")
		if sub, ok := strings.CutPrefix(rest, "apps/{app}/"); ok {
			tag, _, _ = strings.Cut(sub, "/")
		}
		op.Tags = []string{tag}
	}
	return op
}

// answer is a JSON response.
type answer[T any] struct{ Body T }

// handle registers a route that answers with one JSON value. I is a struct of
// huma's: path, query and header fields, and Body.
func handle[I, O any](t *table, s spec, fn func(context.Context, *I) (O, error)) {
	t.add(s)
	huma.Register(t.huma, s.operation(http.StatusOK), func(ctx context.Context, in *I) (*answer[O], error) {
		out, err := fn(ctx, in)
		if err != nil {
			return nil, problemOf(err, RequestID(ctx))
		}
		return &answer[O]{Body: out}, nil
	})
}

// perform registers a route that answers with nothing but its status, 204.
func perform[I any](t *table, s spec, fn func(context.Context, *I) error) {
	t.add(s)
	huma.Register(t.huma, s.operation(http.StatusNoContent), func(ctx context.Context, in *I) (*struct{}, error) {
		if err := fn(ctx, in); err != nil {
			return nil, problemOf(err, RequestID(ctx))
		}
		return nil, nil
	})
}

// stream registers a route that answers with a stream of the given form.
func stream[I any](t *table, s spec, f form, fn func(context.Context, *I, *streamWriter) error) {
	t.add(s)
	op := s.operation(http.StatusOK)
	op.Responses = map[string]*huma.Response{"200": {Description: f.describe,
		Content: map[string]*huma.MediaType{f.mediaType: {Schema: &huma.Schema{Type: huma.TypeString}}}}}
	huma.Register(t.huma, op, func(_ context.Context, in *I) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			c := humaecho.Unwrap(hc)
			err := serveStream(c, f, func(ctx context.Context, w *streamWriter) error { return fn(ctx, in, w) })
			if err != nil {
				setFailure(c, err)
			}
		}}, nil
	})
}

// raw registers a route that huma neither decodes nor encodes.
func raw(t *table, s spec, responses map[string]*huma.Response, fn func(echo.Context) error) {
	t.add(s)
	if strings.HasPrefix(s.path, "/git/") {
		t.echo.Add(s.method, echoPath(s.path), fn)
		return // git's own protocol, not part of the API's description
	}
	t.echo.Add(s.method, echoPath(s.path), func(c echo.Context) error {
		if c.Request().URL.RawQuery != "" {
			return cluster.Invalid("query", "the request is not valid").Because("this route has no query parameters")
		}
		return fn(c)
	})
	op := s.operation(http.StatusOK)
	op.Responses = responses
	if strings.Contains(s.path, "{app}") {
		op.Parameters = []*huma.Param{{Name: "app", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}}
	}
	for _, mediaType := range s.accepts {
		if op.RequestBody == nil {
			op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
		}
		op.RequestBody.Content[mediaType] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	}
	if s.describe != nil {
		s.describe(&op, t.huma.OpenAPI().Components.Schemas)
	}
	t.huma.OpenAPI().AddOperation(&op)
}

// inApp is the path parameter of everything that belongs to an app.
type inApp struct {
	App cluster.AppName `path:"app" doc:"The app's name"`
}

// list makes an empty list of none: clients get [] and never null.
func list[T any](items []T, err error) ([]T, error) {
	if items == nil && err == nil {
		items = []T{}
	}
	return items, err
}
