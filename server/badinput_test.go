package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/store"
)

// gallery sends attacks and compares what the cluster knows before and after.
type gallery struct {
	*host
	http  *http.Client
	once  string // a one-time token
	known string // the state, without its index and events
	index uint64
}

// state is everything that the cluster knows, but for its index and its events.
func (r *gallery) state() string {
	r.t.Helper()
	snap := r.server.store.State().Snapshot()
	snap.Index, snap.Events = 0, nil
	out, err := json.Marshal(snap)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(out)
}

// fire sends one attack and reports what is wrong with the answer.
func (r *gallery) fire(a *attack) string {
	path := a.path
	for k, v := range a.params {
		path = strings.ReplaceAll(path, "{"+k+"}", strings.ReplaceAll(url.PathEscape(v), ".", "%2E"))
	}
	if q := a.query.Encode(); q != "" {
		path += "?" + q
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, a.method, "https://"+r.server.Addr().String()+path, strings.NewReader(a.body))
	if err != nil {
		return "cannot be sent: " + err.Error()
	}
	req.Header = a.header.Clone()
	token := r.token
	if a.name == "login" {
		token = r.once
	}
	if a.field != "header Authorization" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if a.media != "" {
		req.Header.Set("Content-Type", a.media)
	}
	res, err := r.http.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	if res.StatusCode < 300 {
		cancel() // a stream may never end
		r.known = r.state()
		return fmt.Sprintf("it was taken: %d", res.StatusCode)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return r.judge(a, res, string(body))
}

// judge reports what is wrong with a refusal.
func (r *gallery) judge(a *attack, res *http.Response, body string) string {
	var p api.Problem
	switch err := json.Unmarshal([]byte(body), &p); {
	case res.StatusCode < 400 || res.StatusCode >= 500:
		return fmt.Sprintf("%d %s", res.StatusCode, body)
	case err != nil || res.Header.Get("Content-Type") != "application/problem+json":
		return "no problem: " + body
	case p.Status != res.StatusCode || p.Code == "" || p.Message == "" || p.Kind == "" || p.Kind == "internal":
		return fmt.Sprintf("half a problem: %s", body)
	case strings.Contains(body, r.token) || strings.Contains(body, r.once) || strings.Contains(body, "hunter2"):
		return "it tells a secret: " + body
	case len(body) > 4096:
		return fmt.Sprintf("an answer of %d bytes", len(body))
	case strings.ContainsFunc(p.Message+p.Reason+p.Hint, func(c rune) bool { return c < ' ' || c == 0x7f || c == 0x1b || c >= 0x202a && c <= 0x202e }):
		return fmt.Sprintf("an unprintable answer: %q", body)
	}
	if index := r.server.store.State().Index(); index != r.index {
		if now := r.state(); now != r.known {
			at := 0
			for at < min(len(now), len(r.known)) && now[at] == r.known[at] {
				at++
			}
			at = max(0, at-100)
			diff := fmt.Sprintf("%d, and yet it changed something:\n%.300s\n%.300s", res.StatusCode, r.known[at:], now[at:])
			r.known = now
			return diff
		}
		r.index = index
	}
	return ""
}

// newGallery is a cluster with an app that has everything: a release, a secret, a
// domain, a build.
func newGallery(t *testing.T) *gallery {
	h := newHost(t)
	h.createApp("blog")
	h.mustDeploy("blog", map[string]string{"Procfile": "web: ok\n"})
	if _, err := h.client.ChangeConfig(t.Context(), "blog", api.ChangeConfig{Set: map[string]cluster.Redacted{"SECRET": "hunter2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.client.AddDomain(t.Context(), "blog", api.AddDomain{Host: "shop.example.com"}); err != nil {
		t.Fatal(err)
	}
	h.await("the release serves", func() bool {
		app, err := h.client.App(t.Context(), "blog")
		n := 0
		for a := range h.server.store.State().AllocationsOf("blog") {
			if n++; a.Observed.State != cluster.AllocationHealthy {
				n = 9
			}
		}
		return err == nil && app.Deployment == nil && app.Current == 2 && n == 1
	})
	once, id, hash := identity.NewToken()
	token := cluster.Token{ID: id, Hash: hash, Name: "first login", Scope: cluster.ScopeAdmin, Once: true, CreatedAt: time.Now().UTC()}
	if _, err := h.server.store.Propose(t.Context(), store.CreateToken{By: store.By{Actor: "tester", At: time.Now().UTC()}, Token: token}); err != nil {
		t.Fatal(err)
	}
	r := &gallery{host: h, once: once, http: &http.Client{Transport: &http.Transport{TLSClientConfig: identity.PinnedConfig(h.server.CAPEM())},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	t.Cleanup(r.http.CloseIdleConnections)
	r.known, r.index = r.state(), h.server.store.State().Index()
	return r
}

// The attacks are made from the live route table and the API's own description,
// so a new route or field is among them by itself.
func TestBadInputChangesNothing(t *testing.T) {
	r := newGallery(t)
	routes, d := r.describe()
	sent, tolerated := 0, 0
	for _, route := range routes {
		if strings.HasPrefix(route.Path, "/git/") || route.Public {
			continue
		}
		t.Run(route.Name, func(t *testing.T) {
			if d.Paths[route.Path][strings.ToLower(route.Method)].OperationID != route.Name {
				t.Fatalf("%s %s is not described", route.Method, route.Path)
			}
			for _, a := range d.attacks(strings.ToLower(route.Method), route.Path, route.Name) {
				if tamed(a) != "" {
					tolerated++
					continue
				}
				sent++
				if wrong := r.fire(a); wrong != "" {
					t.Errorf("%s %s: %s = %s\n\t%.600s", a.method, a.path, a.field, shown(a.value), wrong)
				}
			}
		})
	}
	if out := r.log.String(); strings.Contains(out, "hunter2") || strings.Contains(out, "level=ERROR") {
		t.Errorf("the log:\n%s", out)
	}
	t.Logf("%d routes, %d bad requests; %d more are not bad", len(routes), sent, tolerated)
}

func shown(v string) string {
	if len(v) > 80 {
		return fmt.Sprintf("%.40q… (%d bytes)", v, len(v))
	}
	return fmt.Sprintf("%q", v)
}

// describe asks the server for its routes and its description.
func (r *gallery) describe() ([]api.Route, *description) {
	r.t.Helper()
	var routes []api.Route
	var d description
	for path, v := range map[string]any{"/v1/routes": &routes, "/v1/openapi.json": &d} {
		req, err := http.NewRequestWithContext(r.t.Context(), "GET", "https://"+r.server.Addr().String()+path, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+r.token)
		res, err := r.http.Do(req)
		if err != nil {
			r.t.Fatal(err)
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(v); err != nil {
			r.t.Fatal(err)
		}
	}
	if len(routes) < 45 {
		r.t.Fatalf("%d routes", len(routes))
	}
	return routes, &d
}
