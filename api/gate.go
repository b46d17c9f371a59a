package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"paas/cluster"
)

const (
	jsonType = "application/json"
	// maxJSONBody bounds every body but uploads of sources and git packs.
	maxJSONBody = 1 << 20
)

// gate is the one choke point in front of every route: who asks, from where,
// for what, and whether the table's rule lets them. It denies by default: what
// no line of the table names is answered 404 or 405, and to strangers 401.
type gate struct {
	authenticate func(ctx context.Context, bearer string) (Actor, error)
	entries      map[string][]*entry // by method and echo's path
	methods      map[string][]string // by echo's path, for 405
	throttle     *throttle
	servers      func() []string
	log          *slog.Logger
}

func newGate(cfg HandlerConfig, t *table) *gate {
	g := &gate{authenticate: cfg.Authenticate, log: cfg.Logger, throttle: t.throttle, servers: cfg.Servers,
		entries: map[string][]*entry{}, methods: map[string][]string{}}
	for _, e := range t.entries {
		path := echoPath(e.Path)
		g.entries[e.Method+" "+path] = append(g.entries[e.Method+" "+path], e)
		if !slices.Contains(g.methods[path], e.Method) {
			g.methods[path] = append(g.methods[path], e.Method)
		}
	}
	return g
}

// middleware wraps every handler of the server.
func (g *gate) middleware(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		id := newRequestID()
		allowStreams(c)
		c.SetRequest(c.Request().WithContext(withRequestID(c.Request().Context(), id)))
		h := c.Response().Header()
		h.Set("X-Request-ID", id)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")

		err := g.pass(c, next)
		if err == nil {
			err = failureOf(c)
		}
		boundRest(c)
		if err != nil {
			g.fail(c, err)
		}
		ctx := c.Request().Context()
		g.log.DebugContext(ctx, "request", "request", id, "method", c.Request().Method, "path", c.Path(),
			"status", c.Response().Status, "actor", ActorFrom(ctx).Name, "took", time.Since(began))
		return nil
	}
}

// pass admits the request and runs its handler. A panic becomes an error.
func (g *gate) pass(c echo.Context, next echo.HandlerFunc) (err error) {
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler {
			panic(p)
		}
		if p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	e, err := g.admit(c)
	if err != nil {
		return err
	}
	defer g.recheck(c, e)()
	return next(c)
}

// fail tells err to the caller, and what is our fault to the log.
func (g *gate) fail(c echo.Context, err error) {
	ctx := c.Request().Context()
	logProblem(ctx, g.log, c.Path(), err)
	var cut *cutError
	var told *toldError
	switch {
	case errors.As(err, &told):
	case errors.As(err, &cut), c.Response().Committed:
		panic(http.ErrAbortHandler) // the only way left to say that the answer is not whole
	default:
		WriteProblem(c.Response(), err, RequestID(ctx))
	}
}

// restTime is how long a client may take for the rest of a body that nobody will
// read any more, and half of what it has for reading the end of its answer: net/http
// throws up to 256 KiB of an unread body away before it answers, and whoever sends
// a byte per second, with no token at all, would hold a connection for days.
const restTime = 10 * time.Second

// boundRest bounds what is left of an HTTP/1 request when its handler is done or it
// was refused. HTTP/2 resets the stream.
func boundRest(c echo.Context) {
	r := c.Request()
	if r.ProtoMajor != 1 {
		return
	}
	rc := http.NewResponseController(c.Response())
	if r.ContentLength != 0 {
		_ = rc.SetReadDeadline(time.Now().Add(restTime)) // these fail only on a dead connection
	}
	_ = rc.SetWriteDeadline(time.Now().Add(2 * restTime))
}

// allowStreams takes away what an earlier request left on a kept-alive connection.
func allowStreams(c echo.Context) {
	if c.Request().ProtoMajor == 1 {
		_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Time{}) // fails only on a dead connection
	}
}

