package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/store"
)

// intruder is somebody who knocks at the port with a certificate, or with none.
type intruder struct {
	name string
	node *identity.Node // nil: no certificate
	// may are the protocols that it may speak all the same.
	may []string
}

// intruders are everybody whom a cluster may have to do with.
func (h *host) intruders() []intruder {
	h.t.Helper()
	foreign, err := identity.NewAuthority("foreign", time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	issue := func(a *identity.Authority, role identity.Role, at time.Time) *identity.Node {
		n, err := a.NewNode(cluster.NodeID(identity.NewID()), role, nil, at)
		if err != nil {
			h.t.Fatal(err)
		}
		return n
	}
	own, longAgo := h.server.trust.authority, time.Now().Add(-identity.NodeLife-time.Hour)
	all := []intruder{
		{"nobody", nil, nil},
		{"an agent of the cluster", h.member(identity.RoleAgent), []string{api.ALPNSession, api.ALPNPeer, api.ALPNTunnel}},
		{"the authority of private hosts", issue(h.server.trust.edge, identity.RoleServer, time.Now()), nil},
	}
	for _, role := range []identity.Role{identity.RoleServer, identity.RoleAgent} {
		removed := h.member(role)
		if _, err := h.server.store.Propose(h.t.Context(), store.RemoveNode{By: platform(), ID: removed.ID, Until: time.Now().Add(time.Hour)}); err != nil {
			h.t.Fatal(err)
		}
		all = append(all, intruder{fmt.Sprintf("a foreign %s", role), issue(foreign, role, time.Now()), nil},
			intruder{fmt.Sprintf("an expired %s", role), issue(own, role, longAgo), nil},
			intruder{fmt.Sprintf("a removed %s", role), removed, nil})
	}
	return all
}

// member lets a host in that never starts.
func (h *host) member(role identity.Role) *identity.Node {
	h.t.Helper()
	n, err := enter(h.t.Context(), h.joinString(role), newKey(h.t), role)
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// knock connects as x and reports whether it is served: somebody who is refused hears
// the end at once, somebody who is served is waited for.
func (h *host) knock(x intruder, alpn string) (served bool) {
	h.t.Helper()
	cfg := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}, MinVersion: tls.VersionTLS12} // an intruder trusts anybody
	if x.node != nil {
		cfg.Certificates = x.node.ServerConfig().Certificates
	}
	raw, err := net.Dial("tcp", h.server.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	defer raw.Close()
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(h.t.Context()); err != nil {
		return false
	}
	_ = raw.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	said, err := io.ReadAll(conn) // a removed node is bidden farewell
	return errors.Is(err, os.ErrDeadlineExceeded) || len(said) > 0 && string(said) != api.RemovedNotice
}

// 100 tries for each certificate on each protocol of the one port: foreign, expired and
// removed ones get in nowhere, an agent's nowhere but where agents belong.
func TestNobodyGetsInWithABadCertificate(t *testing.T) {
	h := newHost(t)
	intruders := h.intruders()
	h.awaitRoster(func(r *cluster.Roster) bool { return len(r.Removed) == 2 })
	for _, alpn := range []string{api.ALPNRaft, api.ALPNRelay, api.ALPNSession, api.ALPNPeer, api.ALPNTunnel} {
		for _, x := range intruders {
			if slices.Contains(x.may, alpn) {
				if !h.knock(x, alpn) {
					t.Errorf("%s: %s is refused, and belongs there", alpn, x.name)
				}
				continue
			}
			for range 100 {
				if h.knock(x, alpn) {
					t.Fatalf("%s: %s got in", alpn, x.name)
				}
			}
		}
	}
}

// Certificates give nobody a right on people's API.
func TestNoCertificateIsAToken(t *testing.T) {
	h := newHost(t)
	for _, x := range h.intruders() {
		for _, alpn := range []string{"h2", "http/1.1"} {
			cfg := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}, MinVersion: tls.VersionTLS12}
			if x.node != nil {
				cfg.Certificates = x.node.ServerConfig().Certificates
			}
			tr := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true, ForceAttemptHTTP2: alpn == "h2"}
			for _, path := range []string{"/v1/nodes", "/v1/joins", "/v1/export", "/trust", "/position"} {
				res, err := tr.RoundTrip(h.get(path))
				if err != nil {
					continue // refused before
				}
				if res.StatusCode < 400 {
					t.Errorf("%s as %s with %s: got %d", path, x.name, alpn, res.StatusCode)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
			tr.CloseIdleConnections()
		}
	}
}

func (h *host) get(path string) *http.Request {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, "https://"+h.server.Addr().String()+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return req
}

// awaitRoster waits until the port knows what the state says.
func (h *host) awaitRoster(cond func(*cluster.Roster) bool) {
	h.t.Helper()
	h.await("the roster is known at the port", func() bool {
		h.server.book.mu.Lock()
		defer h.server.book.mu.Unlock()
		return cond(h.server.book.roster)
	})
}

// A session that runs when its node is removed ends at once, and none is let in after
// it; the certificate of a session is renewed for its own node alone.
func TestRemovedAgentIsOutAtOnceAndRenewsNothing(t *testing.T) {
	h := newHost(t)
	n := h.member(identity.RoleAgent)
	dial := func() (*api.AgentSession, error) {
		d := &api.Dialer{Node: func() *identity.Node { return n }, Addresses: func(cluster.NodeID) []string { return []string{h.server.Addr().String()} }}
		conn, err := d.Dial(t.Context(), h.server.self, api.ALPNSession)
		if err != nil {
			return nil, err
		}
		return api.NewAgentSession(t.Context(), api.SessionConfig{Conn: conn, Hello: api.Hello{Node: cluster.Node{ID: n.ID, Name: "new", Zone: "b", Server: true}},
			Calls: h.agent, Space: func() []cluster.Space { return nil }, Logger: h.server.log})
	}
	s, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), func(api.Desired) {}) }()

	// It asks for a certificate that says more than it is, and gets its own.
	key := newKey(t)
	csr, err := key.Request()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := s.RenewCertificate(t.Context(), csr)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := n.Renewed(key, chain)
	if err != nil || !fresh.NotAfter().After(n.NotAfter().Add(-time.Minute)) {
		t.Fatalf("renewed %v, %v", fresh, err)
	}
	if rec, err := h.server.store.State().Node(n.ID); err != nil || rec.Server {
		t.Errorf("an agent said that it is a server, and its record is %+v, %v", rec, err)
	}
	if _, err := s.RenewCertificate(t.Context(), []byte("nonsense")); cluster.KindOf(err) != cluster.KindInvalid {
		t.Errorf("nonsense was signed: %v", err)
	}

	began := time.Now()
	if _, err := h.server.store.Propose(t.Context(), store.RemoveNode{By: platform(), ID: n.ID, Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
		t.Logf("out after %s", time.Since(began))
	case <-time.After(5 * time.Second):
		t.Fatal("the session of a removed node goes on")
	}
	for _, as := range []*identity.Node{n, fresh} {
		n = as
		if _, err := dial(); err == nil {
			t.Error("a removed node got a session")
		}
	}
	if _, err := h.server.joins.renew(t.Context(), api.Peer{ID: n.ID, Role: identity.RoleAgent}, csr); err == nil {
		t.Error("a removed node got a certificate")
	}
	if strings.Contains(h.log.String(), "panic") {
		t.Error("something panicked")
	}
}
