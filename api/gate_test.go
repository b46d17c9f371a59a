package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

// ask sends one request as it is.
func (s *server) ask(t testing.TB, method, path, token, media, body string, change ...func(*http.Request)) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	for _, f := range change {
		f(req)
	}
	res, err := s.Server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(answer)
}

// askRoute sends a request that matches r, for the app blog.
func (s *server) askRoute(t testing.TB, r Route, token string) int {
	t.Helper()
	path := strings.NewReplacer("{app}", "blog", "{id}", "x-1", "{key}", "KEY", "{host}", "a.example.com", "{version}", "1").Replace(r.Path)
	if r.Query != "" {
		path += "?" + r.Query
	}
	if r.Name == "destroy-app" {
		path += "?confirm=blog"
	}
	media, body := "", ""
	if r.Method != http.MethodGet && r.Method != http.MethodDelete {
		media, body = jsonType, "{}"
	}
	if service, ok := strings.CutPrefix(r.Path, "/git/{app}.git/git-"); ok {
		media = "application/x-git-" + service + "-request"
	}
	res, _ := s.ask(t, r.Method, path, token, media, body)
	return res.StatusCode
}

// lower returns a token that has everything but the scope.
func lower(scope cluster.Scope) string {
	return map[cluster.Scope]string{cluster.ScopeRead: "none", cluster.ScopeDeploy: "read", cluster.ScopeAdmin: "deploy"}[scope]
}

// The matrix is made from the live table, so a new route is in it by itself.
func TestEveryRouteChecksItsRule(t *testing.T) {
	s := newServer(t)
	denied := []int{http.StatusUnauthorized, http.StatusForbidden}
	checked := 0
	for _, r := range s.routes {
		t.Run(r.Name, func(t *testing.T) {
			is := func(who, token string, want int) {
				t.Helper()
				if got := s.askRoute(t, r, token); got != want {
					t.Errorf("%s %s by %s: got %d, want %d", r.Method, r.Path, who, got, want)
				}
			}
			allowed := func(who, token string) {
				t.Helper()
				if got := s.askRoute(t, r, token); slices.Contains(denied, got) || got == http.StatusNotFound || got >= 500 {
					t.Errorf("%s %s by %s: got %d, want it allowed", r.Method, r.Path, who, got)
				}
			}
			switch {
			case r.Public:
				allowed("nobody", "")
			case r.Once:
				is("nobody", "", 401)
				is("a lasting token", "admin", 403)
				is("another app's token", "shop", 403)
				allowed("a one-time token", "once")
			default:
				is("nobody", "", 401)
				is("too small a scope", lower(r.Scope), 403)
				is("a one-time token", "once", 403)
				if r.Filtered {
					allowed("another app's token", "shop")
				} else {
					is("another app's token", "shop", 403)
				}
				allowed("the right token", "admin")
				if r.App {
					allowed("the app's own token", "blog")
				}
			}
			checked++
		})
	}
	if checked != len(s.routes) || checked < 45 {
		t.Errorf("checked %d routes of %d", checked, len(s.routes))
	}
}

func TestTableRefusesRoutesWithoutRule(t *testing.T) {
	for name, s := range map[string]spec{
		"no rule":               {method: "GET", path: "/v1/x", name: "x", summary: "x"},
		"zero scope":            {method: "GET", path: "/v1/x", name: "x", summary: "x", rule: onCluster(cluster.ScopeNone)},
		"public without reason": {method: "GET", path: "/v1/x", name: "x", summary: "x", rule: public("")},
		"app rule, no app":      {method: "GET", path: "/v1/x", name: "x", summary: "x", rule: onApp(cluster.ScopeRead)},
		"app, no app rule":      {method: "GET", path: "/v1/{app}", name: "x", summary: "x", rule: onCluster(cluster.ScopeRead)},
		"no summary":            {method: "GET", path: "/v1/x", name: "x", rule: onCluster(cluster.ScopeRead)},
	} {
		tab := &table{}
		tab.add(s)
		if len(tab.errs) != 1 || len(tab.entries) != 0 {
			t.Errorf("%s: got %v, want one error and no entry", name, tab.errs)
		}
	}
}

