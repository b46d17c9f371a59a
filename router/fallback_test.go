package router

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"paas/cluster"
)

// below is a table of a cluster with a domain.
func below(domain cluster.Hostname, t *cluster.RouteTable) *cluster.RouteTable {
	t.Domain = domain
	return t
}

// shake shakes hands for a server name, without looking at what comes back.
func shake(r *running, name string) (*tls.Conn, error) {
	return tls.Dial("tcp", r.HTTPSAddr().String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
}

// answers waits until the fallback is there, which no handshake waits for.
func answers(t *testing.T, r *running) {
	t.Helper()
	await(t, "the fallback's certificate", func() bool {
		c, err := shake(r, "")
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// TestNobodysNamesGetThePage: a name of the cluster's domain that no app has, and an
// address, are answered with 404; strangers' names and misdirected requests are not.
func TestNobodysNamesGetThePage(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(below("apps.example.com", tableOf(1, routeTo("a.apps.example.com", backend(t, "a-1", say("x"))))))
	answers(t, r)
	get(t, r.client(t), "https://a.apps.example.com/")
	signed := r.store.signatures()
	for i := range 50 { // h2 and its verification; each is a new name
		host := fmt.Sprintf("nobody-%d.apps.example.com", i)
		if status, body := get(t, r.client(t), "https://"+host+"/"); status != 404 || !strings.Contains(body, "H-no-host") {
			t.Fatalf("%s: %d %q, want the page", host, status, body)
		}
	}
	for _, c := range []struct {
		name, host string
		status     int
	}{
		{"NoBody.apps.example.com", "nobody.apps.example.com", 404},
		{"apps.example.com", "apps.example.com", 404},
		{"x.y.apps.example.com", "x.y.apps.example.com", 404},
		{"", "127.0.0.1", 404},
		{"", "[::1]:8443", 404},
		{"", "a.apps.example.com", 421}, // an app is asked for by name, or not at all
		{"", "nobody.apps.example.com", 421},
		{"nobody.apps.example.com", "a.apps.example.com", 421},
		{"a.apps.example.com", "127.0.0.1", 421},
	} {
		conn, err := shake(r, c.name)
		if err != nil {
			t.Errorf("server name %q: %v", c.name, err)
			continue
		}
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", c.host)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != c.status {
			t.Errorf("server name %q, host %q: %v, %v, want %d", c.name, c.host, resp, err, c.status)
		}
		_ = conn.Close()
	}
	for _, name := range []string{"example.com", "other.example", "evilapps.example.com", "a.apps.example.com.evil.example"} {
		if _, err := shake(r, name); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("server name %q: %v, want unrecognized name", name, err)
		}
	}
	if now := r.store.signatures(); now != signed || signed != 2 {
		t.Errorf("%d certificates signed, then %d; want one for the host and one for all others", signed, now)
	}
}

// TestNewHostsDoNotGetTheFallback: a host's handshake waits for its own certificate.
func TestNewHostsDoNotGetTheFallback(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(below("apps.example.com", tableOf(1)))
	answers(t, r)
	r.SetTable(below("apps.example.com", tableOf(2, routeTo("a.apps.example.com", backend(t, "a-1", say("x"))))))
	c, err := tls.Dial("tcp", r.HTTPSAddr().String(), r.tls("a.apps.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if names := c.ConnectionState().PeerCertificates[0].DNSNames; len(names) != 1 || names[0] != "a.apps.example.com" {
		t.Errorf("the host's first certificate is for %v", names)
	}
}

// TestFallbackIsMadeOncePerDomain: a restart takes it from disk, another domain
// needs another, and without a domain there is none.
func TestFallbackIsMadeOncePerDomain(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t)
	in := func(c *Config) { c.Dir = dir }
	r := start(t, s, in)
	r.SetTable(below("one.example", tableOf(1)))
	answers(t, r)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	s.setDown(true)
	r = start(t, s, in)
	answers(t, r)
	s.setDown(false)
	r.SetTable(below("two.example", tableOf(2)))
	await(t, "the new domain's certificate", func() bool {
		c, err := shake(r, "x.two.example")
		if err != nil {
			return false
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].DNSNames[0] == "*.two.example"
	})
	if got := s.signatures(); got != 2 {
		t.Errorf("%d certificates signed, want 2", got)
	}
}
