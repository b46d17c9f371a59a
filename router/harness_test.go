package router

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"paas/cluster"
	"paas/identity"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		benchChild()
		return
	}
	// certmagic keeps one rate limiter per ACME account for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).permit"))
}

// store is the servers' side of Certificates, in memory, with an edge CA.
type store struct {
	ca *identity.Authority

	mu     sync.Mutex
	down   bool
	files  map[string][]byte
	locks  map[string]lockState
	signed int
}

type lockState struct {
	holder  string
	expires time.Time
}

var errDown = cluster.Errorf(cluster.KindUnavailable, "session", "no server can be reached")

func newStore(t testing.TB) *store {
	t.Helper()
	ca, err := identity.NewAuthority("edge", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &store{ca: ca, files: map[string][]byte{}, locks: map[string]lockState{}}
}

func (s *store) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *store) do(f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return errDown
	}
	return f()
}

func (s *store) LoadFile(_ context.Context, key string) (b []byte, _ time.Time, err error) {
	err = s.do(func() error {
		var ok bool
		if b, ok = s.files[key]; !ok {
			return fs.ErrNotExist
		}
		return nil
	})
	return b, time.Time{}, err
}

func (s *store) StoreFile(_ context.Context, key string, value []byte) error {
	return s.do(func() error { s.files[key] = slices.Clone(value); return nil })
}

func (s *store) DeleteFile(_ context.Context, key string) error {
	return s.do(func() error {
		for k := range s.files {
			if k == key || strings.HasPrefix(k, key+"/") {
				delete(s.files, k)
			}
		}
		return nil
	})
}

func (s *store) ListFiles(_ context.Context, prefix string) (keys []string, err error) {
	err = s.do(func() error {
		for k := range s.files {
			if strings.HasPrefix(k, prefix) {
				keys = append(keys, k)
			}
		}
		return nil
	})
	return keys, err
}

func (s *store) Lock(_ context.Context, name, holder string, ttl time.Duration) error {
	return s.do(func() error {
		l, ok := s.locks[name]
		if ok && l.holder != holder && time.Now().Before(l.expires) {
			if ttl == 0 {
				return nil
			}
			return cluster.Conflict("lock", "lock %s is held", name)
		}
		if ttl == 0 {
			delete(s.locks, name)
			return nil
		}
		s.locks[name] = lockState{holder, time.Now().Add(ttl)}
		return nil
	})
}

func (s *store) SignEdge(_ context.Context, csr []byte) (pem []byte, err error) {
	err = s.do(func() error {
		s.signed++
		pem, err = s.ca.SignHosts(csr, func(string) bool { return true }, time.Now())
		return err
	})
	return pem, err
}

func (s *store) signatures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signed
}

// running is a router under test.
type running struct {
	*Router
	store *store
	stop  func() error
}

// start runs a router on loopback until the test ends.
func start(t testing.TB, s *store, change func(*Config)) *running {
	t.Helper()
	c := Config{HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0", Node: "0123456789abcdef", Zone: "a", Dir: t.TempDir(), Certificates: s}
	if testing.Verbose() {
		c.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if change != nil {
		change(&c)
	}
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &running{r, s, stop}
}

// client trusts the edge CA and finds every host at the router.
func (r *running) client(t testing.TB) *http.Client {
	t.Helper()
	tr := &http.Transport{
		TLSClientConfig:   r.tls(""),
		DialContext:       r.dialer(),
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// client1 speaks HTTP/1.1 only.
func (r *running) client1(t testing.TB) *http.Client {
	t.Helper()
	c := r.client(t)
	tr := c.Transport.(*http.Transport)
	tr.ForceAttemptHTTP2 = false
	tr.TLSClientConfig.NextProtos = []string{"http/1.1"}
	return c
}

func (r *running) dialer() func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		to := r.HTTPSAddr()
		if strings.HasSuffix(addr, ":80") {
			to = r.HTTPAddr()
		}
		var d net.Dialer
		return d.DialContext(ctx, network, to.String())
	}
}

func (r *running) tls(serverName string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(r.store.ca.CertificatePEM()))
	return &tls.Config{RootCAs: pool, ServerName: serverName}
}

// raw opens an HTTP/1.1 connection for hand-made requests.
func (r *running) raw(t testing.TB, host string) *tls.Conn {
	t.Helper()
	cfg := r.tls(host)
	cfg.NextProtos = []string{"http/1.1"}
	c, err := tls.Dial("tcp", r.HTTPSAddr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// backend runs a replica.
func backend(t testing.TB, id cluster.AllocationID, h http.Handler) cluster.Upstream {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return cluster.Upstream{Allocation: id, Instance: "web.1", Node: "n1", Zone: "a", Address: s.Listener.Addr().String()}
}

// dead is a replica whose port nobody listens on. A port that was just closed
// would not do: the next listener may get it.
func dead(id cluster.AllocationID) cluster.Upstream {
	return cluster.Upstream{Allocation: id, Node: "n1", Zone: "a", Address: "127.0.0.1:1"}
}

func say(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, text) })
}

func routeTo(host string, ups ...cluster.Upstream) cluster.Route {
	return cluster.Route{Host: cluster.Hostname(host), App: "app", Upstreams: ups, Internal: true}
}

func tableOf(index uint64, routes ...cluster.Route) *cluster.RouteTable {
	return &cluster.RouteTable{Index: index, Routes: routes}
}

// get requests a URL and returns status and body.
func get(t testing.TB, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	return resp.StatusCode, readAll(t, resp)
}

func readAll(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	return string(b)
}

// await polls cond until it holds; the deadline is generous because machines are slow.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
		<-tick.C
	}
}

// countingBackend is a replica that counts its open connections.
func countingBackend(t testing.TB, id cluster.AllocationID, open *atomic.Int64) cluster.Upstream {
	t.Helper()
	s := httptest.NewUnstartedServer(say("x"))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return cluster.Upstream{Allocation: id, Node: "n1", Zone: "a", Address: s.Listener.Addr().String()}
}