func TestUnlistedRoutesTellStrangersNothing(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		method, path, token string
		want                int
	}{
		{"GET", "/", "", 401}, {"GET", "/v1/nothing", "", 401}, {"DELETE", "/v1/apps", "", 401},
		{"GET", "/", "admin", 404}, {"GET", "/v1/nothing", "admin", 404}, {"GET", "/v1/apps/", "admin", 404},
		{"DELETE", "/v1/apps", "admin", 405}, {"OPTIONS", "/v1/apps", "admin", 405}, {"HEAD", "/v1/apps", "admin", 405},
		{"TRACE", "/v1/apps", "", 401}, {"GET", "/docs", "admin", 404}, {"GET", "/openapi.json", "admin", 404},
		{"GET", "/git/blog.git/HEAD", "admin", 404}, {"GET", "/git/blog.git/info/refs", "admin", 404},
		{"GET", "/git/blog/info/refs?service=git-upload-pack", "shop", 403},
		{"GET", "/git/blog.git/info/refs?service=git-upload-pack&service=git-receive-pack", "read", 404},
	} {
		res, body := s.ask(t, c.method, c.path, c.token, "", "")
		if res.StatusCode != c.want {
			t.Errorf("%s %s as %q: got %d, want %d", c.method, c.path, c.token, res.StatusCode, c.want)
		}
		if c.method != "HEAD" && (res.Header.Get("Content-Type") != problemType || !json.Valid([]byte(body))) {
			t.Errorf("%s %s: got %s %q, want a problem", c.method, c.path, res.Header.Get("Content-Type"), body)
		}
		if c.want == 405 && !strings.Contains(res.Header.Get("Allow"), "GET") {
			t.Errorf("%s %s: Allow is %q", c.method, c.path, res.Header.Get("Allow"))
		}
	}
}

func TestForgedRequestsAreRefused(t *testing.T) {
	s := newServer(t)
	set := func(k, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(k, v) } }
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	own := strings.TrimPrefix(s.URL, "https://")
	for _, path := range []string{"/v1/apps", "/healthz", "/v1/openapi.json"} { // a page has no token
		for _, name := range []string{"evil.example.com", "evil.example.com:7443"} {
			if res, body := s.ask(t, "GET", path, "", "", "", host(name)); res.StatusCode != 421 {
				t.Errorf("%s for %s: got %d: %s", path, name, res.StatusCode, body)
			}
		}
	}
	if res, _ := s.ask(t, "GET", "/git/blog.git/info/refs?service=git-upload-pack", "", "", "", host("paas.example.com")); res.StatusCode != 401 {
		t.Errorf("git at a name of the operator's: got %d, want to be asked for the token", res.StatusCode)
	}
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		want   int
	}{
		{"as it is", func(*http.Request) {}, 200},
		{"a name of the operator's", host("paas.example.com:7443"), 200},
		{"another address", host("192.0.2.7"), 200},
		{"localhost", host("localhost:7443"), 200},
		{"foreign origin", set("Origin", "https://evil.example.com"), 403},
		{"null origin", set("Origin", "null"), 403},
		{"origin of another port", set("Origin", "https://127.0.0.1:1"), 403},
		{"origin without TLS", set("Origin", "http://"+own), 403},
		{"own origin", set("Origin", "https://"+own), 200},
		{"a foreign page's image", set("Sec-Fetch-Site", "cross-site"), 403},
		{"typed by hand", set("Sec-Fetch-Site", "none"), 200},
	} {
		for _, path := range []string{"/v1/apps", "/healthz"} {
			if res, body := s.ask(t, "GET", path, "admin", "", "", c.change); res.StatusCode != c.want {
				t.Errorf("%s: %s: got %d, want %d: %s", c.name, path, res.StatusCode, c.want, body)
			}
		}
	}
}

