package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
)

func TestNodeGoesDownAndComesBack(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\n"))
	state := func() cluster.NodeState {
		nodes, err := h.client.Nodes(t.Context())
		if err != nil || len(nodes) != 1 {
			t.Fatalf("nodes: %+v %v", nodes, err)
		}
		return nodes[0].State
	}
	began := time.Now()
	h.stopAgent()
	h.await("the node is down", func() bool { return state() == cluster.NodeDown })
	if took := time.Since(began); took < api.NodeLease-time.Second || took > api.NodeLease+20*time.Second {
		t.Errorf("it took %v", took)
	}
	h.startAgent()
	h.await("the node is up", func() bool { return state() == cluster.NodeUp })
	h.await("the app runs", func() bool { return h.agent.running("blog") == 1 })
}

// TestSilentReplicasAreListed: what routers know of replicas that answer nothing
// comes to people, until they answer again.
func TestSilentReplicasAreListed(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\n"))
	since := time.Now().Add(-30 * time.Second).UTC()
	listed := func() api.AllocationInfo {
		list, err := h.client.Processes(t.Context(), "blog")
		if err != nil || len(list.Allocations) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		return list.Allocations[0]
	}
	id, index := listed().ID, h.server.store.State().Index()
	report := func(silent map[cluster.AllocationID]time.Time) {
		if err := h.session().ReportRouter(cluster.RouterStatus{Index: index, Silent: silent}); err != nil {
			t.Fatal(err)
		}
	}
	report(map[cluster.AllocationID]time.Time{id: since, "a-other": since})
	h.await("the replica is listed as silent", func() bool { return listed().SilentSince.Equal(since) })
	report(nil)
	h.await("the replica is listed as before", func() bool { return listed().SilentSince.IsZero() })
}

// TestDesiredChangesOnlyForWhomItConcerns: what has nothing to do with a node or
// the routes sends nothing to it.
func TestDesiredChangesOnlyForWhomItConcerns(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\n"))
	if err := h.client.Settle(t.Context(), "blog", nil, func(api.Progress) {}); err != nil {
		t.Fatal(err)
	}
	a := newAssigner(h.server.control)
	look := func() (*api.AssignmentSet, *cluster.RouteTable) {
		all, err := a.desired(h.server.store.State(), h.server.self)
		if err != nil {
			t.Fatal(err)
		}
		return all.Assignments, all.Routes
	}
	set, table := look()
	if len(set.Assignments) != 1 || len(table.Routes) != 1 || len(table.Routes[0].Upstreams) != 1 {
		t.Fatalf("%+v %+v", set, table)
	}
	if _, err := h.client.CreateToken(t.Context(), api.CreateToken{Name: "ci", Scope: cluster.ScopeRead}); err != nil {
		t.Fatal(err)
	}
	if s, r := look(); s != set || r != table {
		t.Error("a token changed what a node should have")
	}
	h.createApp("shop")
	s, r := look()
	if s != set || r == table || r.Index <= table.Index {
		t.Error("a new app without replicas has a route, and no assignments")
	}
	if _, err := h.client.Scale(t.Context(), "blog", api.Scale{Changes: []api.ScaleChange{{Type: "web", Quantity: 2}}}); err != nil {
		t.Fatal(err)
	}
	h.await("a second replica is assigned", func() bool { s, _ := look(); return len(s.Assignments) == 2 && s.Index > set.Index })
}

func TestCertificateStorage(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	s := h.session()
	if _, _, err := s.LoadFile(ctx, "acme/key.pem"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	secret := []byte("-----PRIVATE canary-----")
	if err := s.StoreFile(ctx, "acme/key.pem", secret); err != nil {
		t.Fatal(err)
	}
	if got, at, err := s.LoadFile(ctx, "acme/key.pem"); err != nil || !bytes.Equal(got, secret) || time.Since(at) > time.Minute {
		t.Errorf("%q %v %v", got, at, err)
	}
	if keys, err := s.ListFiles(ctx, "acme/"); err != nil || len(keys) != 1 {
		t.Errorf("%v %v", keys, err)
	}
	f, _ := h.server.store.State().File("acme/key.pem")
	if bytes.Contains(f.Value.Box, []byte("canary")) {
		t.Error("the state holds plaintext")
	}
	if err := s.Lock(ctx, "issue", "router-1", time.Minute); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.Lock(ctx, "issue", "router-2", time.Minute), cluster.KindConflict, "")
	if err := errors.Join(s.Lock(ctx, "issue", "router-1", 0), s.Lock(ctx, "issue", "router-2", time.Minute)); err != nil {
		t.Error(err)
	}
	if err := s.DeleteFile(ctx, "acme/key.pem"); err != nil {
		t.Error(err)
	}
}

func TestEdgeCertificatesOnlyForRoutes(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	s := h.session()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(host string) ([]byte, error) {
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{host}}, key)
		if err != nil {
			t.Fatal(err)
		}
		return s.SignEdge(t.Context(), csr)
	}
	chain, err := sign("blog.localhost")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(chain)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	status, err := h.client.Status(t.Context())
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM([]byte(status.EdgeCA)) {
		t.Fatalf("status: %+v %v", status, err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: "blog.localhost"}); err != nil {
		t.Error(err)
	}
	if _, err := sign("*.localhost"); err != nil {
		t.Errorf("the fallback of routers: %v", err)
	}
	for _, host := range []string{"shop.localhost", "example.com", "paas", "localhost", "blog.localhost.evil.example", "*", "*.com", "*.blog.localhost", "x.*.localhost"} {
		if _, err := sign(host); err == nil {
			t.Errorf("%s was signed", host)
		}
	}
}

func TestConfigRevealIsAudited(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.createApp("blog")
	if _, err := h.client.ChangeConfig(ctx, "blog", api.ChangeConfig{Set: map[string]cluster.Redacted{"KEY": "canary"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.client.ConfigValue(ctx, "blog", "KEY"); err != nil {
		t.Fatal(err)
	}
	events, err := h.client.Events(ctx, "blog", 1)
	if err != nil || len(events) != 1 || events[0].Action != "config.revealed" || events[0].Actor != "tester" || events[0].Target != "KEY" {
		t.Errorf("events: %+v %v", events, err)
	}
	var export strings.Builder
	if err := h.client.Export(ctx, &export); err != nil || strings.Contains(export.String(), "canary") || !strings.Contains(export.String(), "blog") {
		t.Errorf("export: %v\n%s", err, export.String())
	}
	if strings.Contains(h.log.String(), "canary") {
		t.Error("the log holds a config value")
	}
}
