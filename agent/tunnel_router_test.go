package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
	"paas/router"
)

// edgeOnly signs certificates and stores none.
type edgeOnly struct{ ca *identity.Authority }

func (edgeOnly) LoadFile(context.Context, string) ([]byte, time.Time, error) {
	return nil, time.Time{}, fs.ErrNotExist
}
func (edgeOnly) StoreFile(context.Context, string, []byte) error           { return nil }
func (edgeOnly) DeleteFile(context.Context, string) error                  { return nil }
func (edgeOnly) ListFiles(context.Context, string) ([]string, error)       { return nil, nil }
func (edgeOnly) Lock(context.Context, string, string, time.Duration) error { return nil }
func (e edgeOnly) SignEdge(_ context.Context, csr []byte) ([]byte, error) {
	return e.ca.SignHosts(csr, func(string) bool { return true }, time.Now())
}

// routerTo runs a router whose only replica, h, is on another host. It returns a
// client's TLS settings and the router's address.
func routerTo(t *testing.T, h http.Handler) (*twoEnds, *tls.Config, string, *router.Router) {
	t.Helper()
	e := newTwoEnds(t, identity.RoleAgent, 100)
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	ca, err := identity.NewAuthority("edge", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r, err := router.New(router.Config{HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0", Node: nearNode, Zone: "a", Dir: t.TempDir(), Certificates: edgeOnly{ca},
		Dial: e.upstream, Probe: e.probe})
	if err != nil {
		t.Fatal(err)
	}
	up := e.replica("a-1", s.Listener.Addr().String())
	r.SetTable(&cluster.RouteTable{Index: 1, Routes: []cluster.Route{{Host: "a.localhost", App: "app", Internal: true, Upstreams: []cluster.Upstream{up}}}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca.CertificatePEM()))
	return e, &tls.Config{RootCAs: pool, ServerName: "a.localhost"}, r.HTTPSAddr().String(), r
}

// everything is an app with all kinds of answers.
func everything(release <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, " ", r.Header.Get("X-Forwarded-For"), " ", r.Header.Get("X-Forwarded-Proto"))
	})
	mux.HandleFunc("/download", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 32<<20)) })
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: one\n\n")
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = io.WriteString(w, "data: two\n\n")
	})
	mux.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) {
		c, rw, _ := http.NewResponseController(w).Hijack()
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, rw)
		_, _ = io.WriteString(c, "bye")
	})
	return mux
}

func TestTunnelCarriesWhatRoutersDo(t *testing.T) {
	release := make(chan struct{})
	_, cfg, address, r := routerTo(t, everything(release))
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		tr := &http.Transport{TLSClientConfig: cfg.Clone(), DialContext: dial, ForceAttemptHTTP2: proto == "HTTP/2.0"}
		c := &http.Client{Transport: tr}
		t.Run(proto+" upload and download", func(t *testing.T) {
			resp, err := c.Post("https://a.localhost/upload", "application/octet-stream", bytes.NewReader(make([]byte, 32<<20)))
			if err != nil {
				t.Fatal(err)
			}
			said, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.Proto != proto || string(said) != fmt.Sprint(32<<20, " 127.0.0.1 https") {
				t.Errorf("%s: %q", resp.Proto, said)
			}
			if resp, err = c.Get("https://a.localhost/download"); err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if n != 32<<20 || err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
		})
		tr.CloseIdleConnections()
	}
	t.Run("WebSocket with half-close", func(t *testing.T) {
		one := cfg.Clone()
		one.NextProtos = []string{"http/1.1"}
		c, err := tls.Dial("tcp", address, one)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /socket HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		br := bufio.NewReader(c)
		if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		_, _ = io.WriteString(c, "hello ")
		_ = c.CloseWrite()
		if all, err := io.ReadAll(br); string(all) != "hello bye" || err != nil {
			t.Errorf("%q %v", all, err)
		}
	})
	t.Run("events as they come, and a drain that waits", func(t *testing.T) {
		tr := &http.Transport{TLSClientConfig: cfg.Clone(), DialContext: dial}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).Get("https://a.localhost/events")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		br := bufio.NewReader(resp.Body)
		if line, err := br.ReadString('\n'); !strings.Contains(line, "one") || err != nil {
			t.Fatal(line, err)
		}
		r.SetTable(&cluster.RouteTable{Index: 2, Routes: []cluster.Route{{Host: "a.localhost", App: "app", Internal: true}}})
		if s := r.Status(); s.Index != 2 || s.InFlight["a-1"] != 1 {
			t.Errorf("in flight: %+v", s)
		}
		close(release)
		if rest, err := io.ReadAll(br); !strings.Contains(string(rest), "two") || err != nil {
			t.Errorf("%q %v", rest, err)
		}
		soon(t, "nothing is in flight", func() bool { return len(r.Status().InFlight) == 0 })
	})
}
