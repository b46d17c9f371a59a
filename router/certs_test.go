package router

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/cluster"
)

func TestCertificateIsReadyBeforeTheFirstRequest(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", say("x")))))
	begin := time.Now()
	await(t, "the certificate", func() bool {
		r.certs.mu.Lock()
		defer r.certs.mu.Unlock()
		h := r.certs.hosts["a.localhost"]
		if h == nil {
			return false
		}
		select {
		case <-h.ready:
			return true
		default:
			return false
		}
	})
	t.Logf("certificate ready after %v", time.Since(begin))
	r.store.setDown(true)
	get(t, r.client(t), "https://a.localhost/")
}

func TestHandshakesWaitForOneCertificate(t *testing.T) {
	s := newStore(t)
	s.setDown(true)
	r := start(t, s, nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", say("x")))))
	var wg sync.WaitGroup
	for range 20 {
		c := r.client(t)
		wg.Go(func() {
			resp, err := c.Get("https://a.localhost/")
			if err != nil {
				t.Error(err)
				return
			}
			_ = readAll(t, resp)
		})
	}
	await(t, "a handshake to begin", func() bool { return r.Table().Index == 1 })
	s.setDown(false)
	wg.Wait()
	if got := s.signatures(); got != 1 {
		t.Errorf("%d certificates signed, want 1", got)
	}
}

func TestHandshakeWithoutCertificateEndsInTime(t *testing.T) {
	s := newStore(t)
	s.setDown(true)
	r := start(t, s, func(c *Config) { c.Limits.Handshake = 300 * time.Millisecond })
	r.SetTable(tableOf(1, routeTo("a.localhost")))
	if _, err := tls.Dial("tcp", r.HTTPSAddr().String(), r.tls("a.localhost")); err == nil {
		t.Error("handshake succeeded without a certificate")
	}
}

func TestHandshakesOutsideTheTableAreRefused(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", say("x")))))
	for _, name := range []string{"b.localhost", "localhost", "", "x.a.localhost"} {
		cfg := &tls.Config{ServerName: name, InsecureSkipVerify: true} // only the server's answer matters
		_, err := tls.Dial("tcp", r.HTTPSAddr().String(), cfg)
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("server name %q: %v, want unrecognized name", name, err)
		}
	}
	cfg := r.tls("a.localhost")
	cfg.MaxVersion = tls.VersionTLS11
	cfg.MinVersion = tls.VersionTLS10
	if _, err := tls.Dial("tcp", r.HTTPSAddr().String(), cfg); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	cfg.MinVersion, cfg.MaxVersion = 0, tls.VersionTLS12
	c, err := tls.Dial("tcp", r.HTTPSAddr().String(), cfg)
	if err != nil {
		t.Fatalf("TLS 1.2: %v", err)
	}
	_ = c.Close()
	if got := r.store.signatures(); got != 1 {
		t.Errorf("%d certificates signed, want 1: only for hosts of the table", got)
	}
}

func TestHostThatLeftIsRefusedAndForgotten(t *testing.T) {
	r := start(t, newStore(t), nil)
	up := backend(t, "a-1", say("x"))
	r.SetTable(tableOf(1, routeTo("a.localhost", up), routeTo("b.localhost", up)))
	c := r.client(t)
	get(t, c, "https://a.localhost/")
	get(t, c, "https://b.localhost/")
	r.SetTable(tableOf(2, routeTo("b.localhost", up)))
	if status, body := get(t, c, "https://a.localhost/"); status != 404 || !strings.Contains(body, "H-no-host") {
		t.Errorf("open connection: %d %q, want 404", status, body)
	}
	if _, err := tls.Dial("tcp", r.HTTPSAddr().String(), r.tls("a.localhost")); err == nil {
		t.Error("new handshake succeeded")
	}
	await(t, "its certificate to be dropped", func() bool {
		return len(r.certs.signers.Load().cache.AllMatchingCertificates("a.localhost")) == 0
	})
	r.SetTable(tableOf(3, routeTo("a.localhost", up)))
	get(t, r.client(t), "https://a.localhost/")
}

