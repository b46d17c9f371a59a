//go:build acme

package router

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"paas/cluster"
)

// pebble is an ACME server on loopback that validates for real: it asks the
// test's own DNS server, which says 127.0.0.1 to everything.
type pebble struct {
	acme  ACMEConfig
	roots *x509.CertPool // what signed the certificates it issues
	log   *lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// orders counts what was ordered; a request whose nonce is refused is no order.
func (p *pebble) orders() int { return strings.Count(p.log.String(), "Added order ") }

// pebbleBinary builds the server once, into Go's own cache.
var pebbleBinary = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-n", "pebble")
	cmd.Dir = filepath.Join("testdata", "pebble")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build pebble: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

// startPebble runs an ACME server that validates at the given ports.
func startPebble(t *testing.T, httpPort, tlsPort int) *pebble {
	t.Helper()
	bin, err := pebbleBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ca := selfSigned(t, dir)
	addr, admin := freeAddr(t), freeAddr(t)
	config := map[string]any{"pebble": map[string]any{
		"listenAddress": addr, "managementListenAddress": admin, "httpPort": httpPort, "tlsPort": tlsPort,
		"certificate": filepath.Join(dir, "cert.pem"), "privateKey": filepath.Join(dir, "key.pem"),
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   map[string]any{"default": map[string]any{"description": "default", "validityPeriod": 7776000}},
	}}
	b, _ := json.Marshal(config)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &pebble{acme: ACMEConfig{Directory: "https://" + addr + "/dir", Email: "ops@example.com", CA: ca}, log: &lockedBuffer{}}
	cmd := exec.Command(bin, "-config", filepath.Join(dir, "config.json"), "-dnsserver", startDNS(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20")
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(p.log)
		}
	})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca))
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(tr.CloseIdleConnections)
	c := &http.Client{Transport: tr}
	await(t, "pebble", func() bool {
		resp, err := c.Get("https://" + admin + "/roots/0")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		root, _ := io.ReadAll(resp.Body)
		p.roots = x509.NewCertPool()
		return p.roots.AppendCertsFromPEM(root)
	})
	return p
}

// selfSigned writes cert.pem and key.pem for 127.0.0.1 and returns the certificate.
func selfSigned(t *testing.T, dir string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), cert, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		t.Fatal(err)
	}
	return string(cert)
}

// startDNS answers 127.0.0.1 to every A question and nothing to others. Pebble
// asks over TCP.
func startDNS(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)})
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan error, 1)
	go func() { done <- s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown(); <-done })
	return l.Addr().String()
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func portOf(a net.Addr) int { return a.(*net.TCPAddr).Port }

func publicRoute(host string, ups ...cluster.Upstream) cluster.Route {
	rt := routeTo(host, ups...)
	rt.Internal = false
	return rt
}

// issued waits until host is served with a certificate from the ACME server.
func (p *pebble) issued(t *testing.T, r *running, host string) *x509.Certificate {
	t.Helper()
	var leaf *x509.Certificate
	deadline := time.Now().Add(90 * time.Second)
	for leaf == nil {
		c, err := tls.Dial("tcp", r.HTTPSAddr().String(), &tls.Config{ServerName: host, RootCAs: p.roots})
		if err == nil {
			leaf = c.ConnectionState().PeerCertificates[0]
			_ = c.Close()
		} else if time.Now().After(deadline) {
			t.Fatalf("no certificate from ACME: %v", err)
		} else {
			<-time.After(50 * time.Millisecond)
		}
	}
	return leaf
}

func TestACMEChallenges(t *testing.T) {
	for _, kind := range []string{"http-01", "tls-alpn-01"} {
		t.Run(kind, func(t *testing.T) {
			r := start(t, newStore(t), nil)
			closed := 1 // nothing listens on it: that challenge fails
			httpPort, tlsPort := portOf(r.HTTPAddr()), closed
			if kind == "tls-alpn-01" {
				httpPort, tlsPort = closed, portOf(r.HTTPSAddr())
			}
			p := startPebble(t, httpPort, tlsPort)
			r.SetACME(p.acme)
			begin := time.Now()
			r.SetTable(tableOf(1, publicRoute("shop.example.com", backend(t, "a-1", say("x"))), routeTo("a.localhost")))
			leaf := p.issued(t, r, "shop.example.com")
			t.Logf("%s after %v", kind, time.Since(begin))
			if leaf.VerifyHostname("shop.example.com") != nil {
				t.Errorf("certificate is for %v", leaf.DNSNames)
			}
			if got := leafOf(t, r, "a.localhost").Issuer.CommonName; strings.Contains(got, "Pebble") {
				t.Errorf("private host has a certificate of %s", got)
			}
			if _, err := tls.Dial("tcp", r.HTTPSAddr().String(), &tls.Config{ServerName: "other.example.com", InsecureSkipVerify: true}); err == nil {
				t.Error("a host outside the table was answered")
			}
			if got := strings.Count(p.log.String(), "other.example.com"); got != 0 {
				t.Error("a host outside the table was ordered")
			}
		})
	}
}

// TestAnyRouterAnswersAndOneOrders: two routers share a storage. The ACME server
// validates at one of them, whichever ordered.
func TestAnyRouterAnswersAndOneOrders(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	a := start(t, s, func(c *Config) { c.Dir = dir })
	b := start(t, s, func(c *Config) { c.Node = "fedcba9876543210" })
	p := startPebble(t, portOf(b.HTTPAddr()), portOf(b.HTTPSAddr()))
	up := backend(t, "a-1", say("x"))
	table := tableOf(1, publicRoute("shop.example.com", up), publicRoute("blog.example.com", up))
	for _, r := range []*running{a, b} {
		r.SetACME(p.acme)
		r.SetTable(table)
	}
	for _, host := range []string{"shop.example.com", "blog.example.com"} {
		one, two := p.issued(t, a, host), p.issued(t, b, host)
		if one.SerialNumber.Cmp(two.SerialNumber) != 0 {
			t.Errorf("%s: the routers have different certificates", host)
		}
	}
	if got := p.orders(); got != 2 {
		t.Errorf("%d orders for two hosts, want 2", got)
	}

	// All servers and the ACME server are gone; the router restarts.
	before := p.issued(t, a, "shop.example.com")
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	s.setDown(true)
	again := start(t, s, func(c *Config) { c.Dir = dir }) // nobody tells it the ACME settings
	if after := p.issued(t, again, "shop.example.com"); after.SerialNumber.Cmp(before.SerialNumber) != 0 {
		t.Error("restart without servers served another certificate")
	}
}

func TestACMEReplacesTheEdgeCertificateWithoutAGap(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, publicRoute("shop.example.com", backend(t, "a-1", say("x")))))
	if got := leafOf(t, r, "shop.example.com"); got.VerifyHostname("shop.example.com") != nil {
		t.Fatal("no edge certificate")
	}
	p := startPebble(t, portOf(r.HTTPAddr()), portOf(r.HTTPSAddr()))
	r.SetACME(p.acme)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				leafOf(t, r, "shop.example.com") // fails the test if a handshake fails
			}
		}
	})
	p.issued(t, r, "shop.example.com")
	close(stop)
	wg.Wait()
}
