package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"paas/cluster"
)

// cutOff pushes what boots when its gate is opened, and restarts the server
// meanwhile; the pusher is gone too.
func cutOff(h *host) (c *clone, hash string) {
	h.t.Helper()
	h.createApp("blog")
	c = newClone(h, "blog")
	hash = c.commit(procfile("web: boot gate\n"))
	c.pushUntil("Rolling out v1")
	h.restart()
	c.must("remote", "set-url", "paas", newClone(h, "blog").remote) // the port is another
	return c, hash
}

// git died with the server, and its quarantine with it.
func TestGitBranchFollowsTheReleaseOfAPushThatWasCutOff(t *testing.T) {
	h := newHost(t)
	c, hash := cutOff(h)
	if refs := c.refs(); refs != "" {
		t.Errorf("the branch moved before its release served: %s", refs)
	}
	again := &syncBuffer{}
	second := c.command(t.Context(), again, "push", "paas", "main")
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	h.await("the second push waits", func() bool { return strings.Contains(again.String(), "Waiting for the deployment of v1") })
	h.agent.release("gate")
	if x := h.deployment("blog"); x.State != cluster.DeploymentSucceeded {
		t.Fatalf("the deployment has %s: %+v", x.State, x.Failure)
	}
	if err := second.Wait(); err == nil {
		t.Errorf("the second push deployed the same commit again:\n%s", again)
	}
	contains(t, again.String(), "nothing left to deploy")
	contains(t, c.refs(), hash+"\trefs/heads/main")
	contains(t, c.must("push", "paas", "main"), "Everything up-to-date")
	c.must("clone", "-q", strings.TrimSpace(c.must("remote", "get-url", "paas")), filepath.Join(t.TempDir(), "copy"))
	if builds, _ := h.client.Builds(t.Context(), "blog"); len(builds) != 1 {
		t.Errorf("%d builds, want 1", len(builds))
	}
	c.commit(procfile("web: ok\n"))
	contains(t, c.must("push", "paas", "main"), "v2 is live")
}

func TestGitBranchStaysWithAPushThatWasCutOffAndFailed(t *testing.T) {
	h := newHost(t)
	c, _ := cutOff(h)
	if err := h.client.CancelDeployment(t.Context(), "blog", h.active("blog")); err != nil {
		t.Fatal(err)
	}
	if refs := c.refs(); refs != "" {
		t.Errorf("a release that failed moved the branch: %s", refs)
	}
	c.commit(procfile("web: ok\n"))
	contains(t, c.must("push", "paas", "main"), "v2 is live")
}

func TestKeepObjectsTakesObjectsOnly(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, name := range []string{"pack/pack-0a.pack", "pack/pack-0a.idx", "pack/pack-0a.keep", "pack/tmp_pack_x", "ab/cdef", "ab/tmp_obj_x", "info/alternates"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(from, name), []byte(name), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(from, "ab", "0123")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is there already is no error
		if err := keepObjects(from, to); err != nil {
			t.Fatal(err)
		}
	}
	got, err := filepath.Glob(filepath.Join(to, "*/*"))
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.ReplaceAll(strings.Join(got, " "), to+"/", ""); s != "ab/cdef pack/pack-0a.idx pack/pack-0a.pack" {
		t.Errorf("kept: %s", s)
	}
}