func TestKeysOnDiskAreTheRoutersAlone(t *testing.T) {
	dir := t.TempDir()
	r := start(t, newStore(t), func(c *Config) { c.Dir = dir })
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", say("x")))))
	get(t, r.client(t), "https://a.localhost/")
	keys := 0
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		info, _ := e.Info()
		want := os.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if path != dir && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		if strings.HasSuffix(path, ".key") {
			keys++
		}
		return err
	})
	if keys != 1 {
		t.Errorf("%d keys on disk, want 1", keys)
	}
}

func TestFailingIssuerDropsNoWorkingCertificate(t *testing.T) {
	r := start(t, newStore(t), nil)
	public := routeTo("shop.example.com", backend(t, "a-1", say("x")))
	public.Internal = false
	r.SetTable(tableOf(1, public))
	get(t, r.client(t), "https://shop.example.com/")
	l, err := net.Listen("tcp", "127.0.0.1:0") // an ACME server that never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r.SetACME(ACMEConfig{Directory: "https://" + l.Addr().String() + "/dir", Email: "ops@example.com"})
	c, err := l.Accept() // the order was tried
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	get(t, r.client(t), "https://shop.example.com/")
}

func newTestStorage(t testing.TB, s *store, node cluster.NodeID) *storage {
	t.Helper()
	d := &disk{dir: t.TempDir()}
	r := newRouter(Config{})
	return newStorage(newLocalStorage(d), s, node, r.log)
}

func TestStorageReadsFromDiskWhenNoServerAnswers(t *testing.T) {
	ctx := t.Context()
	s := newStore(t)
	st := newTestStorage(t, s, "n1")
	for k, v := range map[string]string{"certificates/ca/a.b/a.b.key": "key", "certificates/ca/a.b/a.b.crt": "crt", "acme/x": "x"} {
		if err := st.Store(ctx, k, []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		if v, err := st.Load(ctx, "certificates/ca/a.b/a.b.key"); err != nil || string(v) != "key" {
			t.Errorf("%s: Load = %q, %v", when, v, err)
		}
		deep, err := st.List(ctx, "certificates/ca", true)
		slices.Sort(deep)
		if diff := cmp.Diff([]string{"certificates/ca/a.b/a.b.crt", "certificates/ca/a.b/a.b.key"}, deep); diff != "" || err != nil {
			t.Errorf("%s: List = %v, %v", when, deep, err)
		}
		flat, err := st.List(ctx, "certificates/ca", false)
		if diff := cmp.Diff([]string{"certificates/ca/a.b"}, flat); diff != "" || err != nil {
			t.Errorf("%s: flat List = %v, %v", when, flat, err)
		}
		if !st.Exists(ctx, "certificates/ca/a.b") || !st.Exists(ctx, "acme/x") || st.Exists(ctx, "acm") {
			t.Errorf("%s: Exists is wrong", when)
		}
		if info, err := st.Stat(ctx, "acme/x"); err != nil || info.Size != 1 || !info.IsTerminal {
			t.Errorf("%s: Stat = %+v, %v", when, info, err)
		}
	}
	check("with servers")
	s.setDown(true)
	check("without servers")
	if _, err := st.Load(ctx, "absent"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent without servers: %v, want an error that is not 'absent'", err)
	}
	if err := st.Store(ctx, "new", nil); err == nil {
		t.Error("a write that reached no server succeeded")
	}
	s.setDown(false)
	if _, err := st.Load(ctx, "absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v, want fs.ErrNotExist", err)
	}
	if err := st.Delete(ctx, "certificates/ca"); err != nil || st.Exists(ctx, "certificates/ca/a.b/a.b.key") {
		t.Errorf("Delete = %v", err)
	}
}

