package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paas/api"
	"paas/builder"
	"paas/cluster"
	"paas/identity"
	"paas/store"
)

// group is several servers of one cluster, each with its own agent.
type group []*host

// newGroup starts a server and lets n-1 others join it.
func newGroup(t *testing.T, n int) group { return newGroupWith(t, n, nil) }

// newGroupWith is newGroup with something that keeps images, as stubImages.real makes it.
func newGroupWith(t *testing.T, n int, images func(*stubImages, builder.Config) (Images, error)) group {
	t.Helper()
	g := group{newHostWith(t, images)}
	for i := 1; i < n; i++ {
		g = append(g, g[0].adopt(fmt.Sprintf("node-%d", i+1)))
	}
	g.await("all vote", func() bool {
		voters := 0
		for _, v := range g[0].server.store.Servers() {
			if v == store.Voter {
				voters++
			}
		}
		nodes, err := g[0].client.Nodes(t.Context())
		up := 0
		for _, x := range nodes {
			if x.State == cluster.NodeUp {
				up++
			}
		}
		return err == nil && voters == n && up == n
	})
	return g
}

// await waits until cond holds.
func (g group) await(what string, cond func() bool) {
	g[0].t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			g[0].t.Fatalf("waited in vain: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// adopt starts a server that joined h's cluster.
func (h *host) adopt(name string) *host {
	h.t.Helper()
	other := &host{t: h.t, name: name, listen: freeAddress(h.t), dir: filepath.Join(h.t.TempDir(), name), images: &stubImages{real: h.images.real}, agent: newStubAgent(h.t), log: &syncBuffer{}, token: h.token}
	h.t.Cleanup(func() {
		if other.stop != nil {
			other.stop()
		}
		if h.t.Failed() {
			h.t.Logf("%s said:\n%s", name, other.log)
		}
	})
	if _, err := Join(h.t.Context(), Config{Dir: other.dir, Listen: other.listen, Name: name, Zone: "a"}, h.joinString(identity.RoleServer)); err != nil {
		h.t.Fatal(err)
	}
	other.start()
	return other
}

// freeAddress is one that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// leader waits for one, and returns its place in g and the others'.
func (g group) leader() (at int, others []int) {
	g[0].t.Helper()
	g.await("a leader", func() bool {
		at, others = -1, nil
		for i, h := range g {
			if h.stop == nil {
				continue
			}
			if now, _ := h.server.tenure.now(); now != nil {
				at = i
			} else {
				others = append(others, i)
			}
		}
		return at >= 0
	})
	return at, others
}

// TestAnyServerTakesChanges asks followers, and goes on when the leader is gone.
func TestAnyServerTakesChanges(t *testing.T) {
	g := newGroup(t, 3)
	first, others := g.leader()
	for i, at := range others {
		name := cluster.AppName(fmt.Sprintf("app-%d", i))
		if _, err := g[at].client.CreateApp(t.Context(), api.CreateApp{Name: name}); err != nil {
			t.Fatalf("through a follower: %v", err)
		}
		if list, err := g[first].client.Apps(t.Context()); err != nil || len(list) != i+1 {
			t.Fatalf("the leader has %v, %v", list, err)
		}
	}
	g[first].stop()
	if _, err := g[others[0]].client.CreateApp(t.Context(), api.CreateApp{Name: "later"}); err != nil {
		t.Fatalf("after the leader stopped: %v", err)
	}
	next, _ := g.leader()
	g.await("the agents of the servers that are left", func() bool {
		nodes, err := g[next].client.Nodes(t.Context())
		up := 0
		for _, n := range nodes {
			if n.State == cluster.NodeUp {
				up++
			}
		}
		return err == nil && up == 2
	})
}

// TestRecoverFromALostMajority makes the only server that is left the only one.
func TestRecoverFromALostMajority(t *testing.T) {
	g := newGroup(t, 3)
	g[0].createApp("blog")
	at, others := g.leader()
	left, lost := g[others[0]], []*host{g[at], g[others[1]]}
	left.await("the follower has it", func() bool { _, err := left.server.store.State().App("blog"); return err == nil })
	lost[0].stop()
	if err := CheckLost(t.Context(), left.dir); cluster.KindOf(err) != cluster.KindConflict {
		t.Errorf("one of three is off: %v", err)
	}
	lost[1].stop()
	if err := CheckLost(t.Context(), left.dir); err != nil {
		t.Errorf("two of three are off: %v", err)
	}
	left.sees(map[string]cluster.NodeState{left.name: cluster.NodeUp, lost[0].name: cluster.NodeUnknown, lost[1].name: cluster.NodeUnknown})
	left.hearsNobody()
	left.stop()
	removed, err := Recover(left.dir, slog.New(slog.DiscardHandler))
	if err != nil || len(removed) != 2 {
		t.Fatalf("%v, %v", removed, err)
	}
	left.start()
	if list, err := left.client.Apps(t.Context()); err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	st, err := left.client.Status(t.Context())
	if err != nil || len(st.Members) != 1 || !st.Members[0].Voter || !st.Members[0].Leader {
		t.Errorf("%+v, %v", st, err)
	}
	for _, h := range lost {
		if id := h.server.self; !left.server.store.State().Roster().Refuses(id) {
			t.Errorf("%s is not refused", id)
		}
	}
	if _, err := Recover(left.dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("recovers a server that runs")
	}
}

// sees waits until h, asked alone, knows no leader and this of the servers.
func (h *host) sees(want map[string]cluster.NodeState) {
	h.t.Helper()
	h.await("it sees no leader, and nobody but itself", func() bool {
		st, err := h.client.StatusOf(h.t.Context(), h.server.Addr().String())
		if err != nil || st.Leader != "" {
			return false
		}
		got := map[string]cluster.NodeState{}
		for _, m := range st.Members {
			got[m.Name] = m.State
		}
		return maps.Equal(got, want)
	})
}

// hearsNobody: what was known of others while somebody led is not told as if it were so
// still, and who takes old news waits briefly for a leader.
func (h *host) hearsNobody() {
	h.t.Helper()
	var why error
	c, err := api.NewClient(api.ClientConfig{URL: "https://" + h.server.Addr().String(), TLS: identity.PinnedConfig(h.server.CAPEM()), Token: cluster.Redacted(h.token), LastKnown: func(err error) { why = err }})
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	nodes, err := c.Nodes(h.t.Context())
	if err != nil || len(nodes) != 3 || why == nil || !strings.Contains(why.Error(), "waited 3s") {
		h.t.Fatalf("%d nodes, %v; %v", len(nodes), err, why)
	}
	for _, n := range nodes {
		if up := n.State == cluster.NodeUp; up != (n.Name == h.name) {
			h.t.Errorf("with no leader it says that %s is %s", n.Name, n.State)
		}
	}
}

// TestGitShowsWhyNobodyLeads: git shows plain text alone.
func TestGitShowsWhyNobodyLeads(t *testing.T) {
	err := cluster.Errorf(cluster.KindUnavailable, api.CodeNoLeader, "the cluster has no leader right now").Because("two are off")
	for path, media := range map[string]string{"/git/blog.git/info/refs": "text/plain; charset=utf-8", "/v1/apps": "application/problem+json"} {
		w := httptest.NewRecorder()
		refuse(w, httptest.NewRequest("GET", path, nil), err)
		if got := w.Header().Get("Content-Type"); w.Code != 503 || got != media || !strings.Contains(w.Body.String(), "two are off") {
			t.Errorf("%s: %d %s %s", path, w.Code, got, w.Body)
		}
	}
}

// TestRecoveryThatDidNotHappenRemovesNobody: a host that died between the mark and
// the recovery itself comes back to the others.
func TestRecoveryThatDidNotHappenRemovesNobody(t *testing.T) {
	g := newGroup(t, 3)
	first, others := g.leader()
	for _, i := range others {
		if err := writeOnce(layout{g[i].dir}.recovered(), nil); err != nil {
			t.Fatal(err)
		}
	}
	g[first].stop()
	next, _ := g.leader()
	if _, err := os.Stat(layout{g[next].dir}.recovered()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the mark is still there: %v", err)
	}
	if nodes, err := g[next].client.Nodes(t.Context()); err != nil || len(nodes) != 3 {
		t.Errorf("%d nodes, %v", len(nodes), err)
	}
}

// TestARemovedServerEnds: it would ask for votes for ever. Who is led is not removed,
// whatever somebody says.
func TestARemovedServerEnds(t *testing.T) {
	g := newGroup(t, 3)
	first, _ := g.leader()
	gone := g[(first+1)%3]
	other := g[(first+2)%3]
	hasty, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if other.server.ledByNobody(hasty) {
		t.Error("a server that is led takes itself for removed")
	}
	if _, err := g[first].client.RemoveNode(t.Context(), string(gone.server.self), api.RemoveNode{Force: true}); err != nil {
		t.Fatal(err)
	}
	gone.server.Dismiss()
	if err := gone.ends(); !errors.Is(err, ErrRemoved) {
		t.Errorf("it ended with %v", err)
	}
}