// logProblem writes errors of ours to the log, with the request's ID. A caller
// who went away or who sent too much is not our fault.
func logProblem(ctx context.Context, log *slog.Logger, path string, err error) {
	var big *http.MaxBytesError
	// Who was told the last word hangs up at once: that is no reason to forget it.
	var told *toldError
	left := ctx.Err() != nil && !errors.As(err, &told)
	if cluster.KindOf(err) != cluster.KindInternal || left || errors.Is(err, context.Canceled) || errors.As(err, &big) {
		return
	}
	var e *cluster.Error
	if errors.As(err, &e) && e.Err != nil {
		err = fmt.Errorf("%w: %w", err, e.Err)
	}
	log.ErrorContext(ctx, "request met an internal error", "request", RequestID(ctx), "path", path, "err", err)
}

// admit decides whether the request may go on, and prepares it.
func (g *gate) admit(c echo.Context) (*entry, error) {
	r := c.Request()
	if err := g.checkOrigin(r); err != nil {
		return nil, err
	}
	unescapeParams(c)
	e := g.find(c)
	if e != nil && e.Public {
		return e, e.open(c)
	}
	actor, err := g.identify(r)
	if err != nil {
		return nil, err
	}
	g.tellServers(c.Response().Header())
	ctx := WithActor(r.Context(), actor)
	if e == nil {
		c.SetRequest(r.WithContext(ctx))
		return nil, g.unlisted(c)
	}
	if err := e.allow(actor, appOf(c)); err != nil {
		c.SetRequest(r.WithContext(ctx))
		return nil, err
	}
	if err := e.accept(r); err != nil {
		return nil, err
	}
	if !e.unlimited {
		r.Body = http.MaxBytesReader(c.Response(), r.Body, maxJSONBody)
	}
	c.SetRequest(takeStale(r.WithContext(ctx)))
	return e, nil
}

// find returns the line of the table that the request matches, or nil.
func (g *gate) find(c echo.Context) *entry {
	query := c.QueryParams()
	for _, e := range g.entries[c.Request().Method+" "+c.Path()] {
		name, value, _ := strings.Cut(e.Query, "=")
		if e.Query == "" || (len(query[name]) == 1 && query[name][0] == value) {
			return e
		}
	}
	return nil
}

// unlisted answers what no line of the table names.
func (g *gate) unlisted(c echo.Context) error {
	allowed := g.methods[c.Path()]
	if len(allowed) == 0 || slices.Contains(allowed, c.Request().Method) {
		return cluster.NotFound("route", "no such route").WithHint("see the routes at /v1/openapi.json")
	}
	r := refuse(http.StatusMethodNotAllowed, cluster.NotFound("method", "this route has no such method").
		Because("it has %s", strings.Join(allowed, ", ")))
	r.header.Set("Allow", strings.Join(allowed, ", "))
	return r
}

// identify says who asks. Requests without credentials are not guesses; wrong
// credentials are, and each source may make few. A right one is never refused:
// many people share one address, and nobody hits 256 bits by trying.
func (g *gate) identify(r *http.Request) (Actor, error) {
	challenge := func(reason string) error {
		err := refuse(http.StatusUnauthorized, cluster.Errorf(cluster.KindUnauthenticated, "token",
			"a valid token is needed").Because("%s", reason).WithHint("log in with: paas login"))
		scheme := `Bearer realm="paas"`
		if strings.HasPrefix(r.URL.Path, "/git/") {
			scheme = `Basic realm="paas"` // the only one that git knows
		}
		err.header.Set("WWW-Authenticate", scheme)
		return err
	}
	bearer := credential(r)
	if bearer == "" {
		return Actor{}, challenge("the request has none")
	}
	actor, err := g.authenticate(r.Context(), bearer)
	if cluster.KindOf(err) != cluster.KindUnauthenticated {
		return actor, err
	}
	if err := g.throttle.count(sourceOf(r), time.Now()); err != nil {
		return Actor{}, err
	}
	return Actor{}, challenge("the token is unknown, revoked or expired")
}

// credential returns the request's token: a bearer, or the password of HTTP
// basic, which is what git sends.
func credential(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}

