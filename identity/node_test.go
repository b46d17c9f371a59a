package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

const (
	serverID = cluster.NodeID("aaaaaaaaaaaaaaaa")
	agentID  = cluster.NodeID("bbbbbbbbbbbbbbbb")
)

func newAuthority(t testing.TB) *Authority {
	t.Helper()
	a, err := NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newNode(t testing.TB, a *Authority, id cluster.NodeID, role Role) *Node {
	t.Helper()
	n, err := a.NewNode(id, role, []net.IP{net.IPv4(127, 0, 0, 1)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// handshake lets the two ends meet and returns what each saw and its error.
func handshake(t *testing.T, server, client *tls.Config) (srv, cli tls.ConnectionState, err error) {
	t.Helper()
	a, b := connect(t)
	defer func() { _, _ = a.Close(), b.Close() }()
	deadline := time.Now().Add(5 * time.Second)
	_, _ = a.SetDeadline(deadline), b.SetDeadline(deadline)
	s, c := tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() {
		// With TLS 1.3 a client's certificate is judged after its handshake ended: one
		// byte each way makes both sides know.
		_, err := s.Read(make([]byte, 1))
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		if err != nil {
			_ = a.Close()
		}
		done <- err
	}()
	_, errClient := c.Write([]byte{1})
	if errClient == nil {
		_, errClient = c.Read(make([]byte, 1))
	}
	if errClient != nil {
		_ = b.Close()
	}
	return s.ConnectionState(), c.ConnectionState(), errors.Join(<-done, errClient)
}

// connect returns both ends of a loopback connection; a pipe without buffers
// would leave each side waiting to tell the other what is wrong.
func connect(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // accepted connections stay
	b, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestServerAndAgentKnowEachOther(t *testing.T) {
	a := newAuthority(t)
	server, agent := newNode(t, a, serverID, RoleServer), newNode(t, a, agentID, RoleAgent)
	srv, cli, err := handshake(t, server.ServerConfig("paas-session/1", "h2"), agent.ClientConfig("paas-session/1"))
	if err != nil {
		t.Fatal(err)
	}
	if id, role, err := PeerNode(srv); err != nil || id != agentID || role != RoleAgent {
		t.Errorf("the server sees %s %s: %v", id, role, err)
	}
	if id, role, err := PeerNode(cli); err != nil || id != serverID || role != RoleServer {
		t.Errorf("the agent sees %s %s: %v", id, role, err)
	}
	if cli.Version != tls.VersionTLS13 || cli.NegotiatedProtocol != "paas-session/1" {
		t.Errorf("negotiated %x %s", cli.Version, cli.NegotiatedProtocol)
	}
}

func TestAgentIsNeverAcceptedAsAServer(t *testing.T) {
	a := newAuthority(t)
	fake, victim := newNode(t, a, agentID, RoleAgent), newNode(t, a, serverID, RoleServer)
	if _, _, err := handshake(t, fake.ServerConfig("h2"), victim.ClientConfig("h2")); err == nil {
		t.Error("a node took an agent for a server")
	}
	if _, _, err := handshake(t, fake.ServerConfig("h2"), PinnedConfig(a.CertificatePEM())); err == nil {
		t.Error("the command line took an agent for a server")
	}
}

// TestRoleIsCheckedBesidesKeyUsage: even a certificate with every key usage and
// name is no server's if its role says agent.
func TestRoleIsCheckedBesidesKeyUsage(t *testing.T) {
	a := newAuthority(t)
	n := newNode(t, a, agentID, RoleAgent)
	template := *n.cert
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	template.DNSNames = []string{serverName}
	der, err := a.sign(&template, n.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if n.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	for name, client := range map[string]*tls.Config{"node": newNode(t, a, serverID, RoleServer).ClientConfig("h2"), "command line": PinnedConfig(a.CertificatePEM())} {
		if _, _, err := handshake(t, n.ServerConfig("h2"), client); err == nil || !strings.Contains(err.Error(), "not a server") {
			t.Errorf("%s: got %v, want a refusal of the role", name, err)
		}
	}
}

func TestForeignClusterIsRefusedBothWays(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	server, foreign := newNode(t, a, serverID, RoleServer), newNode(t, b, agentID, RoleAgent)
	if _, _, err := handshake(t, server.ServerConfig("h2"), foreign.ClientConfig("h2")); err == nil {
		t.Error("a client accepted a server of another cluster")
	}
	trusting := foreign.ClientConfig("h2")
	trusting.RootCAs = server.pool() // it trusts us; we must not trust it
	if _, _, err := handshake(t, server.ServerConfig("h2"), trusting); err == nil {
		t.Error("a server accepted a node of another cluster")
	}
}

func TestClientWithoutACertificateIsNobody(t *testing.T) {
	a := newAuthority(t)
	srv, cli, err := handshake(t, newNode(t, a, serverID, RoleServer).ServerConfig(), PinnedConfig(a.CertificatePEM()))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := PeerNode(srv); cluster.KindOf(err) != cluster.KindUnauthenticated {
		t.Errorf("got %v, want KindUnauthenticated", err)
	}
	if _, role, err := PeerNode(cli); err != nil || role != RoleServer {
		t.Errorf("the client sees %s: %v", role, err)
	}
}

func TestOldProtocolsAndOtherALPNAreRefused(t *testing.T) {
	a := newAuthority(t)
	server, agent := newNode(t, a, serverID, RoleServer), newNode(t, a, agentID, RoleAgent)
	old := agent.ClientConfig("h2")
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, _, err := handshake(t, server.ServerConfig("h2"), old); err == nil {
		t.Error("TLS 1.2 was accepted")
	}
	if _, _, err := handshake(t, server.ServerConfig("h2"), agent.ClientConfig("paas-raft/1")); err == nil {
		t.Error("a protocol that the server does not speak was accepted")
	}
	if _, _, err := handshake(t, server.ServerConfig(), agent.ClientConfig("paas-raft/1")); err == nil {
		t.Error("a server without protocols was accepted")
	}
}

func TestExpiredNodeIsRefused(t *testing.T) {
	a, err := NewAuthority("test", time.Now().Add(-100*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	old, err := a.NewNode(agentID, RoleAgent, nil, time.Now().Add(-31*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := handshake(t, newNode(t, a, serverID, RoleServer).ServerConfig("h2"), old.ClientConfig("h2")); err == nil {
		t.Error("an expired certificate was accepted")
	}
}

func TestHostCertificateIsNoNode(t *testing.T) {
	a := newAuthority(t)
	key, csr := request(t, "shop.localhost")
	chain, err := a.SignHosts(csr, func(string) bool { return true }, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := parseCertificate(chain)
	if err != nil {
		t.Fatal(err)
	}
	cfg := newNode(t, a, agentID, RoleAgent).ClientConfig("h2")
	cfg.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
	srv, _, err := handshake(t, newNode(t, a, serverID, RoleServer).ServerConfig("h2"), cfg)
	if err == nil {
		if id, _, err := PeerNode(srv); err == nil {
			t.Errorf("a host certificate was taken for node %s", id)
		}
	}
}

func TestNodeLivesThirtyDaysAndRenewsAtTwoThirds(t *testing.T) {
	now := time.Now()
	n, err := newAuthority(t).NewNode(agentID, RoleAgent, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	if life := n.NotAfter().Sub(now).Round(time.Minute); life != 30*24*time.Hour {
		t.Errorf("certificate lives %s, want 30 days", life)
	}
	if at := n.RenewAt().Sub(now).Round(time.Hour); at != 20*24*time.Hour {
		t.Errorf("it renews after %s, want 20 days", at)
	}
}

func TestNewNodeRefusals(t *testing.T) {
	a := newAuthority(t)
	for _, c := range []struct {
		id   cluster.NodeID
		role Role
	}{{"../../etc", RoleAgent}, {agentID, RoleNone}, {agentID, 9}} {
		if _, err := a.NewNode(c.id, c.role, nil, time.Now()); cluster.KindOf(err) != cluster.KindInvalid {
			t.Errorf("NewNode(%q, %s): got %v, want KindInvalid", c.id, c.role, err)
		}
	}
}

func TestNodeIsSavedWholeAndPrivately(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	if _, err := LoadNode(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load of nothing: got %v, want fs.ErrNotExist", err)
	}
	a := newAuthority(t)
	n := newNode(t, a, serverID, RoleServer)
	for range 2 { // the second save replaces the first
		if err := n.Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("files %v, %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	got, err := LoadNode(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != n.ID || got.Role != n.Role || !got.NotAfter().Equal(n.NotAfter()) || got.AuthorityPEM() != a.CertificatePEM() {
		t.Errorf("loaded %s, want %s", got, n)
	}
	if _, _, err := handshake(t, got.ServerConfig("h2"), newNode(t, a, agentID, RoleAgent).ClientConfig("h2")); err != nil {
		t.Errorf("the loaded node cannot serve: %v", err)
	}
}

func TestDamagedNodeFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	a, b := newAuthority(t), newAuthority(t)
	n, other := newNode(t, a, serverID, RoleServer), newNode(t, b, serverID, RoleServer)
	cert, ca, key := encodeCertificate(n.cert.Raw), encodeCertificate(n.ca.Raw), encodeKey(n.key)
	for name, data := range map[string][]byte{
		"empty": nil, "no key": join(cert, ca), "text": []byte("hello"),
		"other key": join(cert, ca, encodeKey(other.key)), "other authority": join(cert, encodeCertificate(other.ca.Raw), key),
		"wrong order": join(key, cert, ca), "no node": join(ca, ca, encodeKey(a.key)),
	} {
		if err := os.WriteFile(filepath.Join(dir, nodeFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := LoadNode(dir); err == nil {
			t.Errorf("%s: loaded %s", name, n)
		}
	}
}

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func TestNothingPrintableLeaksAKey(t *testing.T) {
	a := newAuthority(t)
	n := newNode(t, a, serverID, RoleServer)
	raw := NewSealKey()
	s, err := NewSealer(raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]struct {
		value  any
		secret string
	}{
		"authority": {a, fmt.Sprint(a.key.D)}, "node": {n, fmt.Sprint(n.key.D)}, "sealer": {s, fmt.Sprint(raw[:8])}, "key PEM": {a.KeyPEM(), a.KeyPEM().Reveal()},
	} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(format, v.value); strings.Contains(text, strings.Trim(v.secret, "[]")) || len(text) > 200 {
				t.Errorf("%s printed with %s shows too much: %s", name, format, text)
			}
		}
	}
}

func TestRoleText(t *testing.T) {
	for _, r := range []Role{RoleNone, RoleServer, RoleAgent} {
		text, err := r.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Role
		if err := got.UnmarshalText(text); err != nil || got != r {
			t.Errorf("%s came back as %s: %v", r, got, err)
		}
	}
	var r Role
	if err := r.UnmarshalText([]byte("root")); err == nil {
		t.Error("an unknown role was read")
	}
	if Role(9).String() != "unknown(9)" {
		t.Error("an unknown role has a name")
	}
}
