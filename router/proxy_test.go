package router

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"paas/cluster"
)

func TestRoutesByHost(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(7,
		routeTo("blog.localhost", backend(t, "a-1", say("blog"))),
		routeTo("shop.localhost", backend(t, "a-2", say("shop"))),
		routeTo("empty.localhost"),
		cluster.Route{Host: "asleep.localhost", App: "asleep", Internal: true, Idle: true}))
	if got := r.Status().Index; got != 7 {
		t.Errorf("index = %d, want 7", got)
	}
	for name, c := range map[string]*http.Client{"h2": r.client(t), "h1": r.client1(t)} {
		for _, tt := range []struct {
			host   string
			status int
			body   string
		}{
			{"blog.localhost", 200, "blog"},
			{"BLOG.localhost", 200, "blog"},
			{"shop.localhost", 200, "shop"},
			{"empty.localhost", 503, "H-no-replica"},
			{"asleep.localhost", 503, "start it with: paas scale web=1"},
		} {
			status, body := get(t, c, "https://"+tt.host+"/x?y=1")
			if status != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("%s %s = %d %q, want %d %q", name, tt.host, status, body, tt.status, tt.body)
			}
		}
		if _, err := c.Get("https://other.localhost/"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%s unknown host: %v, want alert unrecognized name", name, err)
		}
	}
}

func TestSpeaksHTTP2(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", say("x")))))
	resp, err := r.client(t).Get("https://a.localhost/")
	if err != nil {
		t.Fatal(err)
	}
	_ = readAll(t, resp)
	if resp.ProtoMajor != 2 {
		t.Errorf("protocol = %s, want HTTP/2", resp.Proto)
	}
}

func TestPathAndQueryStayAsTheyCame(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RequestURI)
	})))))
	c := r.raw(t, "a.localhost")
	br := bufio.NewReader(c)
	for _, target := range []string{"/", "/a%2Fb/../c?x=1;y=2&z=%zz", "//double", "/?", "/%C3%A9?q=a+b"} {
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a.localhost\r\n\r\n", target)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, resp); got != target {
			t.Errorf("replica saw %q, want %q", got, target)
		}
	}
	fmt.Fprintf(c, "GET http://a.localhost/abs?q HTTP/1.1\r\nHost: evil.localhost\r\n\r\n")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, resp); got != "/abs?q" {
		t.Errorf("absolute URI: replica saw %q, want /abs?q", got)
	}
}

func TestAnswerHeadersAreTheAppsOwn(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("X-Keep", "1")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "<html>")
	})))))
	resp, err := r.client1(t).Get("https://a.localhost/")
	if err != nil {
		t.Fatal(err)
	}
	_ = readAll(t, resp)
	if resp.StatusCode != 418 || resp.Header.Get("X-Keep") != "1" {
		t.Errorf("answer = %d %v", resp.StatusCode, resp.Header)
	}
	for _, h := range []string{"Content-Type", "X-Hop", "Via", "X-Request-Id", "Server"} {
		if v, ok := resp.Header[h]; ok {
			t.Errorf("answer has %s: %v", h, v)
		}
	}
}

