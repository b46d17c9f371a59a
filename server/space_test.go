package server

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"paas/api"
	"paas/cluster"
	"paas/store"
)

// disk is a file system of 100 GB with so much free.
func disk(freeGB int64) []cluster.Space {
	return []cluster.Space{{Path: "/var/lib/paas", TotalBytes: 100 << 30, FreeBytes: freeGB << 30}}
}

// measured is what the host's agent says of its disk.
func (h *host) measured(freeGB int64) {
	h.server.Measured(disk(freeGB))
}

// diskEvents are the audit's lines of disks.
func (h *host) diskEvents() (actions []string) {
	for e := range h.server.store.State().EventsSince(0) {
		if strings.HasPrefix(e.Action, "disk.") {
			actions = append(actions, e.Action)
		}
	}
	return actions
}

func (h *host) awaitEvents(want ...string) {
	h.t.Helper()
	h.await("events "+strings.Join(want, " "), func() bool { return strings.Join(h.diskEvents(), " ") == strings.Join(want, " ") })
}

func TestFullDiskRefusesBuildsWithTheNumberAndHeals(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.mustDeploy("blog", map[string]string{"Procfile": "web: ok"})

	h.measured(15)
	h.awaitEvents("disk.tight")
	h.await("caches are trimmed", func() bool { h.images.mu.Lock(); defer h.images.mu.Unlock(); return h.images.trimmed == 1 })
	h.mustDeploy("blog", map[string]string{"Procfile": "web: ok", "a": "1"}) // tight is no reason to refuse

	h.measured(7)
	h.awaitEvents("disk.tight", "disk.full")
	_, _, err := h.deploy("blog", map[string]string{"Procfile": "web: ok", "a": "2"})
	if cluster.KindOf(err) != cluster.KindUnplaceable || !strings.Contains(err.Error(), "93% full (7.0 of 100.0 GB free)") ||
		!strings.Contains(err.Error(), "/var/lib/paas") {
		t.Errorf("deploy on a full disk: got %v", err)
	}
	s, err := h.client.Status(t.Context())
	if err != nil || len(s.LowSpace) != 1 || s.LowSpace[0].Node != "node-1" || s.LowSpace[0].Level != cluster.SpaceFull {
		t.Errorf("status: got %+v, %v", s, err)
	}
	nodes, err := h.client.Nodes(t.Context())
	if err != nil || len(nodes) != 1 || len(nodes[0].Space) != 1 || nodes[0].Space[0].Percent() != 93 {
		t.Errorf("nodes: got %+v, %v", nodes, err)
	}
	h.measured(7) // no news: nothing is said twice

	h.measured(60)
	h.awaitEvents("disk.tight", "disk.full", "disk.ample")
	h.mustDeploy("blog", map[string]string{"Procfile": "web: ok", "a": "3"})
	if s, err := h.client.Status(t.Context()); err != nil || len(s.LowSpace) != 0 {
		t.Errorf("status after: got %+v, %v", s, err)
	}
	if n := strings.Count(h.log.String(), "nothing is built until it is freed"); n != 1 {
		t.Errorf("the log tells %d times of the full disk", n)
	}
}

// TestFollowerTrimsItsOwnDisk: whoever leads has nothing to do with it.
func TestFollowerTrimsItsOwnDisk(t *testing.T) {
	g := newGroup(t, 3)
	at, others := g.leader()
	full, idle := g[others[0]], g[others[1]]
	trims := func(h *host) int { h.images.mu.Lock(); defer h.images.mu.Unlock(); return h.images.trimmed }
	full.measured(15)
	g.await("the follower trims itself", func() bool { return trims(full) == 1 })
	full.measured(5)
	full.measured(5) // no news
	if trims(g[at]) != 0 || trims(idle) != 0 {
		t.Errorf("servers with room were trimmed, too: %d and %d times", trims(g[at]), trims(idle))
	}
}

func TestFullDiskStopsTheBuildUnderWay(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.images.building = make(chan string, 1)
	failed := make(chan error, 1)
	go func() {
		_, _, err := h.deploy("blog", map[string]string{"Procfile": "web: ok", "build": "wait"})
		failed <- err
	}()
	<-h.images.building
	h.measured(4)
	err := <-failed
	if cluster.KindOf(err) != cluster.KindUnplaceable || !strings.Contains(err.Error(), "96% full") {
		t.Errorf("got %v", err)
	}
	for b := range h.server.store.State().Builds("blog") {
		if b.State != cluster.BuildFailed || !strings.Contains(b.Failure, "96% full") {
			t.Errorf("build: got %s, %q", b.State, b.Failure)
		}
	}
}

func TestPushIsRefusedBeforeAnythingIsSent(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.measured(2)
	for _, path := range []string{"info/refs?service=git-receive-pack", "info/refs?service=git-upload-pack"} {
		status, body := h.askGit(path)
		if strings.Contains(path, "upload") {
			if status != 200 {
				t.Errorf("fetch: got %d %q", status, body)
			}
		} else if status != api.StatusOf(cluster.KindUnplaceable) || !strings.Contains(body, "98% full") || !strings.Contains(body, "docker builder prune") {
			t.Errorf("push: got %d %q", status, body)
		}
	}
}

func TestTrimKeepsTheNewestLogsAndSourcesInUse(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	d := h.server.hooks.git.deployer
	var ids []cluster.BuildID
	for range keptLogs + 2 {
		out, err := d.startBuild(t.Context(), job{app: "blog"})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.dir, "builds", buildLogName(out.Build)), []byte(strings.Repeat("output\n", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := h.server.store.Propose(t.Context(), store.FinishBuild{By: platform(), ID: out.Build, State: cluster.BuildFailed, Failure: "x"}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, out.Build)
	}
	used, err := d.sourceDir()
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(h.dir, "tmp", "source-left")
	if err := os.MkdirAll(filepath.Join(left, "deep"), 0o500); err != nil {
		t.Fatal(err)
	}
	k := &keeper{control: h.server.control, deployer: d, git: h.server.hooks.git}
	for range 2 { // a second round changes nothing
		if err := k.trim(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i, id := range ids {
		data, err := os.ReadFile(filepath.Join(h.dir, "builds", buildLogName(id)))
		if trimmed := string(data) == trimmedLog; err != nil || trimmed != (i < 2) {
			t.Errorf("log %d of %d: trimmed %v, %v", i, len(ids), trimmed, err)
		}
	}
	if _, err := os.Stat(used); err != nil {
		t.Errorf("a source in use is gone: %v", err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("a source that nobody uses is still there")
	}
}

// askGit makes one request as git does.
func (h *host) askGit(path string) (int, string) {
	h.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/git/blog.git/"+path, nil)
	w := httptest.NewRecorder()
	h.server.hooks.git.ServeHTTP(w, r.WithContext(api.WithActor(r.Context(), api.Actor{Name: "tester"})))
	return w.Code, w.Body.String()
}