// Whatever a page of somebody else sends, over any route that there is.
func TestForgedRequestsReachNoRoute(t *testing.T) {
	s := newServer(t)
	for _, r := range s.routes {
		path := strings.NewReplacer("{app}", "blog", "{id}", "x-1", "{key}", "KEY", "{host}", "a.example.com", "{version}", "1").Replace(r.Path)
		for name, forge := range map[string]struct {
			change func(*http.Request)
			want   int
		}{
			"foreign host":   {func(q *http.Request) { q.Host = "evil.example.com"; q.Header.Del("Authorization") }, 421},
			"foreign origin": {func(q *http.Request) { q.Header.Set("Origin", "https://evil.example.com") }, 403},
			"foreign page":   {func(q *http.Request) { q.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		} {
			if res, body := s.ask(t, r.Method, path+"?"+r.Query, "admin", jsonType, "{}", forge.change); res.StatusCode != forge.want && !(res.StatusCode == 401 && strings.HasPrefix(path, "/git/")) {
				t.Errorf("%s %s, %s: got %d, want %d: %.200s", r.Method, r.Path, name, res.StatusCode, forge.want, body)
			}
		}
	}
}

// No route takes an option of the container runtime, on create or update. To
// cancel something takes no body at all.
func TestRoutesTakeNoPrivileges(t *testing.T) {
	s := newServer(t)
	asked := 0
	for _, r := range s.routes {
		if r.Method == http.MethodGet || r.Method == http.MethodDelete || strings.HasPrefix(r.Path, "/git/") || r.Once || strings.HasSuffix(r.Path, "/cancel") {
			continue
		}
		path := strings.NewReplacer("{app}", "blog", "{id}", "x-1", "{key}", "KEY", "{host}", "a.example.com", "{version}", "1").Replace(r.Path)
		for _, wish := range []string{"privileged", "Privileged", "HostConfig", "host_config", "binds", "volumes", "mounts", "devices", "cap_add", "network_mode", "pid_mode", "ports", "security_opt", "sysctls"} {
			for _, body := range []string{"{%q: true}", `{"process": {%q: true}}`, `{"processes": {"web": {%q: true}}}`} {
				asked++
				if res, answer := s.ask(t, r.Method, path, "admin", jsonType, fmt.Sprintf(body, wish)); res.StatusCode < 400 || res.StatusCode >= 500 {
					t.Errorf("%s %s with %s: got %d: %.200s", r.Method, r.Path, wish, res.StatusCode, answer)
				}
			}
		}
	}
	t.Logf("%d requests", asked)
}

func TestMediaTypesThatNeedNoPreflightAreRefused(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		method, path, media, body string
		want                      int
	}{
		{"POST", "/v1/apps", "", "{}", 415},
		{"POST", "/v1/apps", "text/plain", "{}", 415},
		{"POST", "/v1/apps", "application/x-www-form-urlencoded", "a=b", 415},
		{"POST", "/v1/apps", "multipart/form-data; boundary=x", "", 415},
		{"POST", "/v1/apps", gzipType, "", 415},
		{"POST", "/v1/apps", "application/json; charset=utf-8", "{}", 200},
		{"POST", "/v1/apps/blog/restart", "text/plain", "", 415},
		{"POST", "/v1/apps/blog/deploys", "text/plain", "x", 415},
		{"POST", "/v1/apps/blog/deploys", gzipType, "x", 200},
		{"DELETE", "/v1/apps/blog/domains/a.example.com", "text/plain", "x", 415},
		{"DELETE", "/v1/apps/blog/domains/a.example.com", "", "", 204},
	} {
		if res, body := s.ask(t, c.method, c.path, "admin", c.media, c.body); res.StatusCode != c.want {
			t.Errorf("%s %s %q: got %d, want %d: %s", c.method, c.path, c.media, res.StatusCode, c.want, body)
		}
	}
}

func TestBodiesAreBounded(t *testing.T) {
	s := newServer(t)
	big := `{"set":{"A":"` + strings.Repeat("x", maxJSONBody) + `"}}`
	res, body := s.ask(t, "PATCH", "/v1/apps/blog/config", "admin", jsonType, big)
	if res.StatusCode != http.StatusRequestEntityTooLarge || len(body) > 1000 {
		t.Errorf("got %d with %d bytes, want 413: %.300s", res.StatusCode, len(body), body)
	}
	s.fake.deploy = func(_ context.Context, in DeploySource, _ func(Progress)) (*DeployResult, error) {
		n, err := io.Copy(io.Discard, in.Archive)
		return &DeployResult{Release: cluster.ReleaseVersion(n)}, err
	}
	const size = 3 * maxJSONBody
	got, err := s.client(t, "admin").DeploySource(context.Background(), "blog", DeploySource{Archive: bytes.NewReader(make([]byte, size))}, nil)
	if err != nil || got.Release != size {
		t.Errorf("upload: got %v, %v, want %d bytes", got, err, size)
	}
}

func TestWrongTokensAreThrottledPerSource(t *testing.T) {
	s := newServer(t)
	for i := range throttleBurst {
		if res, _ := s.ask(t, "GET", "/v1/apps", fmt.Sprint("guess", i), "", ""); res.StatusCode != 401 {
			t.Fatalf("guess %d: got %d, want 401", i, res.StatusCode)
		}
	}
	res, _ := s.ask(t, "GET", "/v1/apps", "guess", "", "")
	if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q, want 429 with one", res.StatusCode, res.Header.Get("Retry-After"))
	}
	if res, _ := s.ask(t, "GET", "/v1/apps", "admin", "", ""); res.StatusCode != 200 {
		t.Errorf("a good token from the same address: got %d, want 200", res.StatusCode)
	}
	if res, _ := s.ask(t, "GET", "/v1/apps", "", "", ""); res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != `Bearer realm="paas"` {
		t.Errorf("no token: got %d %q, want the challenge", res.StatusCode, res.Header.Get("WWW-Authenticate"))
	}
}

