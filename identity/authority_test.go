package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

// request makes a key and a certificate request for hosts.
func request(t testing.TB, hosts ...string) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	return requestOf(t, &x509.CertificateRequest{DNSNames: hosts})
}

func requestOf(t testing.TB, template *x509.CertificateRequest) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

func TestAuthorityRoundTrips(t *testing.T) {
	a := newAuthority(t)
	b, err := LoadAuthority(a.CertificatePEM(), a.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	if b.Fingerprint() != a.Fingerprint() || !regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(a.Fingerprint()) {
		t.Errorf("fingerprints %s and %s", a.Fingerprint(), b.Fingerprint())
	}
	if years := time.Until(a.cert.NotAfter).Hours() / 24 / 365; years < 9.9 || years > 10.1 {
		t.Errorf("the authority lives %.1f years, want 10", years)
	}
	other := newAuthority(t)
	n := newNode(t, a, agentID, RoleAgent)
	for name, c := range map[string]struct {
		cert string
		key  cluster.Redacted
	}{
		"foreign key": {a.CertificatePEM(), other.KeyPEM()}, "no certificate": {"", a.KeyPEM()}, "no key": {a.CertificatePEM(), ""},
		"no authority": {string(encodeCertificate(n.cert.Raw)), cluster.Redacted(encodeKey(n.key))},
	} {
		if _, err := LoadAuthority(c.cert, c.key); err == nil {
			t.Errorf("%s: loaded", name)
		} else if c.key != "" && strings.Contains(err.Error(), c.key.Reveal()) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
}

func TestCertificateNeverOutlivesItsAuthority(t *testing.T) {
	now := time.Now()
	a, err := NewAuthority("old", now.Add(-authorityLife+24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	n, err := a.NewNode(agentID, RoleAgent, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	if n.NotAfter().After(a.cert.NotAfter) {
		t.Errorf("the node lives until %s, its authority until %s", n.NotAfter(), a.cert.NotAfter)
	}
}

func TestSignHosts(t *testing.T) {
	a := newAuthority(t)
	now := time.Now()
	_, csr := request(t, "shop.localhost", "www.shop.localhost")
	chain, err := a.SignHosts(csr, func(h string) bool { return strings.HasSuffix(h, ".localhost") }, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := parseCertificate(chain)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(a.CertificatePEM()))
	if _, err := cert.Verify(x509.VerifyOptions{DNSName: "www.shop.localhost", Roots: pool}); err != nil {
		t.Error(err)
	}
	if strings.Count(string(chain), "BEGIN CERTIFICATE") != 2 {
		t.Error("the chain has no authority")
	}
	if life := cert.NotAfter.Sub(now).Round(time.Hour); life != 90*24*time.Hour {
		t.Errorf("it lives %s, want 90 days", life)
	}
	if cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign != 0 || !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
		t.Error("a host certificate may do more than serve")
	}
}

func TestSignHostsRefusals(t *testing.T) {
	a := newAuthority(t)
	node, err := url.Parse("paas://server/aaaaaaaaaaaaaaaa")
	if err != nil {
		t.Fatal(err)
	}
	_, fine := request(t, "a.localhost")
	broken := slices.Clone(fine)
	broken[len(broken)-1] ^= 1
	der := func(template x509.CertificateRequest) []byte { _, csr := requestOf(t, &template); return csr }
	for name, c := range map[string]struct {
		csr  []byte
		kind cluster.Kind
	}{
		"not served":    {der(x509.CertificateRequest{DNSNames: []string{"a.localhost", "bank.example.com"}}), cluster.KindForbidden},
		"common name":   {der(x509.CertificateRequest{Subject: pkix.Name{CommonName: "bank.example.com"}}), cluster.KindForbidden},
		"address":       {der(x509.CertificateRequest{DNSNames: []string{"a.localhost"}, IPAddresses: []net.IP{net.IPv4(1, 2, 3, 4)}}), cluster.KindInvalid},
		"node URI":      {der(x509.CertificateRequest{DNSNames: []string{"a.localhost"}, URIs: []*url.URL{node}}), cluster.KindInvalid},
		"nothing":       {der(x509.CertificateRequest{}), cluster.KindInvalid},
		"too many":      {der(x509.CertificateRequest{DNSNames: slices.Repeat([]string{"a.localhost"}, 101)}), cluster.KindInvalid},
		"garbage":       {[]byte("garbage"), cluster.KindInvalid},
		"bad signature": {broken, cluster.KindInvalid},
	} {
		_, err := a.SignHosts(c.csr, func(h string) bool { return h == "a.localhost" }, time.Now())
		if cluster.KindOf(err) != c.kind {
			t.Errorf("%s: got %v, want %s", name, err, c.kind)
		}
	}
}

func FuzzSignHosts(f *testing.F) {
	a := newAuthority(f)
	_, csr := request(f, "a.localhost")
	f.Add(csr)
	f.Fuzz(func(t *testing.T, der []byte) {
		chain, err := a.SignHosts(der, func(h string) bool { return h == "a.localhost" }, time.Now())
		if err != nil {
			return
		}
		cert, err := parseCertificate(chain)
		if err != nil {
			t.Fatal(err)
		}
		if cert.IsCA || len(cert.URIs)+len(cert.IPAddresses) > 0 || slices.ContainsFunc(cert.DNSNames, func(h string) bool { return h != "a.localhost" }) {
			t.Fatalf("signed more than was allowed: %v", cert.DNSNames)
		}
	})
}
