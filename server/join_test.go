package server

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

func TestServerThatJoinsMayBeCutOffAnywhere(t *testing.T) {
	h := newHost(t)
	j := h.joinString(identity.RoleServer)
	c := Config{Dir: filepath.Join(t.TempDir(), "data"), Listen: freeAddress(t), Name: "new", Zone: "b"}
	l := layout{c.Dir}
	if _, err := Join(t.Context(), c, j); err != nil {
		t.Fatal(err)
	}
	first, err := identity.LoadNode(l.node())
	if err != nil {
		t.Fatal(err)
	}
	// The key comes back as if the end had come before it was removed, and then file
	// after file is not there yet.
	again := filepath.Join(t.TempDir(), "again")
	for _, missing := range []string{"", l.joined(), l.settings(), l.sealKey(), filepath.Join(l.node(), "node.pem")} {
		writeKeyOf(t, first, l.joinKey())
		if missing != "" {
			if err := os.Rename(missing, again); err != nil {
				t.Fatal(err)
			}
		}
		_, err := New(Config{Dir: c.Dir, Listen: "127.0.0.1:0", images: (&stubImages{}).open})
		wantKind(t, err, cluster.KindConflict, "join_unfinished")
		if _, err := Join(t.Context(), c, j); err != nil {
			t.Fatal(err)
		}
		n, err := identity.LoadNode(l.node())
		if err != nil || n.ID != first.ID || n.Role != identity.RoleServer {
			t.Fatalf("without %q the host became %v, %v, not %v again", missing, n, err, first)
		}
		for _, file := range []string{l.settings(), l.sealKey(), l.roster(), l.joined()} {
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", file, info, err)
			}
		}
		if _, err := os.Stat(l.joinKey()); err == nil {
			t.Error("the key of the join is left behind")
		}
	}
}

// writeKeyOf writes n's key to path, as a join does before it asks.
func writeKeyOf(t testing.TB, n *identity.Node, path string) {
	t.Helper()
	dir := t.TempDir()
	if err := n.Save(dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "node.pem"))
	if err != nil {
		t.Fatal(err)
	}
	at := lastBlock(data)
	if err := os.WriteFile(path, data[at:], 0o600); err != nil {
		t.Fatal(err)
	}
}

// lastBlock is where the last PEM block of data begins.
func lastBlock(data []byte) int {
	at := 0
	for i := range data {
		if i+10 < len(data) && string(data[i:i+10]) == "-----BEGIN" {
			at = i
		}
	}
	return at
}

func TestServerDoesNotStartFromAnAgentsDirectory(t *testing.T) {
	h := newHost(t)
	n, err := h.server.trust.authority.NewNode(cluster.NodeID(identity.NewID()), identity.RoleAgent, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l := layout{t.TempDir()}
	if err := n.Save(l.node()); err != nil {
		t.Fatal(err)
	}
	_, err = New(Config{Dir: l.dir, Listen: "127.0.0.1:0", images: (&stubImages{}).open})
	wantKind(t, err, cluster.KindConflict, "role")
	if _, err := os.Stat(l.sealKey()); err == nil {
		t.Error("a new cluster was begun in it")
	}
}

// The cluster's keys are for servers: an agent of the cluster, one that was removed,
// and strangers do not get them.
func TestOnlyServersGetTheClustersKeys(t *testing.T) {
	h := newHost(t)
	self, err := h.server.store.State().Node(h.server.self)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(n *identity.Node) (int, error) {
		d := &api.Dialer{Node: func() *identity.Node { return n }, Addresses: func(cluster.NodeID) []string { return []string{h.server.Addr().String()} }}
		client := &http.Client{Transport: d.Transport(api.ALPNPeer, peerDialTime)}
		defer client.CloseIdleConnections()
		res, err := client.Get("https://" + string(self.ID) + "/trust")
		if err != nil {
			return 0, err
		}
		return res.StatusCode, res.Body.Close()
	}
	server, err := enter(t.Context(), h.joinString(identity.RoleServer), newKey(t), identity.RoleServer)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := enter(t.Context(), h.joinString(identity.RoleAgent), newKey(t), identity.RoleAgent)
	if err != nil {
		t.Fatal(err)
	}
	if code, err := ask(server); code != http.StatusOK || err != nil {
		t.Errorf("a server got %d, %v", code, err)
	}
	for range 100 {
		if code, err := ask(agent); code == http.StatusOK {
			t.Fatalf("an agent got the keys, %v", err)
		}
	}
}
