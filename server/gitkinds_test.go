package server

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"paas/cluster"
)

// index fills a commit with what no work tree here need hold: one line of
// "MODE HASH\tPATH" each, NUL at the end.
func (c *clone) index(lines ...string) string {
	c.h.t.Helper()
	cmd := c.command(c.h.t.Context(), &syncBuffer{}, "update-index", "-z", "--add", "--index-info")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\x00") + "\x00")
	if err := cmd.Run(); err != nil {
		c.h.t.Fatal(err)
	}
	c.must("commit", "-q", "-m", "index")
	return strings.TrimSpace(c.must("rev-parse", "HEAD"))
}

// A pipeline clones with depth 1 and pushes that to an app that has nothing yet.
func TestGitShallowClonesDeploy(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.createApp("shop")
	c := newClone(h, "blog")
	for i := range 3 {
		c.commit(procfile(fmt.Sprintf("web: ok\n# %d\n", i)))
	}
	c.must("push", "paas", "main")
	shallow := newClone(h, "shop")
	shallow.must("fetch", "-q", "--depth", "1", c.remote, "main")
	shallow.must("reset", "-q", "--hard", "FETCH_HEAD")
	contains(t, shallow.must("push", "paas", "main"), "v1 is live")
	shallow.commit(procfile("web: ok\nworker: ok\n"))
	contains(t, shallow.must("push", "paas", "main"), "v2 is live")
	// What was pushed shallow can be cloned, and pushed to by who has all of it.
	again := filepath.Join(t.TempDir(), "again")
	shallow.must("clone", "-q", shallow.remote, again)
	shallow.must("fetch", "-q", "--unshallow", c.remote, "main")
	shallow.commit(procfile("web: ok\n"))
	contains(t, shallow.must("push", "paas", "main"), "v3 is live")
}

func TestGitForcePushAndTags(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	c.commit(procfile("web: ok\n"))
	c.must("push", "paas", "main")
	c.must("commit", "-q", "--amend", "-m", "rewritten")
	if out, err := c.git("push", "paas", "main"); err == nil {
		t.Fatalf("another history was taken without force:\n%s", out)
	}
	contains(t, c.must("push", "--force", "paas", "main"), "v2 is live")
	c.must("tag", "light")
	c.must("tag", "-a", "-m", "x", "heavy")
	out := c.must("push", "paas", "light", "heavy")
	contains(t, out, "light -> light", "heavy -> heavy", "Tag light is stored, not deployed", "Tag heavy is stored")
	contains(t, c.refs(), "refs/tags/light", "refs/tags/heavy^{}")
	c.must("push", "paas", "--delete", "heavy", "light")
	if strings.Contains(c.refs(), "refs/tags") {
		t.Errorf("tags stayed: %s", c.refs())
	}
	if builds, _ := h.client.Builds(t.Context(), "blog"); len(builds) != 2 {
		t.Errorf("%d builds, want 2", len(builds))
	}
}

// Names that are no UTF-8, paths near 4 KiB, gitlinks and links are data.
func TestGitOddTreesDeploy(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	head := c.commit(procfile("web: ok\n"))
	blob := c.blob("Procfile")
	deep := strings.Repeat(strings.Repeat("d", 200)+"/", 19) + "file" // 3,823 bytes
	c.index("100644 "+blob+"\tcaf\xe9\xff", "100644 "+blob+"\t-rf", "100644 "+blob+"\ta\nb", "100644 "+blob+"\t--upload-pack=touch x",
		"100644 "+blob+"\t"+deep, "160000 "+head+"\tvendor/module")
	contains(t, c.must("push", "paas", "main"), "v1 is live")

	for name, path := range map[string]string{"too deep": strings.Repeat("d/", 150) + "f", "too long": strings.Repeat("n", 300)} {
		before := c.refs()
		c.index("100644 " + blob + "\t" + path)
		out, err := c.git("push", "paas", "main")
		if err == nil || strings.Contains(out, "internal error") || !strings.Contains(out, " !  ") {
			t.Errorf("%s: %v\n%.600s", name, err, out)
		}
		if after := c.refs(); after != before {
			t.Errorf("%s: refs moved", name)
		}
		c.must("reset", "-q", "--soft", "HEAD~1")
		c.must("rm", "-q", "--cached", "--", path)
	}
}

