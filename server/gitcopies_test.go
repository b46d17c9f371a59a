package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"paas/cluster"
)

// onDisk is the record of a repository on a host's disk.
func (h *host) onDisk(app cluster.AppName) map[string]string {
	h.t.Helper()
	g := h.server.hooks.git
	if _, err := os.Stat(g.path(app)); err != nil {
		return nil
	}
	refs, err := g.refs(h.t.Context(), g.path(app))
	if err != nil {
		return nil // it is being made
	}
	return refs
}

// awaitCopies waits until all hosts that run have branch at hash, whole.
func (g group) awaitCopies(app cluster.AppName, ref, hash string) {
	g[0].t.Helper()
	g.await("all servers have "+ref, func() bool {
		for _, h := range g {
			if h.stop != nil && h.onDisk(app)[ref] != hash {
				return false
			}
		}
		return true
	})
	for _, h := range g {
		if h.stop == nil {
			continue
		}
		git := h.server.hooks.git
		if _, err := git.ask(h.t.Context(), git.path(app), nil, "fsck", "--full", "--strict", "--connectivity-only"); err != nil {
			h.t.Errorf("%s: %v", h.name, err)
		}
	}
}

// retarget makes a clone push to another host.
func (c *clone) retarget(h *host, app cluster.AppName) *clone {
	c.h.t.Helper()
	c.must("remote", "set-url", "paas", newClone(h, app).remote)
	c.h = h
	return c
}

// TestPushSurvivesTheServerThatTookIt: pushed through a follower, kept by a majority,
// served by whoever leads next; forced and deleted branches are followed.
func TestPushSurvivesTheServerThatTookIt(t *testing.T) {
	g := newGroup(t, 3)
	first, others := g.leader()
	g[first].createApp("blog")
	c := newClone(g[others[0]], "blog")
	one := c.commit(procfile("web: ok\n"))
	contains(t, c.must("push", "paas", "main", "main:feature", "main:doomed"), "v1 is live")
	g.awaitCopies("blog", "refs/heads/main", one)
	g.awaitCopies("blog", "refs/heads/feature", one)
	c.must("commit", "--amend", "-q", "-m", "another")
	two := strings.TrimSpace(c.must("rev-parse", "HEAD"))
	contains(t, c.must("push", "-f", "paas", "main", ":doomed"), "v2 is live")
	g.awaitCopies("blog", "refs/heads/main", two)
	g.awaitCopies("blog", "refs/heads/doomed", "")

	c.must("push", "paas", "main:refs/heads/late", "HEAD:refs/tags/v2")
	g[first].listen = g[first].server.Addr().String() // it comes back where the others look for it
	g[first].stop()
	c.retarget(g[others[1]], "blog")
	refs := c.refs()
	contains(t, refs, two+"\trefs/heads/main", one+"\trefs/heads/feature", two+"\trefs/heads/late", two+"\trefs/tags/v2")
	three := c.commit(procfile("web: ok\nworker: ok\n"))
	contains(t, c.must("push", "paas", "main"), "v3 is live")
	copied := filepath.Join(t.TempDir(), "copy")
	c.must("clone", "-q", strings.TrimSpace(c.must("remote", "get-url", "paas")), copied)
	g[first].start()
	g.awaitCopies("blog", "refs/heads/main", three)
}

