package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

var testFingerprint = "sha256:" + strings.Repeat("ab", 32)

func testJoin() JoinString {
	id, secret, _ := NewJoinSecret()
	return JoinString{Addresses: []string{"10.0.0.1:7443", "[fd00::1]:7443", "paas.example.com:443"}, Fingerprint: testFingerprint, ID: id, Secret: secret}
}

func TestJoinStringIsReadBackWhole(t *testing.T) {
	want := testJoin()
	got, err := ParseJoinString("  " + want.Reveal() + "\n")
	if err != nil || !slices.Equal(got.Addresses, want.Addresses) || got.Fingerprint != want.Fingerprint || got.ID != want.ID || got.Secret != want.Secret {
		t.Fatalf("read back %+v, %v", got, err)
	}
}

func TestWhatIsNoJoinStringIsRefusedWithoutItsText(t *testing.T) {
	good := testJoin()
	text := good.Reveal()
	token := "token=" + string(good.ID) + "_" + good.Secret.Reveal()
	for name, bad := range map[string]string{
		"nothing":          "",
		"API token":        "paas_0123456789ab_" + good.Secret.Reveal(),
		"https":            strings.Replace(text, "paas://", "https://", 1),
		"no port":          "paas://10.0.0.1?ca=" + testFingerprint + "&" + token,
		"port 0":           "paas://10.0.0.1:0?ca=" + testFingerprint + "&" + token,
		"large port":       "paas://10.0.0.1:70000?ca=" + testFingerprint + "&" + token,
		"sign":             "paas://10.0.0.1:+80?ca=" + testFingerprint + "&" + token,
		"user":             "paas://me@10.0.0.1:7443?ca=" + testFingerprint + "&" + token,
		"path":             "paas://10.0.0.1:7443/?ca=" + testFingerprint + "&" + token,
		"zone":             "paas://[fe80::1%25eth0]:7443?ca=" + testFingerprint + "&" + token,
		"empty address":    "paas://10.0.0.1:7443,?ca=" + testFingerprint + "&" + token,
		"cut by a shell":   strings.Split(text, "&")[0],
		"no fingerprint":   "paas://10.0.0.1:7443?" + token,
		"short":            "paas://10.0.0.1:7443?ca=sha256:abcd&" + token,
		"twice":            text + "&" + token,
		"something else":   text + "&x=y",
		"cut at the end":   text[:len(text)-1],
		"longer":           text + "a",
		"many addresses":   "paas://" + strings.Repeat("10.0.0.1:7443,", maxJoinAddresses) + "10.0.0.1:7443?ca=" + testFingerprint + "&" + token,
		"line in the text": strings.Replace(text, "?", "\n?", 1),
	} {
		_, err := ParseJoinString(bad)
		if cluster.KindOf(err) != cluster.KindInvalid {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
		if err != nil && strings.Contains(fmt.Sprintf("%+v", err), good.Secret.Reveal()) {
			t.Errorf("%s: the error holds the secret: %v", name, err)
		}
	}
}

func TestJoinStringShowsNoSecret(t *testing.T) {
	j := testJoin()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if shown := fmt.Sprintf(verb, j); strings.Contains(shown, j.Secret.Reveal()) || !strings.Contains(shown, "10.0.0.1:7443") {
			t.Errorf("%s shows %s", verb, shown)
		}
	}
	if shown := j.LogValue().String(); strings.Contains(shown, j.Secret.Reveal()) {
		t.Errorf("log shows %s", shown)
	}
}

func FuzzParseJoinString(f *testing.F) {
	f.Add(testJoin().Reveal())
	f.Add("paas://a:1?ca=" + testFingerprint + "&token=0123456789ab_" + strings.Repeat("A", 43))
	f.Add("paas://?&=,:")
	f.Fuzz(func(t *testing.T, text string) {
		j, err := ParseJoinString(text)
		if err != nil {
			if cluster.KindOf(err) != cluster.KindInvalid {
				t.Fatalf("%q: %v is not of kind invalid", text, err)
			}
			return
		}
		again, err := ParseJoinString(j.Reveal())
		if err != nil || again.Reveal() != j.Reveal() {
			t.Fatalf("%q: read back as %q, %v", text, again.Reveal(), err)
		}
		for _, a := range j.Addresses {
			if _, _, err := net.SplitHostPort(a); err != nil {
				t.Fatalf("%q: address %q cannot be dialed: %v", text, a, err)
			}
		}
	})
}

func TestJoinSecretMatchesItsRecordOnly(t *testing.T) {
	id, secret, hash := NewJoinSecret()
	_, other, _ := NewJoinSecret()
	j := &cluster.Join{ID: id, Hash: hash}
	if !JoinMatches(j, secret) || JoinMatches(j, other) || JoinMatches(j, "") || JoinMatches(nil, secret) {
		t.Error("secrets and records are mixed up")
	}
	if err := j.Validate(); err != nil {
		t.Error(err)
	}
}