func TestGitSpeaksEveryProtocol(t *testing.T) {
	h := newHost(t)
	for v := range 3 {
		app := cluster.AppName(fmt.Sprintf("blog%d", v))
		h.createApp(app)
		c := newClone(h, app)
		version := fmt.Sprintf("protocol.version=%d", v)
		empty := filepath.Join(t.TempDir(), "empty")
		contains(t, c.must("-c", version, "clone", c.remote, empty), "empty repository")
		hash := c.commit(procfile("web: ok\n"))
		contains(t, c.must("-c", version, "push", "paas", "main"), "v1 is live")
		contains(t, c.must("-c", version, "ls-remote", "paas"), hash)
		copied := filepath.Join(t.TempDir(), "copy")
		c.must("-c", version, "clone", "-q", c.remote, copied)
		if _, err := os.Stat(filepath.Join(copied, "Procfile")); err != nil {
			t.Error(err)
		}
		c.commit(procfile("web: ok\nworker: ok\n"))
		c.must("-c", version, "push", "paas", "main")
		c.must("-c", version, "-C", copied, "fetch", "-q")
	}
}

func TestGitPushOptionsAndEmptyPushesAreRefusedClearly(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	out, err := c.git("push", "paas", "main")
	if err == nil || !strings.Contains(out, "src refspec main does not match any") {
		t.Errorf("nothing to push: %v\n%s", err, out)
	}
	c.commit(procfile("web: ok\n"))
	out, err = c.git("push", "-o", "ci.skip=$(id)", "paas", "main")
	if err == nil || !strings.Contains(out, "does not support push options") {
		t.Errorf("push option: %v\n%s", err, out)
	}
	contains(t, c.must("push", "paas", "main"), "v1 is live")
	c.must("rm", "-q", "Procfile")
	c.must("commit", "-q", "-m", "nothing left")
	if out, err = c.git("push", "paas", "main"); err == nil || !strings.Contains(out, "there is no Procfile") {
		t.Errorf("a tree of nothing: %v\n%s", err, out)
	}
}

// Names of refs that git takes and that mean something to shells or to git.
func TestGitRefNamesAreData(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	c.commit(procfile("web: ok\n"))
	names := []string{"-x", "--upload-pack=x", "$(id)", "`id`", "a;b", "a|b", "a&b", "caf\u00e9", "\u202eevil", "%2e%2e", "'q'", "\"q\"", "a,b", "@", "main.x", "MAIN"}
	push, unpush := []string{"push", "paas"}, []string{"push", "paas"}
	for _, name := range names {
		push, unpush = append(push, "HEAD:refs/heads/"+name), append(unpush, ":refs/heads/"+name)
	}
	if out := c.must(push...); strings.Count(out, "is stored, not deployed") != len(names) {
		t.Errorf("not all are stored:\n%s", out)
	}
	if got := strings.Count(c.refs(), "refs/heads/"); got < len(names) {
		t.Errorf("%d of %d refs are there:\n%s", got, len(names), c.refs())
	}
	contains(t, c.must("push", "paas", "main"), "v1 is live")
	c.must(unpush...)
	if builds, _ := h.client.Builds(t.Context(), "blog"); len(builds) != 1 {
		t.Errorf("%d builds, want 1", len(builds))
	}
}

func TestGitThatCrashesIsToldFromGitThatRefuses(t *testing.T) {
	for signal, want := range map[syscall.Signal]bool{syscall.SIGSEGV: true, syscall.SIGTERM: false} {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil || crashed(cmd) != want {
			t.Errorf("%v: %v, crashed %t, want %t", signal, err, !want, want)
		}
	}
}