// checkOrigin refuses requests that a browser was tricked into: those for a name
// that is not ours (DNS rebinding) and those that another site's page made.
func (g *gate) checkOrigin(r *http.Request) error {
	if !ownHost(hostOnly(r.Host)) && credential(r) == "" && !strings.HasPrefix(r.URL.Path, "/git/") {
		return refuse(http.StatusMisdirectedRequest, cluster.Errorf(cluster.KindForbidden, "host",
			"this server does not answer to that host name").WithHint("use the address that the server was started with"))
	}
	foreign := cluster.Errorf(cluster.KindForbidden, "origin", "requests made by other sites' pages are refused")
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return foreign
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return nil
	}
	u, err := url.Parse(origins[0])
	if err != nil || len(origins) > 1 || !strings.EqualFold(u.Host, r.Host) || (u.Scheme == "https") != (r.TLS != nil) {
		return foreign
	}
	return nil
}

// ownHost reports whether a request for this host, without port and in lower case, may
// be for a server of ours: the name that clients with a pinned authority use, or an
// address. A page that was tricked here by its name's addresses has that name, and no
// token: who has one may use any name that leads here, and git, which sends its token
// only when it is asked for it. Behind a gateway a server has addresses that it does
// not know.
func ownHost(host string) bool {
	if host == "localhost" || host == pinnedHost {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// pinnedHost is what clients call every server that they know by its authority,
// whatever address they reach it at.
const pinnedHost = "paas"

// hostOnly strips port and brackets, and folds case.
func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		hostport = host
	}
	return strings.ToLower(strings.Trim(hostport, "[]"))
}

// allow checks the route's rule.
func (e *entry) allow(a Actor, app cluster.AppName) error {
	deny := func(code, format string, args ...any) *cluster.Error {
		return cluster.Errorf(cluster.KindForbidden, code, "the token may not do this").Because(format, args...)
	}
	switch {
	case e.Once != a.Once && a.Once:
		return deny("one_time_token", "a one-time token is for logging in").WithHint("exchange it with: paas login")
	case e.Once != a.Once:
		return deny("one_time_token", "only a one-time token can be exchanged")
	case e.Once:
		return nil
	case a.Scope < e.Scope:
		return deny("scope", "its scope is %s, this needs %s", a.Scope, e.Scope).
			WithHint("ask an admin for another: paas token create NAME --scope " + e.Scope.String())
	case e.Filtered:
		return nil
	case e.App && !a.May(e.Scope, app):
		return deny("app", "it is for other apps").WithHint("ask an admin for one of this app: paas token create NAME --app " + string(app))
	case !e.App && len(a.Apps) > 0:
		return deny("app", "it is for single apps, this is about the whole cluster").
			WithHint("ask an admin for one of all apps: paas token create NAME --scope " + e.Scope.String())
	}
	return nil
}

// accept checks the media type: forms that a foreign page can send without a
// preflight never change anything.
func (e *entry) accept(r *http.Request) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead ||
		(r.Method == http.MethodDelete && r.ContentLength == 0) {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && slices.Contains(e.accepts, mediaType) {
		return nil
	}
	return refuse(http.StatusUnsupportedMediaType, cluster.Invalid("content_type", "the body's media type is not accepted").
		Because("this route takes %s", strings.Join(e.accepts, " or ")))
}

// unescapeParams makes path parameters mean the same to every reader. echo
// matches the escaped path when it differs from the canonical form.
func unescapeParams(c echo.Context) {
	if c.Request().URL.RawPath == "" {
		return
	}
	values := slices.Clone(c.ParamValues())
	for i, v := range values {
		if plain, err := url.PathUnescape(v); err == nil {
			values[i] = plain
		}
	}
	c.SetParamValues(values...)
}

// appOf returns the app that the path names.
func appOf(c echo.Context) cluster.AppName {
	if repository := c.Param("repository"); repository != "" {
		name, ok := strings.CutSuffix(repository, ".git")
		if !ok {
			return ""
		}
		return cluster.AppName(name)
	}
	return cluster.AppName(c.Param("app"))
}

// takeStale moves ?stale=true from the query into the context.
func takeStale(r *http.Request) *http.Request {
	q := r.URL.Query()
	if !q.Has("stale") {
		return r
	}
	ctx := context.WithValue(r.Context(), staleKey{}, q.Get("stale") == "true")
	q.Del("stale")
	r = r.Clone(ctx)
	r.URL.RawQuery = q.Encode()
	return r
}