// TestCopiesHealAndEnd: a server that lost or damaged a repository fetches it anew,
// one that joins gets all, an app that is destroyed leaves nothing, and one of the same
// name inherits nothing.
func TestCopiesHealAndEnd(t *testing.T) {
	g := newGroup(t, 2)
	first, others := g.leader()
	follower := g[others[0]]
	g[first].createApp("blog")
	c := newClone(g[first], "blog")
	one := c.commit(procfile("web: ok\n"))
	c.must("push", "paas", "main")
	g.awaitCopies("blog", "refs/heads/main", one)

	follower.stop()
	repo := filepath.Join(follower.dir, "git", "blog.git")
	packs, err := filepath.Glob(filepath.Join(repo, "objects/pack/*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("no packs: %v", err)
	}
	for _, p := range packs {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
	follower.start()
	two := c.commit(procfile("web: ok\nworker: ok\n"))
	contains(t, c.must("push", "paas", "main"), "v2 is live")
	g.awaitCopies("blog", "refs/heads/main", two)

	g = append(g, g[0].adopt("late"))
	g.awaitCopies("blog", "refs/heads/main", two)

	if err := g[first].client.DestroyApp(t.Context(), "blog", "blog"); err != nil {
		t.Fatal(err)
	}
	g.await("the repository is gone everywhere", func() bool {
		for _, h := range g {
			if _, err := os.Stat(filepath.Join(h.dir, "git", "blog.git")); err == nil {
				return false
			}
		}
		return true
	})
	g[first].createApp("blog")
	if refs := c.refs(); refs != "" {
		t.Errorf("a new app inherits %s", refs)
	}
}

// TestLeadChangesDuringAPush: who lost the lead acknowledges nothing; the branch goes
// where the next leader says that the release went.
func TestLeadChangesDuringAPush(t *testing.T) {
	g := newGroup(t, 3)
	first, others := g.leader()
	g[first].createApp("blog")
	c := newClone(g[others[0]], "blog")
	hash := c.commit(procfile("web: boot gate\n"))
	out := &syncBuffer{}
	push := c.command(t.Context(), out, "push", "paas", "main")
	if err := push.Start(); err != nil {
		t.Fatal(err)
	}
	g.await("the push rolls out", func() bool { return strings.Contains(out.String(), "Rolling out v1") })
	if err := g[first].server.store.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := push.Wait(); err == nil {
		t.Errorf("a server that does not lead acknowledged a push:\n%s", out)
	}
	g.await("another leads", func() bool { now, _ := g[first].server.tenure.now(); return now == nil })
	next, _ := g.leader()
	if refs := c.refs(); refs != "" {
		t.Errorf("the branch moved before its release served: %s", refs)
	}
	for _, h := range g {
		h.agent.release("gate")
	}
	if x := g[next].deployment("blog"); x.State != cluster.DeploymentSucceeded {
		t.Fatalf("the deployment has %s: %+v", x.State, x.Failure)
	}
	contains(t, c.refs(), hash+"\trefs/heads/main")
	contains(t, c.must("push", "paas", "main"), "Everything up-to-date")
	g.awaitCopies("blog", "refs/heads/main", hash)
}

// TestPushWithoutAMajorityIsRefused: and leaves nothing that a later leader serves.
func TestPushWithoutAMajorityIsRefused(t *testing.T) {
	g := newGroup(t, 3)
	first, others := g.leader()
	g[first].createApp("blog")
	c := newClone(g[first], "blog")
	one := c.commit(procfile("web: ok\n"))
	c.must("push", "paas", "main")
	g.awaitCopies("blog", "refs/heads/main", one)
	for _, at := range others {
		g[at].stop()
	}
	c.commit(procfile("web: ok\nworker: ok\n"))
	if out, err := c.git("push", "paas", "main", "main:feature"); err == nil {
		t.Errorf("a push that one of three servers has was acknowledged:\n%s", out)
	}
	for _, at := range others {
		g[at].start()
	}
	g.leader()
	c.retarget(g[others[0]], "blog")
	if refs := c.refs(); strings.Contains(refs, "feature") || !strings.Contains(refs, one+"\trefs/heads/main") {
		t.Errorf("refs:\n%s", refs)
	}
	two := strings.TrimSpace(c.must("rev-parse", "HEAD"))
	contains(t, c.must("push", "paas", "main", "main:feature"), "v2 is live")
	g.awaitCopies("blog", "refs/heads/feature", two)
}

// TestAcknowledgedPushesAreNeverLost with any one server dead, whichever was when.
func TestAcknowledgedPushesAreNeverLost(t *testing.T) {
	g := newGroup(t, 3)
	g[0].listen = g[0].server.Addr().String()
	at, _ := g.leader()
	g[at].createApp("blog")
	c := newClone(g[at], "blog")
	want := map[string]string{}
	for round := range 6 {
		leader, others := g.leader()
		c.retarget(g[others[round%len(others)]], "blog")
		hash := c.commit(map[string]string{"Procfile": "web: ok\n", "round": strings.Repeat("x", round)})
		branch := []string{"main", "feature", "other"}[round%3]
		g.await("the push is acknowledged", func() bool { // an election may come between
			out, err := c.git("push", "-f", "paas", "HEAD:refs/heads/"+branch)
			return err == nil || strings.Contains(out, "nothing left to deploy")
		})
		want["refs/heads/"+branch] = hash
		dead := g[[]int{leader, others[0], others[1]}[(round/2)%3]]
		dead.stop()
		for _, h := range g {
			if h.stop == nil {
				continue
			}
			refs := c.retarget(h, "blog").refs()
			for ref, hash := range want {
				contains(t, refs, hash+"\t"+ref)
			}
		}
		dead.start()
	}
	for ref, hash := range want {
		g.awaitCopies("blog", ref, hash)
	}
}

// TestPacksOfACopyAreBounded: each push adds a pack to every copy.
func TestPacksOfACopyAreBounded(t *testing.T) {
	g := newGroup(t, 2)
	first, others := g.leader()
	g[first].createApp("blog")
	c := newClone(g[first], "blog")
	last := ""
	for range manyPacks + 5 { // no deploy: it is another branch
		last = c.commit(map[string]string{"Procfile": "web: ok\n", "n": last})
		c.must("push", "-q", "paas", "main:feature")
	}
	g.await("the follower has few packs", func() bool {
		packs, err := filepath.Glob(filepath.Join(g[others[0]].dir, "git", "blog.git", "objects", "pack", "*.pack"))
		return err == nil && len(packs) > 0 && len(packs) <= manyPacks
	})
	g.awaitCopies("blog", "refs/heads/feature", last)
}