// A host that joins accepts a server of the cluster that the string is for and
// nobody else, whatever they show.
func TestJoiningHostKnowsTheClusterByItsFingerprint(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	server := newNode(t, ours, serverID, RoleServer)
	pinned := JoinString{Fingerprint: ours.Fingerprint()}.ClientConfig()
	if _, _, err := handshake(t, server.ServerConfig(), pinned); err != nil {
		t.Fatalf("our server is refused: %v", err)
	}
	// A foreign server that shows our authority along: it has no certificate of it.
	liar := newNode(t, foreign, serverID, RoleServer)
	liar.ca = server.ca
	expired, err := ours.NewNode(serverID, RoleServer, nil, time.Now().Add(-NodeLife-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		node *Node
		kind cluster.Kind
	}{
		"foreign":                  {newNode(t, foreign, serverID, RoleServer), cluster.KindUnauthenticated},
		"foreign shows our CA":     {liar, cluster.KindUnauthenticated},
		"agent of ours":            {newNode(t, ours, agentID, RoleAgent), cluster.KindUnauthenticated},
		"expired":                  {expired, cluster.KindUnavailable},
		"the authority as a leaf":  {&Node{ca: server.ca, cert: server.ca, key: ours.key}, cluster.KindUnauthenticated},
		"private hosts' authority": {newNode(t, newAuthority(t), serverID, RoleServer), cluster.KindUnauthenticated},
	} {
		for range 100 {
			_, _, err := handshake(t, x.node.ServerConfig(), pinned)
			if cluster.KindOf(err) != x.kind {
				t.Fatalf("%s: got %v, want kind %s", name, err, x.kind)
			}
		}
	}
}

func TestHostIsSignedForWhatTheAuthoritySays(t *testing.T) {
	a := newAuthority(t)
	path := filepath.Join(t.TempDir(), "new", "join.pem")
	key, err := LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateKey(path)
	if err != nil || !again.key.Equal(key.key) {
		t.Fatalf("the key was not found again: %v", err)
	}
	csr, err := key.Request()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.SignNode(csr, agentID, RoleAgent, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n, err := again.Node(chain)
	if err != nil {
		t.Fatal(err)
	}
	if n.ID != agentID || n.Role != RoleAgent || n.AuthorityFingerprint() != a.Fingerprint() {
		t.Errorf("signed %s of %s", n, n.AuthorityFingerprint())
	}
	if hash, err := RequestKey(csr); err != nil || len(hash) != 32 {
		t.Errorf("key of the request: %x, %v", hash, err)
	}
	server := newNode(t, a, serverID, RoleServer)
	if _, _, err := handshake(t, server.ServerConfig("x"), n.ClientConfig("x")); err != nil {
		t.Errorf("the signed node cannot talk to a server: %v", err)
	}
	if other, err := NewKey(); err != nil {
		t.Fatal(err)
	} else if _, err := other.Node(chain); err == nil {
		t.Error("the certificate was taken for another key")
	}
}

// What a request says of itself must not get into a certificate.
func TestRequestForSomebodyElseGetsOwnIdentity(t *testing.T) {
	a := newAuthority(t)
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: string(serverID)},
		DNSNames: []string{serverName}, IPAddresses: []net.IP{net.IPv4(1, 2, 3, 4)}}, key.key)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.SignNode(csr, agentID, RoleAgent, []net.IP{net.IPv4(1, 2, 3, 4)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n, err := key.Node(chain)
	if err != nil {
		t.Fatal(err)
	}
	if n.ID != agentID || len(n.cert.DNSNames)+len(n.cert.IPAddresses) > 0 || n.cert.IsCA || slices.Contains(n.cert.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		t.Errorf("the certificate says more than the authority did: %v %v %v", n, n.cert.DNSNames, n.cert.IPAddresses)
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	a := newAuthority(t)
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, large)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	forged, err := key.Request()
	if err != nil {
		t.Fatal(err)
	}
	forged[len(forged)-1] ^= 1
	for name, csr := range map[string][]byte{"nothing": nil, "text": []byte("x"), "another curve": p384, "forged": forged} {
		if _, err := a.SignNode(csr, agentID, RoleAgent, nil, time.Now()); cluster.KindOf(err) != cluster.KindInvalid {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
		if _, err := RequestKey(csr); cluster.KindOf(err) != cluster.KindInvalid {
			t.Errorf("%s: its key was read: %v", name, err)
		}
	}
	good, err := key.Request()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.SignNode(good, agentID, RoleNone, nil, time.Now()); cluster.KindOf(err) != cluster.KindInvalid {
		t.Errorf("a node of no role: %v", err)
	}
	if _, err := a.SignNode(good, "x", RoleAgent, nil, time.Now()); cluster.KindOf(err) != cluster.KindInvalid {
		t.Errorf("a node of no ID: %v", err)
	}
}

func TestRenewedNodeIsTheSameNode(t *testing.T) {
	a := newAuthority(t)
	n := newNode(t, a, agentID, RoleAgent)
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := key.Request()
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		authority *Authority
		id        cluster.NodeID
		role      Role
		ok        bool
	}{
		"itself":     {a, agentID, RoleAgent, true},
		"other node": {a, serverID, RoleAgent, false},
		"other role": {a, agentID, RoleServer, false},
		"foreign":    {newAuthority(t), agentID, RoleAgent, false},
	} {
		chain, err := x.authority.SignNode(csr, x.id, x.role, nil, time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := n.Renewed(key, chain)
		if (err == nil) != x.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && !fresh.NotAfter().After(n.NotAfter()) {
			t.Errorf("%s: not renewed", name)
		}
	}
}

func TestKeyShowsNothing(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if shown := fmt.Sprintf(verb, key); shown != "node key" {
			t.Errorf("%s shows %s", verb, shown)
		}
	}
}

func TestFingerprintOfAuthority(t *testing.T) {
	a := newAuthority(t)
	if got, err := Fingerprint(a.CertificatePEM()); err != nil || got != a.Fingerprint() {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := Fingerprint("x"); err == nil {
		t.Error("a fingerprint of nothing")
	}
}
