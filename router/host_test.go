package router

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"paas/cluster"
)

func readRaw(t *testing.T, c net.Conn) (int, string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, readAll(t, resp)
}

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"a.b": "a.b|", "A.B": "a.b|", "a.b.": "a.b|", "a.b:1": "a.b|1", "a.b.:65535": "a.b|65535", "a_b.c": "a_b.c|",
		"[::1]": "[::1]|", "[::1]:8443": "[::1]|8443", "127.0.0.1": "127.0.0.1|",
		"": "", "a.b:": "", "a.b:0": "", "a.b:01": "", "a.b:65536": "", "a.b:+1": "", "a.b:x": "", "a..b": "", ".a": "", "a.b..": "", ".": "",
		"a b": "", "a/b": "", "a@b": "", "a,b": "", "a%2eb": "", "a\x00": "", "a:1:2": "", "é.b": "", "[::1": "", "[x]": "", "::1": "", "a\tb": "",
		strings.Repeat("a", 254): "",
	} {
		host, port, ok := parseHost(in)
		got := host + "|" + port
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("parseHost(%q) = %q, want %q", in, got, want)
		}
	}
}

// A target that is neither a path nor a URL with a host would reach the replica,
// or a Location, without the slash that ends the host name.
func TestTargetsWithoutAPathAreRefused(t *testing.T) {
	for target, want := range map[string]bool{"/": true, "/x:y": true, "https://a.b/x": true, "mailto:.c.d/": false, "http:x": false, "a.b:443": false} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: a.b\r\n\r\n")))
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		if host, _, ok := requestHost(r); ok != want {
			t.Errorf("%s: got %q, %v, want %v", target, host, ok, want)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"a.b:1", "A.b.", "[::1]:2", "a..b", "xn--e1afmkfd.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, ok := parseHost(s)
		if !ok {
			return
		}
		again := host
		if port != "" {
			again += ":" + port
		}
		if h2, p2, ok := parseHost(again); !ok || h2 != host || p2 != port {
			t.Errorf("%q → %q %q, which does not parse to itself", s, host, port)
		}
		if strings.ToLower(host) != host || strings.ContainsAny(host, "\r\n \"\\;,/@") {
			t.Errorf("%q → %q", s, host)
		}
		if !strings.HasPrefix(host, "[") && strings.HasSuffix(host, ".") {
			t.Errorf("%q → %q ends with a dot", s, host)
		}
	})
}

// TestNoAnswerCrossesApps plays host tricks against 150 apps: routers have been
// known to change their way of matching when there are many.
func TestNoAnswerCrossesApps(t *testing.T) {
	r := start(t, newStore(t), nil)
	var routes []cluster.Route
	for i := range 150 {
		host := fmt.Sprintf("app-%d.localhost", i)
		routes = append(routes, routeTo(host, backend(t, cluster.AllocationID(fmt.Sprintf("a-%d", i)), say(host))))
	}
	r.SetTable(tableOf(1, routes...))
	const host = "app-42.localhost"
	for _, tt := range []struct {
		request string
		status  int
	}{
		{"GET / HTTP/1.1\r\nHost: app-42.localhost\r\n\r\n", 200},
		{"GET / HTTP/1.1\r\nHost: APP-42.LocalHost\r\n\r\n", 200},
		{"GET / HTTP/1.1\r\nHost: app-42.localhost.\r\n\r\n", 200},
		{"GET / HTTP/1.1\r\nHost: app-42.localhost:443\r\n\r\n", 200},
		{"GET / HTTP/1.1\r\nHost: app-42.localhost.:8443\r\n\r\n", 200},
		{"GET https://app-42.localhost/ HTTP/1.1\r\nHost: app-43.localhost\r\n\r\n", 200},
		{"GET https://app-43.localhost/ HTTP/1.1\r\nHost: app-42.localhost\r\n\r\n", 421},
		{"GET / HTTP/1.1\r\nHost: app-43.localhost\r\n\r\n", 421},
		{"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n", 421},
		{"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 421},
		{"GET / HTTP/1.1\r\nHost: [::1]:443\r\n\r\n", 421},
		{"GET / HTTP/1.1\r\nHost: app-42.localhost..\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: app-42.localhost:\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: app-42.localhost:443:443\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: app-42.localhost,app-43.localhost\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: app-43.localhost@app-42.localhost\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: app-42.localhost/app-43.localhost\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: app-42%2elocalhost\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
		{"GET https://user@app-42.localhost/ HTTP/1.1\r\nHost: app-42.localhost\r\n\r\n", 400},
		{"GET /%2f%2e%2e/ HTTP/1.1\r\nHost: app-42.localhost\r\nX-Forwarded-Host: app-43.localhost\r\n\r\n", 200},
		{"CONNECT app-42.localhost:443 HTTP/1.1\r\nHost: app-42.localhost:443\r\n\r\n", 405},
		{"TRACE / HTTP/1.1\r\nHost: app-42.localhost\r\n\r\n", 405},
	} {
		c := r.raw(t, host)
		_, _ = io.WriteString(c, tt.request)
		status, body := readRaw(t, c)
		_ = c.Close()
		if status != tt.status || status == 200 && body != host || strings.Contains(body, "app-43") {
			t.Errorf("%q = %d %q, want %d", tt.request, status, body, tt.status)
		}
	}
	for i := range 150 {
		url := fmt.Sprintf("https://App-%d.LOCALHOST./", i)
		c := r.client1(t)
		c.Transport.(*http.Transport).TLSClientConfig.ServerName = fmt.Sprintf("app-%d.localhost", i)
		if status, body := get(t, c, url); status != 200 || body != fmt.Sprintf("app-%d.localhost", i) {
			t.Errorf("%s = %d %q", url, status, body)
		}
		c.CloseIdleConnections()
	}
}

func TestHTTP2HostMustAgreeWithAuthorityAndName(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", say("a"))), routeTo("b.localhost", backend(t, "a-2", say("b")))))
	c := r.client(t)
	for host, want := range map[string]int{"a.localhost": 200, "b.localhost": 421, "a.localhost:99999": 400} {
		req, _ := http.NewRequest("GET", "https://a.localhost/", nil)
		req.Host = host
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = readAll(t, resp)
		if resp.StatusCode != want || resp.ProtoMajor != 2 {
			t.Errorf("Host %s = %d over %s, want %d", host, resp.StatusCode, resp.Proto, want)
		}
	}
}
