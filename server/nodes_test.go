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
	"paas/store"
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
		all, _, err := a.desired(h.server.store.State(), h.server.self)
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

// TestOperatorsTakeANodeOutOfService: through the API, on a cluster of one node that
// has nowhere to drain to.
func TestOperatorsTakeANodeOutOfService(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\n"))
	if _, err := h.client.Scale(ctx, "blog", api.Scale{Changes: []api.ScaleChange{{Type: "web", Quantity: 3}}}); err != nil {
		t.Fatal(err)
	}
	if err := h.client.Settle(ctx, "blog", nil, func(api.Progress) {}); err != nil {
		t.Fatal(err)
	}
	nodes, err := h.client.Nodes(ctx)
	if err != nil || len(nodes) != 1 || nodes[0].LastHeard.IsZero() {
		t.Fatalf("nodes: %+v, %v", nodes, err)
	}
	name := nodes[0].Name
	if err := h.client.WatchDrain(ctx, name, nil); cluster.KindOf(err) != cluster.KindConflict {
		t.Errorf("a node that does not drain is watched: %v", err)
	}
	n, err := h.client.UpdateNode(ctx, string(nodes[0].ID)[:6], api.UpdateNode{Schedule: cluster.ScheduleDraining, SetLabels: map[string]string{"disk": "ssd"}})
	if err != nil || !n.Draining || n.AllLabels["disk"] != "ssd" || len(n.Replicas) != 3 {
		t.Fatalf("%+v, %v", n, err)
	}
	err = h.client.WatchDrain(ctx, name, nil)
	var e *cluster.Error
	if !errors.As(err, &e) || e.Kind != cluster.KindUnplaceable || !strings.Contains(e.Reason, "blog web.1, blog web.2, blog web.3: "+name) || !strings.Contains(e.Reason, "draining") {
		t.Errorf("a drain with nowhere to go: %v", err)
	}
	list, err := h.client.Processes(ctx, "blog")
	if err != nil || len(list.Unplaced) != 3 || list.Unplaced[0].Slot != 1 || list.Unplaced[2].Slot != 3 {
		t.Errorf("ps: %+v, %v", list, err)
	}
	if n, err = h.client.Node(ctx, name); err != nil || len(n.Replicas[0].Stays) == 0 {
		t.Errorf("info: %+v, %v", n, err)
	}
	if _, err := h.client.RemoveNode(ctx, name, api.RemoveNode{Force: true}); cluster.KindOf(err) != cluster.KindConflict {
		t.Errorf("the only server was removed: %v", err)
	}
	if n, err = h.client.UpdateNode(ctx, name, api.UpdateNode{Schedule: cluster.ScheduleOpen}); err != nil || n.Draining {
		t.Errorf("uncordon: %+v, %v", n, err)
	}
	if _, err := h.client.UpdateNode(ctx, name, api.UpdateNode{}); cluster.KindOf(err) != cluster.KindInvalid {
		t.Errorf("no change at all: %v", err)
	}
	if _, err := h.client.Node(ctx, "nobody"); cluster.KindOf(err) != cluster.KindNotFound {
		t.Errorf("no such node: %v", err)
	}
}

func TestServersThatDecideAreNotRemoved(t *testing.T) {
	id := func(i int) cluster.NodeID { return cluster.NodeID(strings.Repeat(string(rune('a'+i)), 16)) }
	for name, x := range map[string]struct {
		voters, up, learners int // servers of the group; those up are the first
		remove               int
		refused              bool
	}{
		"the only one":                 {1, 1, 0, 0, true},
		"one of two":                   {2, 2, 0, 1, false},
		"the dead one of two":          {2, 1, 0, 1, false},
		"the live one of two":          {2, 1, 0, 0, true},
		"one of three":                 {3, 3, 0, 0, false},
		"the dead one of three":        {3, 2, 0, 2, false},
		"a live one of three with one": {3, 2, 0, 0, true},
		"a learner":                    {1, 1, 1, 1, false},
		"one of five with two dead":    {5, 3, 0, 0, true},
		"a dead one of five":           {5, 3, 0, 4, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := (&cluster.State{}).Draft(1)
			servers := map[cluster.NodeID]store.Voting{}
			for i := range x.voters + x.learners {
				n := cluster.Node{ID: id(i), Name: string(id(i))[:1], Server: true, State: cluster.NodeDown}
				if i < x.up {
					n.State = cluster.NodeUp
				}
				servers[n.ID] = store.Voter
				if i >= x.voters {
					servers[n.ID] = store.Learner
				}
				d.PutNode(n)
			}
			n, err := d.State().Node(id(x.remove))
			if err != nil {
				t.Fatal(err)
			}
			if err := keepsQuorum(d.State(), servers, n); (err != nil) != x.refused {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestARemovedNodeIsForgotten: what its router said counts no more.
func TestARemovedNodeIsForgotten(t *testing.T) {
	h := newHost(t)
	f := h.server.leader.fleet
	n := cluster.Node{ID: "0000000000000001", Name: "gone", Zone: "a", Router: true}
	if _, err := h.server.store.Propose(t.Context(), store.RegisterNode{By: platform(), Node: n}); err != nil {
		t.Fatal(err)
	}
	f.NodeAlive(n.ID, nil)
	if err := f.NodeRouter(t.Context(), cluster.RouterStatus{Node: n.ID, Silent: map[cluster.AllocationID]time.Time{"a-1": time.Now()}}); err != nil {
		t.Fatal(err)
	}
	if len(f.silent()) != 1 {
		t.Fatal("the router was not heard")
	}
	if _, err := h.server.store.Propose(t.Context(), store.RemoveNode{By: platform(), ID: n.ID, Until: time.Now().Add(time.Hour), Force: true}); err != nil {
		t.Fatal(err)
	}
	h.await("nothing is left of it", func() bool { return len(f.silent()) == 0 && f.heardAt(n.ID).IsZero() })
}

// TestNobodySpeaksForAnotherHostsReplicas: last words of a replica count only if its
// own host says them.
func TestNobodySpeaksForAnotherHostsReplicas(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\n"))
	list, err := h.client.Processes(t.Context(), "blog")
	if err != nil || len(list.Allocations) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	id, f := list.Allocations[0].ID, h.server.leader.fleet
	for node, want := range map[cluster.NodeID]int{"0000000000000001": 0, h.server.self: 1} {
		f.evidence = newEvidence()
		said := api.Observed{ID: id, Observation: list.Allocations[0].Observed, Log: []string{"words"}}
		if err := f.NodeObserved(t.Context(), node, api.News{Observed: []api.Observed{said}}); err != nil {
			t.Fatal(err)
		}
		if got := len(f.evidence.of(t.Context(), node, id)); got != want {
			t.Errorf("node %s said something of a replica of %s: %d lines are kept, want %d", node, h.server.self, got, want)
		}
	}
}
