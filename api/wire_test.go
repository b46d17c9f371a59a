package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"paas/cluster"
)

func TestEveryKindHasItsOwnStatus(t *testing.T) {
	seen := map[int]cluster.Kind{}
	kinds := 0
	for k := cluster.Kind(0); !strings.HasPrefix(k.String(), "unknown("); k++ {
		kinds++
		status := StatusOf(k)
		if k != cluster.KindInternal && (status < 400 || status == 500) {
			t.Errorf("%s: status %d", k, status)
		}
		if other, ok := seen[status]; ok {
			t.Errorf("%s and %s share status %d", k, other, status)
		}
		seen[status] = k
		if got := kindOf(status); got != k {
			t.Errorf("status %d: got %s, want %s", status, got, k)
		}
	}
	if kinds != len(statuses) {
		t.Errorf("the table has %d kinds, there are %d", len(statuses), kinds)
	}
}

func TestErrorsCrossTheWireWhole(t *testing.T) {
	s := newServer(t)
	c := s.client(t, "admin")
	for k := cluster.KindInvalid; !strings.HasPrefix(k.String(), "unknown("); k++ {
		want := &cluster.Error{Kind: k, Code: "some_code", Message: "it did not work", Reason: "because", Hint: "paas doctor"}
		s.fake.err = fmt.Errorf("layer: %w", want.Wrap(errors.New("internal detail")))
		_, err := c.App(context.Background(), "blog")
		var got *cluster.Error
		if !errors.As(err, &got) {
			t.Fatalf("%s: got %v", k, err)
		}
		got.Err = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", k, diff)
		}
	}
}

func TestInternalErrorsSayNothingButTheRequest(t *testing.T) {
	s := newServer(t)
	for name, err := range map[string]error{
		"plain":      errors.New("open /var/lib/secret-path: boom"),
		"classified": cluster.Errorf(cluster.KindInternal, "x", "secret-path boom"),
	} {
		s.fake.err = err
		_, got := s.client(t, "admin").App(context.Background(), "blog")
		if cluster.KindOf(got) != cluster.KindInternal || strings.Contains(got.Error(), "secret-path") {
			t.Errorf("%s: got %v, want an internal error without detail", name, got)
		}
		_, id, _ := strings.Cut(got.Error(), "(request ")
		id = strings.TrimSuffix(id, ")")
		s.log.await(t, "request="+id)
		if !strings.Contains(s.log.String(), "secret-path") {
			t.Errorf("%s: the log does not tell what went wrong: %s", name, s.log)
		}
	}
}

// planted is a value that must come back nowhere.
const planted = "hunter2-planted-value"