func TestDiskIsNotLeft(t *testing.T) {
	base := t.TempDir()
	d := &disk{dir: filepath.Join(base, "in")}
	if err := d.init(); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(base, filepath.Join(d.dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../out", "a/../../out", "/out", "link/out"} {
		if err := d.write(name, []byte("x")); err == nil {
			t.Errorf("wrote %s", name)
		}
	}
	if _, err := os.Stat(filepath.Join(base, "out")); err == nil {
		t.Error("a file lies outside")
	}
}

func TestLeaseIsExclusiveRenewedAndOutlivesNobody(t *testing.T) {
	s := newStore(t)
	a, b := newTestStorage(t, s, "n1"), newTestStorage(t, s, "n2")
	synctest.Test(t, func(t *testing.T) {
		s.ca = nil // unused here
		var holders atomic.Int32
		var wg sync.WaitGroup
		for _, st := range []*storage{a, b, a} {
			wg.Go(func() {
				if err := st.Lock(t.Context(), "x"); err != nil {
					t.Error(err)
					return
				}
				if holders.Add(1) != 1 {
					t.Error("two holders at once")
				}
				time.Sleep(5 * leaseTTL) // it is renewed all the while
				holders.Add(-1)
				if err := st.Unlock(t.Context(), "x"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()

		// A router that dies holds nobody up for longer than the lease.
		if err := s.Lock(t.Context(), "x", "n3/dead", leaseTTL); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := a.Lock(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		between(t, "lock of a dead router taken", time.Since(begin), leaseTTL-time.Second, leaseTTL+time.Second)

		// Unlock works when the context has ended, and a waiter can give up.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Lock(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for a held lock: %v", err)
		}
		if err := a.Unlock(ctx, "x"); err != nil {
			t.Error(err)
		}
		if err := b.Lock(t.Context(), "x"); err != nil {
			t.Error(err)
		}
		_ = b.Unlock(t.Context(), "x")
		s.setDown(true)
		if err := a.Lock(t.Context(), "x"); !errors.Is(err, errDown) {
			t.Errorf("without servers: %v", err)
		}
	})
}

func TestLocalLocksExclude(t *testing.T) {
	s := newLocalStorage(&disk{dir: t.TempDir()})
	var holders atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_ = s.Lock(t.Context(), "x")
			if holders.Add(1) != 1 {
				t.Error("two holders at once")
			}
			holders.Add(-1)
			_ = s.Unlock(t.Context(), "x")
		})
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	_ = s.Lock(ctx, "x")
	cancel()
	if err := s.Lock(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting with an ended context: %v", err)
	}
}

// leafOf returns the certificate that a handshake for host gets.
func leafOf(t testing.TB, r *running, host string) *x509.Certificate {
	t.Helper()
	c, err := tls.Dial("tcp", r.HTTPSAddr().String(), &tls.Config{ServerName: host, InsecureSkipVerify: true}) // inspected by the caller
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

func TestTwoRoutersWithOneName(t *testing.T) {
	s := newStore(t)
	table := tableOf(1, routeTo("a.localhost", backend(t, "a-1", say("x"))))
	for range 2 {
		r := start(t, s, nil)
		r.SetTable(table)
		if leaf := leafOf(t, r, "a.localhost"); leaf.VerifyHostname("a.localhost") != nil {
			t.Errorf("certificate is for %v", leaf.DNSNames)
		}
	}
}

func TestRetriesAreQuickForServersAndSparingForACME(t *testing.T) {
	var minutes []float64
	orders := retry{kind: kindACME}
	for range 7 {
		wait, _ := orders.next(errors.New("the CA said no"))
		minutes = append(minutes, wait.Minutes())
	}
	if diff := cmp.Diff([]float64{1, 5, 10, 20, 40, 60, 60}, minutes); diff != "" {
		t.Errorf("pauses after failed orders (-want +got)\n%s", diff)
	}
	for _, r := range []retry{{kind: kindEdge}, {kind: kindACME}} {
		var total time.Duration
		for range 100 {
			wait, _ := r.next(errStorage)
			if total += wait; wait > 15*time.Second {
				t.Errorf("waits %v for a server", wait)
			}
		}
		if first, _ := (&retry{}).next(errStorage); first != 200*time.Millisecond {
			t.Errorf("first pause %v", first)
		}
	}
}