func TestThrottleIsBoundedAndForgets(t *testing.T) {
	th, now := newThrottle(), time.Unix(1e9, 0)
	for i := range throttleBurst {
		if w := th.wait("a", now); w != 0 {
			t.Fatalf("after %d: wait %s", i, w)
		}
		th.punish("a", now)
	}
	if w := th.wait("a", now); w != throttleRefill {
		t.Errorf("empty bucket: wait %s, want %s", w, throttleRefill)
	}
	if w := th.wait("b", now); w != 0 {
		t.Errorf("another source: wait %s", w)
	}
	if w := th.wait("a", now.Add(throttleRefill)); w != 0 {
		t.Errorf("after the refill: wait %s", w)
	}
	for i := range 3 * throttleSources {
		th.punish(fmt.Sprint(i), now)
	}
	if n := len(th.fullAt); n > throttleSources+1 {
		t.Errorf("%d buckets, want at most %d", n, throttleSources+1)
	}
	later := now.Add(100 * time.Hour)
	th.punish("z", later)
	if n := len(th.fullAt); n > 2 {
		t.Errorf("%d buckets after all were full again, want them forgotten", n)
	}
}

func TestGitSendsTheTokenAsPassword(t *testing.T) {
	s := newServer(t)
	path := "/git/blog.git/info/refs?service=git-receive-pack"
	res, _ := s.ask(t, "GET", path, "", "", "")
	if res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != `Basic realm="paas"` {
		t.Errorf("got %d %q, want git's challenge", res.StatusCode, res.Header.Get("WWW-Authenticate"))
	}
	basic := func(password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth("anyone", password) }
	}
	for token, want := range map[string]int{"blog": 200, "shop": 403, "read": 403, "deploy": 200} {
		if res, body := s.ask(t, "GET", path, "", "", "", basic(token)); res.StatusCode != want {
			t.Errorf("push as %s: got %d, want %d: %s", token, res.StatusCode, want, body)
		}
	}
	if res, _ := s.ask(t, "GET", "/git/blog.git/info/refs?service=git-upload-pack", "", "", "", basic("read")); res.StatusCode != 200 {
		t.Errorf("fetch as read: got %d, want 200", res.StatusCode)
	}
}

func TestEscapedPathsMeanTheSameToRuleAndHandler(t *testing.T) {
	s := newServer(t)
	if res, _ := s.ask(t, "GET", "/v1/apps/%62log", "blog", "", ""); res.StatusCode != 200 || s.fake.lastCall() != "App blog" {
		t.Errorf("got %d and %q, want blog", res.StatusCode, s.fake.lastCall())
	}
	for _, path := range []string{"/v1/apps/blog%2f..%2fshop", "/v1/apps/shop%2f..%2fblog", "/v1/apps/%73hop", "/v1/apps/blog/../shop"} {
		if res, _ := s.ask(t, "GET", path, "blog", "", ""); res.StatusCode != 403 && res.StatusCode != 404 {
			t.Errorf("%s: got %d, want it refused", path, res.StatusCode)
		}
	}
}