func TestProblemsNeverEchoValues(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"PATCH", "/v1/apps/blog/config", `{"sett":{"A":"` + planted + `"}}`, 422, "did you mean set?"},
		{"PATCH", "/v1/apps/blog/config", `{"zzz":"` + planted + `"}`, 422, "known: set, unset"},
		{"PATCH", "/v1/apps/blog/config", `{"set":"` + planted + `"}`, 422, "body.set: expected object"},
		{"PATCH", "/v1/apps/blog/config", `{"set":{"A":["` + planted + `"]}}`, 422, "body.set.A: expected string"},
		{"PATCH", "/v1/apps/blog/config", `{"set":{"A":"` + planted + `"`, 400, "not valid JSON"},
		{"PATCH", "/v1/apps/blog/config", planted, 400, "not valid JSON"},
		{"PATCH", "/v1/apps/blog/config", `["` + planted + `"]`, 422, "body: expected object"},
		{"PATCH", "/v1/apps/blog/config", ``, 400, "the body is missing"},
		{"POST", "/v1/apps/blog/scale", `{"changes":[{"type":"web","quantity":"` + planted + `"}]}`, 422, "body.changes[0].quantity: expected integer"},
		{"POST", "/v1/apps/blog/scale", `{"changes":[{"typ":"web","quantity":1}]}`, 422, "did you mean type?"},
		{"POST", "/v1/apps/blog/scale", `{"changes":[{"type":"web","quantity":1e300}]}`, 422, "not valid JSON of the expected form"},
		{"POST", "/v1/apps/blog/scale", `{"changes":[{"type":"web"}]}`, 422, "quantity"},
		{"POST", "/v1/tokens", `{"name":"x","scope":"` + planted + `"}`, 422, `one of "none, read, deploy, admin"`},
		{"POST", "/v1/backup", `{"passphrase":""}`, 422, "passphrase"},
		{"GET", "/v1/apps/blog/releases?limit=" + planted, "", 422, "invalid integer"},
		{"GET", "/v1/apps/blog/releases?" + planted + "=1", "", 422, "is not known"},
		{"GET", "/v1/apps/blog/releases?limit=-1", "", 422, "expected number >= 0"},
		{"GET", "/v1/apps/blog/releases/" + planted, "", 422, "invalid integer"},
		{"GET", "/v1/events/stream?since=" + planted, "", 422, "invalid integer"},
		{"POST", "/v1/apps/blog/deploys", `{"image":["` + planted + `"]}`, 422, `{"image": "REFERENCE"}`},
		{"POST", "/v1/apps/blog/deploys", `{"image":"x","more":"` + planted + `"}`, 422, `{"image": "REFERENCE"}`},
		{"DELETE", "/v1/apps/blog", "", 422, "query.confirm: required"},
	} {
		media := jsonType
		if c.method == "GET" || c.body == "" && c.method == "DELETE" {
			media = ""
		}
		res, body := s.ask(t, c.method, c.path, "admin", media, c.body)
		if res.StatusCode != c.status || res.Header.Get("Content-Type") != problemType {
			t.Errorf("%s %s %s: got %d %s, want %d: %s", c.method, c.path, c.body, res.StatusCode, res.Header.Get("Content-Type"), c.status, body)
		}
		if strings.Contains(body, planted) && !strings.Contains(c.path, planted+"=") { // a parameter's name is not a value
			t.Errorf("%s %s: the answer repeats the value: %s", c.method, c.path, body)
		}
		var p Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if !strings.Contains(p.Reason, c.says) || p.Kind != "invalid" || p.RequestID != res.Header.Get("X-Request-ID") || p.Code == "" {
			t.Errorf("%s %s %s: got %+v, want a reason with %q", c.method, c.path, c.body, p, c.says)
		}
	}
	if strings.Contains(s.log.String(), planted) {
		t.Errorf("the log repeats the value: %s", s.log)
	}
}

func TestConfigValuesTravelOneWay(t *testing.T) {
	s := newServer(t)
	c := s.client(t, "admin")
	_, err := c.ChangeConfig(context.Background(), "blog", ChangeConfig{Set: map[string]cluster.Redacted{"A": planted}, Unset: []string{"B"}})
	if err != nil || s.fake.config.Set["A"].Reveal() != planted || s.fake.config.Unset[0] != "B" {
		t.Errorf("got %v, %v, want the value to arrive", s.fake.config, err)
	}
	if v, err := c.ConfigValue(context.Background(), "blog", "A/é"); err != nil || v.Value != "revealed" || s.fake.lastCall() != "ConfigValue blog A/é" {
		t.Errorf("got %v, %v by %q", v, err, s.fake.lastCall())
	}
	if _, body := s.ask(t, "GET", "/v1/apps/blog", "admin", "", ""); strings.Contains(body, "sealed box") || !strings.Contains(body, "[sealed ") {
		t.Errorf("got %s, want fingerprints of sealed values", body)
	}
}