// pattern is endless bytes that are not all alike.
func TestRedirectsToHTTPS(t *testing.T) {
	r := start(t, newStore(t), func(c *Config) { c.HTTPSPort = 443 })
	r8443 := start(t, newStore(t), func(c *Config) { c.HTTPSPort = 8443 })
	table := tableOf(1, routeTo("a.localhost", backend(t, "a-1", say("x"))))
	r.SetTable(table)
	r8443.SetTable(table)
	for _, tt := range []struct {
		r         *running
		url, want string
	}{
		{r, "http://a.localhost/p/a%2Fth?q=1;2", "https://a.localhost/p/a%2Fth?q=1;2"},
		{r8443, "http://A.localhost./", "https://a.localhost:8443/"},
		{r, "http://a.localhost/.well-known/acme-challenge/xyz", "https://a.localhost/.well-known/acme-challenge/xyz"},
	} {
		for _, method := range []string{"GET", "POST"} {
			req, _ := http.NewRequest(method, tt.url, nil)
			resp, err := tt.r.client(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = readAll(t, resp)
			if got := resp.Header.Get("Location"); resp.StatusCode != 308 || got != tt.want {
				t.Errorf("%s %s = %d %q, want 308 %q", method, tt.url, resp.StatusCode, got, tt.want)
			}
		}
	}
	if status, body := get(t, r.client(t), "http://nobody.localhost/"); status != 404 || !strings.Contains(body, "H-no-host") {
		t.Errorf("unknown host = %d %s, want 404 H-no-host", status, body)
	}
}

func TestErrorPagesSpeakTheClientsLanguage(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost"), routeTo("down.localhost", dead("a-1")),
		routeTo("rude.localhost", backend(t, "a-2", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })))))
	for _, tt := range []struct {
		host, accept, contentType, want string
		status                          int
	}{
		{"a.localhost", "text/html,*/*", "text/html; charset=utf-8", "<h1>The app is not running</h1>", 503},
		{"a.localhost", "*/*", "text/plain; charset=utf-8", "code H-no-replica", 503},
		{"a.localhost", "application/json", "application/json", `"code":"H-no-replica"`, 503},
		{"down.localhost", "", "text/plain; charset=utf-8", "code H-connect", 502},
		{"rude.localhost", "", "text/plain; charset=utf-8", "code H-broken", 502},
	} {
		req, _ := http.NewRequest("GET", "https://"+tt.host+"/<script>", nil)
		req.Header.Set("Accept", tt.accept)
		resp, err := r.client(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body := readAll(t, resp)
		id := resp.Header.Get("X-Request-Id")
		if resp.StatusCode != tt.status || resp.Header.Get("Content-Type") != tt.contentType || !strings.Contains(body, tt.want) ||
			len(id) != 32 || !strings.Contains(body, id) || strings.Contains(body, "script>") {
			t.Errorf("%s %q = %d %s\n%s", tt.host, tt.accept, resp.StatusCode, resp.Header, body)
		}
		if got := resp.Header.Get("Retry-After"); (got != "") != (tt.status == 503) {
			t.Errorf("%s: Retry-After = %q", tt.host, got)
		}
	}
}

// What an error page needs is in it: it is shown when little else works, on
// whatever screen, and its policy allows nothing to be fetched.
func TestErrorPagesStandAlone(t *testing.T) {
	for _, f := range []failure{failBadRequest, failNoHost, failMethod, failSlowClient, failMisdirected, failBroken, failConnect, failNoReplica, failIdle, failBusy, failTimeout} {
		_, b := f.body("text/html", newRequestID())
		page := string(b)
		for _, want := range []string{"width=device-width", "prefers-color-scheme:dark", "<h1>" + f.title + "</h1>", f.text, f.advice, f.run, f.code} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %q in %s", f.code, want, page)
			}
		}
		for _, bad := range []string{"//", "src=", "url(", "<script", "@import", "%!"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s: %q in %s", f.code, bad, page)
			}
		}
	}
}

func TestDeadReplicaCostsNoRequest(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", say("x")), dead("a-2"), dead("a-3"))))
	c := r.client(t)
	for range 300 {
		if status, body := get(t, c, "https://a.localhost/"); status != 200 {
			t.Fatalf("status = %d: %s", status, body)
		}
	}
	resp, err := c.Post("https://a.localhost/", "text/plain", strings.NewReader("body"))
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("POST: %v %v", resp, err) // nothing was sent to the dead ones
	}
	_ = readAll(t, resp)
	m := r.Metrics()
	if m.Ejections == 0 || m.Ejections > 20 || m.Retries < m.Ejections {
		t.Errorf("metrics = %+v, want few ejections and a retry for each", m)
	}
}

