package cli

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"paas/identity"
)

// paasIn runs the program in this process.
func paasIn(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(append([]string{"paas"}, args...), strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), code
}

// pinnedFake serves the fake as a server of its own cluster does.
func pinnedFake(t *testing.T) (at string, authority *identity.Authority) {
	t.Helper()
	a, err := identity.NewAuthority("paas cluster test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n, err := a.NewNode("0123456789abcdef", identity.RoleServer, []net.IP{net.IPv4(127, 0, 0, 1)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h, err := fakeHandler()
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = n.ServerConfig("h2", "http/1.1")
	leaf, _ := pem.Decode([]byte(a.CertificatePEM()))
	if len(srv.TLS.Certificates[0].Certificate) == 1 { // the chain that login looks at holds the authority
		chain := srv.TLS.Certificates[0]
		chain.Certificate = append([][]byte{chain.Certificate[0]}, leaf.Bytes)
		srv.TLS.Certificates = []tls.Certificate{chain}
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL, a
}

func TestLoginKnowsTheServerByItsAuthority(t *testing.T) {
	at, authority := pinnedFake(t)
	t.Setenv("PAAS_HOME", t.TempDir())
	other, err := identity.NewAuthority("somebody else", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, errs, code := paasIn(t, "login", at, "--token", onceToken); code != exitLogin || !strings.Contains(errs, "--ca-fingerprint") {
		t.Fatalf("without a fingerprint: %d\n%s", code, errs)
	}
	if _, errs, code := paasIn(t, "login", at, "--token", onceToken, "--ca-fingerprint", other.Fingerprint()); code != exitLogin || !strings.Contains(errs, "not the one that you mean") {
		t.Fatalf("with another's fingerprint: %d\n%s", code, errs)
	}
	if out, errs, code := paasIn(t, "apps"); code != exitLogin {
		t.Fatalf("a refused login left a context: %d\n%s%s", code, out, errs)
	}
	out, errs, code := paasIn(t, "login", at, "--ca-fingerprint", strings.ToUpper(authority.Fingerprint()), "--token", onceToken, "--name", "prod")
	if code != 0 || !strings.Contains(out, "on context prod") {
		t.Fatalf("login: %d\n%s%s", code, out, errs)
	}
	if out, errs, code := paasIn(t, "apps"); code != 0 || !strings.Contains(out, "blog\thealthy") {
		t.Fatalf("apps after login: %d\n%s%s", code, out, errs)
	}
}

// TestPinRefusesAnotherServer is a server of another cluster at the same address.
func TestPinRefusesAnotherServer(t *testing.T) {
	first, authority := pinnedFake(t)
	second, _ := pinnedFake(t)
	t.Setenv("PAAS_HOME", t.TempDir())
	if _, errs, code := paasIn(t, "login", first, "--ca-fingerprint", authority.Fingerprint(), "--token", onceToken); code != 0 {
		t.Fatalf("login: %d\n%s", code, errs)
	}
	t.Setenv("PAAS_SERVER", second)
	t.Setenv("PAAS_TOKEN", fakeToken)
	dir := t.TempDir()
	writeFile(t, dir, "ca.pem", authority.CertificatePEM())
	t.Setenv("PAAS_CA_FILE", dir+"/ca.pem")
	if _, errs, code := paasIn(t, "apps"); code != exitFailed || !strings.Contains(errs, "not the one that you logged in to") {
		t.Fatalf("another cluster's server: %d\n%s", code, errs)
	}
}