// Every plain method of the client reaches the service of the same name.
func TestClientReachesEveryService(t *testing.T) {
	s := newServer(t)
	c, ctx := s.client(t, "admin"), context.Background()
	second := func(_ any, err error) error { return err }
	for want, call := range map[string]func() error{
		"Apps":                 func() error { return second(c.Apps(ctx)) },
		"App blog":             func() error { return second(c.App(ctx, "blog")) },
		"CreateApp":            func() error { return second(c.CreateApp(ctx, CreateApp{Name: "blog"})) },
		"UpdateApp blog":       func() error { return second(c.UpdateApp(ctx, "blog", UpdateApp{})) },
		"DestroyApp blog blog": func() error { return c.DestroyApp(ctx, "blog", "blog") },
		"Processes blog":       func() error { return second(c.Processes(ctx, "blog")) },
		"Scale blog": func() error {
			return second(c.Scale(ctx, "blog", Scale{Changes: []ScaleChange{{Type: "web", Quantity: -1, Relative: true}}}))
		},
		"Restart blog":              func() error { return c.Restart(ctx, "blog", Restart{}) },
		"Settle blog [web worker]":  func() error { return c.Settle(ctx, "blog", []cluster.ProcessType{"web", "worker"}, nil) },
		"Config blog":               func() error { return second(c.Config(ctx, "blog")) },
		"Releases blog":             func() error { return second(c.Releases(ctx, "blog", 3)) },
		"Release blog v7":           func() error { return second(c.Release(ctx, "blog", 7)) },
		"Rollback blog":             func() error { return second(c.Rollback(ctx, "blog", Rollback{})) },
		"DeployImage blog":          func() error { return second(c.DeployImage(ctx, "blog", DeployImage{Image: "busybox"}, nil)) },
		"WatchDeployment blog d-1":  func() error { return c.WatchDeployment(ctx, "blog", "d-1", nil) },
		"Deployments blog":          func() error { return second(c.Deployments(ctx, "blog")) },
		"CancelDeployment blog d-1": func() error { return c.CancelDeployment(ctx, "blog", "d-1") },
		"Builds blog":               func() error { return second(c.Builds(ctx, "blog")) },
		"Build blog b-1":            func() error { return second(c.Build(ctx, "blog", "b-1")) },
		"BuildLog blog":             func() error { return c.BuildLog(ctx, "blog", "b-1", io.Discard) },
		"CancelBuild blog b-1":      func() error { return c.CancelBuild(ctx, "blog", "b-1") },
		"Logs blog":                 func() error { return c.Logs(ctx, LogsRequest{App: "blog"}, nil) },
		"Domains blog":              func() error { return second(c.Domains(ctx, "blog")) },
		"AddDomain blog":            func() error { return second(c.AddDomain(ctx, "blog", AddDomain{Host: "a.example.com"})) },
		"RemoveDomain blog a.b":     func() error { return c.RemoveDomain(ctx, "blog", "a.b") },
		"Volumes ":                  func() error { return second(c.Volumes(ctx, "")) },
		"Volumes blog":              func() error { return second(c.Volumes(ctx, "blog")) },
		"Volume blog data":          func() error { return second(c.Volume(ctx, "blog", "data")) },
		"CreateVolume blog data":    func() error { return second(c.CreateVolume(ctx, "blog", CreateVolume{Name: "data"})) },
		"AttachVolume blog data /data": func() error {
			return second(c.AttachVolume(ctx, "blog", "data", AttachVolume{Path: "/data"}))
		},
		"DetachVolume blog data":       func() error { return c.DetachVolume(ctx, "blog", "data") },
		"DestroyVolume blog data data": func() error { return c.DestroyVolume(ctx, "blog", "data", "data") },
		"Events blog":                  func() error { return second(c.Events(ctx, "blog", 3)) },
		"Nodes":                        func() error { return second(c.Nodes(ctx)) },
		"CreateToken":                  func() error { return second(c.CreateToken(ctx, CreateToken{Name: "x", Scope: cluster.ScopeRead})) },
		"Tokens":                       func() error { return second(c.Tokens(ctx)) },
		"RevokeToken 0a":               func() error { return c.RevokeToken(ctx, "0a") },
		"Login":                        func() error { return second(s.client(t, "once").Login(ctx, Login{Name: "x"})) },
		"Whoami":                       func() error { return second(c.Whoami(ctx)) },
		"Status":                       func() error { return second(c.Status(ctx)) },
		"Export":                       func() error { return c.Export(ctx, io.Discard) },
		"Backup":                       func() error { return c.Backup(ctx, "pass", io.Discard) },
		"Node web/1":                   func() error { return second(c.Node(ctx, "web/1")) },
		"UpdateNode n1 draining map[a:b] [c]": func() error {
			return second(c.UpdateNode(ctx, "n1", UpdateNode{Schedule: cluster.ScheduleDraining, SetLabels: map[string]string{"a": "b"}, UnsetLabels: []string{"c"}}))
		},
		"RemoveNode n1 true":  func() error { return second(c.RemoveNode(ctx, "n1", RemoveNode{Force: true})) },
		"RemoveNode n1 false": func() error { return second(c.RemoveNode(ctx, "n1", RemoveNode{})) },
		"WatchDrain n1":       func() error { return c.WatchDrain(ctx, "n1", nil) },
	} {
		if err := call(); err != nil || s.fake.lastCall() != want {
			t.Errorf("got %q, %v, want %q", s.fake.lastCall(), err, want)
		}
		if got := s.fake.lastActor().Scope; got != cluster.ScopeAdmin {
			t.Errorf("%s: the service saw an actor of scope %s", want, got)
		}
	}
	routes, err := c.Routes(ctx)
	if diff := cmp.Diff(s.routes, routes); err != nil || diff != "" {
		t.Errorf("routes: %v -want +got\n%s", err, diff)
	}
	who, err := s.client(t, "blog").Whoami(ctx)
	if diff := cmp.Diff(testActors["blog"], *who); err != nil || diff != "" {
		t.Errorf("whoami: %v -want +got\n%s", err, diff)
	}
}