func TestRetriesOnlyWhatCannotHaveHadAnEffect(t *testing.T) {
	r := start(t, newStore(t), nil)
	rude := http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		panic(http.ErrAbortHandler)
	})
	var ups []cluster.Upstream
	for i := range 4 {
		ups = append(ups, backend(t, cluster.AllocationID(fmt.Sprintf("a-%d", i)), rude))
	}
	r.SetTable(tableOf(1, routeTo("a.localhost", ups...)))
	for _, tt := range []struct {
		method, body string
		retries      uint64
	}{{"GET", "", 1}, {"DELETE", "", 1}, {"PUT", "x", 0}, {"POST", "", 0}, {"POST", "x", 0}, {"PATCH", "", 0}} {
		before := r.Metrics().Retries
		req, _ := http.NewRequest(tt.method, "https://a.localhost/", strings.NewReader(tt.body))
		resp, err := r.client(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = readAll(t, resp)
		if got := r.Metrics().Retries - before; got != tt.retries || resp.StatusCode != 502 {
			t.Errorf("%s with body %q: %d retries and %d, want %d and 502", tt.method, tt.body, got, resp.StatusCode, tt.retries)
		}
	}
}

func TestShutdownLetsRequestsFinishAndEndsWebSockets(t *testing.T) {
	r := start(t, newStore(t), nil)
	entered, finish := make(chan struct{}), make(chan struct{})
	slow := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		close(entered)
		<-finish
		_, _ = io.WriteString(w, "finished")
	})
	ws := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if c, err := websocket.Accept(w, req, nil); err == nil {
			_, _, _ = c.Read(req.Context())
			_ = c.CloseNow()
		}
	})
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", slow)), routeTo("ws.localhost", backend(t, "a-2", ws))))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "wss://ws.localhost/", &websocket.DialOptions{HTTPClient: r.client1(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	type answer struct {
		body string
		err  error
	}
	got := make(chan answer, 1)
	client := r.client1(t)
	go func() {
		resp, err := client.Get("https://a.localhost/")
		if err != nil {
			got <- answer{err: err}
			return
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		got <- answer{string(b), err}
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	await(t, "the listener to close", func() bool {
		c, err := r.dialer()(ctx, "tcp", "a:443")
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	close(finish)
	if a := <-got; a.err != nil || a.body != "finished" {
		t.Errorf("request during shutdown = %+v", a)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, _, err := c.Read(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WebSocket after shutdown: %v, want it closed", err)
	}
}

func TestConnectionsThatReplicasCloseCostNoGET(t *testing.T) {
	r := start(t, newStore(t), nil)
	s := httptest.NewUnstartedServer(say("x"))
	s.Config.IdleTimeout = time.Millisecond // about when the next request comes
	s.Start()
	t.Cleanup(s.Close)
	r.SetTable(tableOf(1, routeTo("a.localhost", cluster.Upstream{Allocation: "a-1", Zone: "a", Address: s.Listener.Addr().String()})))
	var wg sync.WaitGroup
	for range 4 {
		c := r.client(t)
		wg.Go(func() {
			pause := time.NewTicker(time.Millisecond)
			defer pause.Stop()
			for range 300 {
				<-pause.C
				resp, err := c.Get("https://a.localhost/")
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("status %d", resp.StatusCode)
				}
			}
		})
	}
	wg.Wait()
}

func TestClientThatGoesAwayFreesItsReplica(t *testing.T) {
	r := start(t, newStore(t), nil)
	entered, left := make(chan struct{}), make(chan struct{})
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		entered <- struct{}{}
		<-req.Context().Done()
		left <- struct{}{}
	})))))
	for name, c := range map[string]*http.Client{"h2": r.client(t), "h1": r.client1(t)} {
		ctx, cancel := context.WithCancel(context.Background())
		req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.localhost/", nil)
		go func() { <-entered; cancel() }()
		if _, err := c.Do(req); err == nil {
			t.Errorf("%s: answered", name)
		}
		<-left
		await(t, "the request to end", func() bool { return r.load("a-1") == 0 })
	}
	if m := r.Metrics(); m.Broken+m.Timeouts+m.Ejections != 0 {
		t.Errorf("a client that left was held against the replica: %+v", m)
	}
}
