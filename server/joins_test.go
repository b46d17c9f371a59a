package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/store"
)

// joinString makes a join string on h.
func (h *host) joinString(role identity.Role) identity.JoinString {
	h.t.Helper()
	made, err := h.client.CreateJoin(h.t.Context(), api.CreateJoin{Role: role})
	if err != nil {
		h.t.Fatal(err)
	}
	j, err := identity.ParseJoinString(made.Text)
	if err != nil {
		h.t.Fatal(err)
	}
	return j
}

func newKey(t testing.TB) *identity.Key {
	t.Helper()
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// enter asks to be let in as a host in zone b.
func enter(ctx context.Context, j identity.JoinString, key *identity.Key, role identity.Role) (*identity.Node, error) {
	n, _, err := api.Enter(ctx, j, key, api.JoinRequest{Role: role, Name: "new", Zone: "b", Address: "10.9.8.7:7443", Apps: true,
		IPs: []netip.Addr{netip.MustParseAddr("10.9.8.7")}, Labels: map[string]string{"disk": "ssd"}})
	return n, err
}

func TestHostJoinsOnceAndGetsALostAnswerAgain(t *testing.T) {
	h := newHost(t)
	for _, role := range []identity.Role{identity.RoleAgent, identity.RoleServer} {
		j, key := h.joinString(role), newKey(t)
		n, err := enter(t.Context(), j, key, role)
		if err != nil {
			t.Fatal(err)
		}
		if n.Role != role || n.AuthorityPEM() != h.server.CAPEM() {
			t.Errorf("joined as %s of another authority", n)
		}
		rec, err := h.server.store.State().Node(n.ID)
		if err != nil || rec.Name != "new" || rec.Zone != "b" || rec.Server != (role == identity.RoleServer) || rec.Labels["disk"] != "ssd" || rec.State != cluster.NodeUnknown {
			t.Errorf("its record is %+v, %v", rec, err)
		}
		again, err := enter(t.Context(), j, key, role)
		if err != nil || again.ID != n.ID {
			t.Errorf("the same host asked again and became %v, %v", again, err)
		}
		if _, err := enter(t.Context(), j, newKey(t), role); cluster.KindOf(err) != cluster.KindUnauthenticated {
			t.Errorf("another host with the same string: %v", err)
		}
	}
	joins, err := h.client.Joins(t.Context())
	if err != nil || len(joins) != 2 || !joins[0].Used() || !joins[1].Used() {
		t.Errorf("the list says %+v, %v", joins, err)
	}
}

// TestNobodyJoinsAtALiveNodesAddress: it would be reached by nobody, and its string
// would be used up. Who is in already, and an address whose node is down, are no such case.
func TestNobodyJoinsAtALiveNodesAddress(t *testing.T) {
	h := newHost(t)
	j, key := h.joinString(identity.RoleAgent), newKey(t)
	ask := func(address string) error {
		_, _, err := api.Enter(t.Context(), j, key, api.JoinRequest{Role: identity.RoleAgent, Name: "new", Zone: "b", Address: address})
		return err
	}
	taken := h.nodes()[0].Address
	wantKind(t, ask(taken), cluster.KindConflict, "address_taken")
	if err := ask("10.9.8.7:7443"); err != nil {
		t.Fatalf("the string is used up by a join that was refused: %v", err)
	}
	if err := ask(taken); err != nil {
		t.Errorf("the host that joined with it asks again: %v", err)
	}
	j, key = h.joinString(identity.RoleAgent), newKey(t)
	if err := ask("10.9.8.7:7443"); err != nil {
		t.Errorf("the address of a node that nobody hears: %v", err)
	}
}

// 100 tries each with a string that is wrong, expired, replayed, revoked or for the
// other role: none gets in, and no try leaves anything behind.
func TestNoBadJoinStringLetsAnybodyIn(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	replayed := h.joinString(identity.RoleAgent)
	if _, err := enter(ctx, replayed, newKey(t), identity.RoleAgent); err != nil {
		t.Fatal(err)
	}
	revoked := h.joinString(identity.RoleAgent)
	if err := h.client.RevokeJoin(ctx, revoked.ID); err != nil {
		t.Fatal(err)
	}
	wrong := h.joinString(identity.RoleAgent)
	_, wrong.Secret, _ = identity.NewJoinSecret()
	unknown := wrong
	unknown.ID, unknown.Secret, _ = identity.NewJoinSecret()
	foreign := h.joinString(identity.RoleAgent)
	foreign.Fingerprint = "sha256:" + strings.Repeat("0", 64)

	before := len(h.nodes())
	for name, x := range map[string]struct {
		join identity.JoinString
		role identity.Role
		kind cluster.Kind
	}{
		"replayed":                 {replayed, identity.RoleAgent, cluster.KindUnauthenticated},
		"revoked":                  {revoked, identity.RoleAgent, cluster.KindUnauthenticated},
		"wrong secret":             {wrong, identity.RoleAgent, cluster.KindUnauthenticated},
		"unknown ID":               {unknown, identity.RoleAgent, cluster.KindUnauthenticated},
		"expired":                  {h.expiredJoin(), identity.RoleAgent, cluster.KindUnauthenticated},
		"an agent's for a server":  {h.joinString(identity.RoleAgent), identity.RoleServer, cluster.KindForbidden},
		"a server's for an agent":  {h.joinString(identity.RoleServer), identity.RoleAgent, cluster.KindForbidden},
		"another cluster's":        {foreign, identity.RoleAgent, cluster.KindUnauthenticated},
		"an agent's for no role":   {h.joinString(identity.RoleAgent), identity.RoleNone, cluster.KindInvalid},
		"a server's for no role":   {h.joinString(identity.RoleServer), identity.RoleNone, cluster.KindInvalid},
		"somebody's empty secret":  {identity.JoinString{Addresses: wrong.Addresses, Fingerprint: wrong.Fingerprint, ID: wrong.ID}, identity.RoleAgent, cluster.KindUnauthenticated},
		"the secret of another ID": {identity.JoinString{Addresses: wrong.Addresses, Fingerprint: wrong.Fingerprint, ID: wrong.ID, Secret: replayed.Secret}, identity.RoleAgent, cluster.KindUnauthenticated},
	} {
		key := newKey(t)
		for range 100 {
			joined, err := h.askToJoin(x.join, key, x.role)
			if err == nil {
				t.Fatalf("%s: somebody got in as %s", name, joined.Node)
			}
			if e := (*cluster.Error)(nil); !errors.As(err, &e) || e.Kind != x.kind && e.Code != "throttled" {
				t.Fatalf("%s: got %v, want kind %s", name, err, x.kind)
			}
		}
	}
	if after := len(h.nodes()); after != before {
		t.Errorf("there are %d nodes in place of %d", after, before)
	}
}

// askToJoin asks once, without the patience of Enter.
func (h *host) askToJoin(j identity.JoinString, key *identity.Key, role identity.Role) (*api.Joined, error) {
	h.t.Helper()
	c, err := api.NewClient(api.ClientConfig{URL: "https://" + h.server.Addr().String(), TLS: j.ClientConfig()})
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	csr, err := key.Request()
	if err != nil {
		h.t.Fatal(err)
	}
	return c.Join(h.t.Context(), api.JoinRequest{ID: j.ID, Secret: j.Secret, CSR: csr, Role: role, Name: "new", Zone: "b"})
}

// expiredJoin makes a join string whose time is over.
func (h *host) expiredJoin() identity.JoinString {
	h.t.Helper()
	j := h.joinString(identity.RoleAgent)
	id, secret, hash := identity.NewJoinSecret()
	past := time.Now().UTC().Add(-2 * time.Hour)
	if _, err := h.server.store.Propose(h.t.Context(), store.CreateJoin{By: store.By{Actor: "tester", At: past},
		Join: cluster.Join{ID: id, Hash: hash, ExpiresAt: past.Add(time.Hour)}}); err != nil {
		h.t.Fatal(err)
	}
	j.ID, j.Secret = id, secret
	return j
}

func (h *host) nodes() []api.NodeInfo {
	h.t.Helper()
	nodes, err := h.client.Nodes(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return nodes
}

func TestJoinStringsAreMadeWithinLimits(t *testing.T) {
	h := newHost(t)
	for _, in := range []api.CreateJoin{{}, {Role: identity.RoleNone}, {Role: identity.RoleAgent, TTL: time.Second}, {Role: identity.RoleAgent, TTL: maxJoinLife + time.Second}} {
		_, err := h.client.CreateJoin(t.Context(), in)
		wantKind(t, err, cluster.KindInvalid, "")
	}
	made, err := h.client.CreateJoin(t.Context(), api.CreateJoin{Role: identity.RoleServer})
	if err != nil || !made.Server || made.CreatedBy != "tester" || made.ExpiresAt.Sub(made.CreatedAt) != defaultJoinLife {
		t.Fatalf("made %+v, %v", made, err)
	}
	// Nothing that is kept or told holds the secret.
	j, err := identity.ParseJoinString(made.Text)
	if err != nil {
		t.Fatal(err)
	}
	export, err := store.Export(h.server.store.State())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(export)+h.log.String(), j.Secret.Reveal()) {
		t.Error("the secret is in the export or in the log")
	}
}

func TestFirstHostsStringsAreShownWhileItIsAlone(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	if _, _, err := h.server.FirstJoins(ctx); err != nil {
		t.Fatal(err)
	}
	forServer, forAgent, err := h.server.FirstJoins(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if joins, err := h.client.Joins(ctx); err != nil || len(joins) != 2 {
		t.Errorf("strings that nobody used pile up: %+v, %v", joins, err)
	}
	for role, made := range map[identity.Role]*api.NewJoin{identity.RoleServer: forServer, identity.RoleAgent: forAgent} {
		j, err := identity.ParseJoinString(made.Text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := enter(ctx, j, newKey(t), role); err != nil {
			t.Errorf("the string for a role %s: %v", role, err)
		}
	}
	if forServer, forAgent, err = h.server.FirstJoins(ctx); forServer != nil || forAgent != nil || err != nil {
		t.Errorf("strings are shown in a cluster of several hosts: %v %v %v", forServer, forAgent, err)
	}
}

// A join string names several servers: one that is down, or somebody else by now,
// keeps no host out. When none is left, the text says what to look at.
func TestHostAsksTheNextServer(t *testing.T) {
	h, stranger := newHost(t), newHost(t)
	closed := closedAddress(t)
	plain := listenPlain(t)
	j := h.joinString(identity.RoleAgent)
	good := j.Addresses[0]
	j.Addresses = []string{closed, plain, stranger.server.Addr().String(), good}
	if _, err := enter(t.Context(), j, newKey(t), identity.RoleAgent); err != nil {
		t.Errorf("the last address was the right one: %v", err)
	}
	for address, want := range map[string]struct{ code, hint string }{
		closed:                          {"unreachable", "firewall"},
		plain:                           {"tls", "something else than paas"},
		stranger.server.Addr().String(): {identity.CodeStranger, "of the cluster that you mean"},
	} {
		j.Addresses = []string{address}
		_, err := enter(t.Context(), j, newKey(t), identity.RoleAgent)
		var e *cluster.Error
		if !errors.As(err, &e) || e.Code != want.code || !strings.Contains(e.Hint, want.hint) || !strings.Contains(e.Error(), address) {
			t.Errorf("%s: got %v, hint %q; want code %s, and the address named", address, err, e.Hint, want.code)
		}
	}
}

// closedAddress is one that nobody listens on.
func closedAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// listenPlain is something that answers, and speaks no TLS.
func listenPlain(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// TestAHostForItselfMakesNoJoinString: nobody could ever use one of "paas up".
func TestAHostForItselfMakesNoJoinString(t *testing.T) {
	h := newHost(t)
	alone := *h.server.control
	alone.cfg.Alone = true
	_, err := (&joinService{control: &alone}).CreateJoin(t.Context(), api.CreateJoin{Role: identity.RoleAgent})
	wantKind(t, err, cluster.KindConflict, "alone")
	forServer, forAgent, err := (&joinService{control: &alone}).first(t.Context())
	if err != nil || forServer != nil || forAgent != nil {
		t.Errorf("its console shows %v, %v, %v", forServer, forAgent, err)
	}
}