func TestStaleIsForTheService(t *testing.T) {
	s := newServer(t)
	stale := make(chan bool, 1)
	s.fake.follow = func(ctx context.Context, _ uint64, _ func(cluster.Event) error) error {
		stale <- Stale(ctx)
		return cluster.Invalid("end", "end")
	}
	for _, want := range []bool{true, false} {
		c := s.client(t, "read")
		c.config.Stale = want
		_ = c.FollowEvents(context.Background(), "", 0, nil)
		if got := await(t, "the call", stale); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestClientExplainsConnectionFailures(t *testing.T) {
	s := newServer(t)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for _, c := range []struct {
		name, url string
		tls       *tls.Config
		code      string
		says      string
	}{
		{"nobody listens", "https://127.0.0.1:1", nil, "unreachable", "paas up"},
		{"another cluster", s.URL, nil, "tls_pin", "paas login"},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), nil, "", "address"},
	} {
		client, err := NewClient(ClientConfig{URL: c.url, Token: planted, TLS: c.tls})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Status(context.Background())
		var e *cluster.Error
		if !errors.As(err, &e) || e.Kind != cluster.KindUnavailable || !strings.Contains(e.Hint, c.says) || (c.code != "" && e.Code != c.code) {
			t.Errorf("%s: got %#v, want %s with a hint at %q", c.name, err, c.code, c.says)
		}
		if strings.Contains(fmt.Sprintf("%+v", err), planted) {
			t.Errorf("%s: the error holds the token", c.name)
		}
		_, err = client.Run(context.Background(), RunRequest{App: "blog"}, nil)
		if cluster.KindOf(err) != cluster.KindUnavailable {
			t.Errorf("%s: run: got %v, want unavailable", c.name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.client(t, "admin").Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	client, err := NewClient(ClientConfig{URL: plain.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Status(context.Background()); cluster.KindOf(err) != cluster.KindNotFound || !strings.Contains(err.Error(), "404") {
		t.Errorf("not a paas server: got %v", err)
	}
}

func TestClientRefusesToSendTokensInTheClear(t *testing.T) {
	for _, url := range []string{"http://paas.example.com", "ftp://127.0.0.1", "127.0.0.1:7443", "https://", "https://u:p@127.0.0.1", ":", ""} {
		if _, err := NewClient(ClientConfig{URL: url}); cluster.KindOf(err) != cluster.KindInvalid {
			t.Errorf("%q: got %v, want invalid", url, err)
		}
	}
}

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	s := newServer(t)
	res, body := s.ask(t, "GET", "/v1/openapi.json", "read", "", "")
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID, Summary string
			Parameters           []struct{ Name, In string }
		}
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || res.StatusCode != 200 || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("got %d, version %q, %v", res.StatusCode, doc.OpenAPI, err)
	}
	operations := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			operations++
			if op.Summary == "" || op.OperationID == "" {
				t.Errorf("%s %s has no summary or no ID", method, path)
			}
			named := 0
			for _, p := range op.Parameters {
				if p.In == "path" && strings.Contains(path, "{"+p.Name+"}") {
					named++
				}
			}
			if named != strings.Count(path, "{") {
				t.Errorf("%s %s describes %d of its path parameters", method, path, named)
			}
		}
	}
	git := 0
	for _, r := range s.routes {
		if strings.HasPrefix(r.Path, "/git/") {
			git++
		} else if doc.Paths[r.Path][strings.ToLower(r.Method)].OperationID != r.Name {
			t.Errorf("%s %s is not described", r.Method, r.Path)
		}
	}
	if operations != len(s.routes)-git {
		t.Errorf("%d operations, %d routes", operations, len(s.routes)-git)
	}
	if _, ok := doc.Components.Schemas["ErrorModel"]; ok || doc.Components.Schemas["Problem"] == nil {
		t.Errorf("the error's schema is not Problem")
	}
	if strings.Contains(body, "$schema") {
		t.Errorf("answers link to schemas by the Host header")
	}
	compareGolden(t, "testdata/openapi.golden", indentJSON(t, body))
}
