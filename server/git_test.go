package server

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
)

// clone is a git work tree that pushes to a host with the real git.
type clone struct {
	h      *host
	dir    string
	remote string
	env    []string
}

func newClone(h *host, app cluster.AppName) *clone {
	h.t.Helper()
	dir := h.t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, []byte(h.server.CAPEM()), 0o600); err != nil {
		h.t.Fatal(err)
	}
	c := &clone{h: h, dir: filepath.Join(dir, "tree"), remote: "https://paas:" + h.token + "@" + h.server.Addr().String() + "/git/" + string(app) + ".git",
		env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_SSL_CAINFO=" + ca, "GIT_TERMINAL_PROMPT=0",
			"GIT_AUTHOR_NAME=T", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=T", "GIT_COMMITTER_EMAIL=t@example.com"}}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		h.t.Fatal(err)
	}
	c.must("init", "-q", "-b", "main")
	c.must("remote", "add", "paas", c.remote)
	return c
}

func (c *clone) command(ctx context.Context, out *syncBuffer, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, out, out
	return cmd
}

func (c *clone) git(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(c.h.t.Context(), 30*time.Second)
	defer cancel()
	out := &syncBuffer{}
	err := c.command(ctx, out, args...).Run()
	return out.String(), err
}

func (c *clone) must(args ...string) string {
	c.h.t.Helper()
	out, err := c.git(args...)
	if err != nil {
		c.h.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return out
}

func (c *clone) blob(name string) string {
	c.h.t.Helper()
	return strings.TrimSpace(c.must("rev-parse", "HEAD:"+name))
}

func (c *clone) commit(files map[string]string) string {
	c.h.t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			c.h.t.Fatal(err)
		}
	}
	c.must("add", "-A")
	c.must("commit", "-q", "--allow-empty", "-m", "change")
	return strings.TrimSpace(c.must("rev-parse", "HEAD"))
}

// refs is what the server has.
func (c *clone) refs() string {
	c.h.t.Helper()
	return c.must("ls-remote", "paas")
}

func TestGitPushDeploys(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	hash := c.commit(procfile("web: ok\n"))
	out := c.must("push", "paas", "main")
	contains(t, out, "remote: -----> Stub app detected", "remote:        compiling blog", "remote: -----> v1 is live", "https://blog.localhost:8443")
	if strings.Contains(out, "\x1b[31m") {
		t.Error("the build's escape sequences reach the pusher")
	}
	contains(t, c.refs(), hash+"\trefs/heads/main")
	rel, err := h.client.Release(t.Context(), "blog", 1)
	if err != nil || rel.Commit != hash || rel.Description != "Deploy "+hash[:7] {
		t.Errorf("release: %+v %v", rel, err)
	}
	// Fetching works too, with what was pushed.
	copied := filepath.Join(t.TempDir(), "copy")
	c.must("clone", "-q", c.remote, copied)
	if _, err := os.Stat(filepath.Join(copied, "Procfile")); err != nil {
		t.Error(err)
	}
}

func TestGitPushIsRefusedWithTheDeploy(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	c.commit(procfile("web: ok\n"))
	c.must("push", "paas", "main")
	before := c.refs()
	for _, bad := range []struct {
		files map[string]string
		says  []string
	}{
		{map[string]string{"build": "fail"}, []string{"the app was not built", "main.go:3: syntax error"}},
		{map[string]string{"Procfile": "web: crash 3\n", "build": ""}, []string{"code 3", "cannot find module ./config/prod", "v1 still serves"}},
	} {
		c.commit(bad.files)
		out, err := c.git("push", "paas", "main")
		if err == nil {
			t.Fatalf("accepted:\n%s", out)
		}
		contains(t, out, append(bad.says, "remote rejected", "pre-receive hook declined")...)
	}
	if after := c.refs(); after != before {
		t.Errorf("a refused push changed refs:\n%s→\n%s", before, after)
	}
	left, _ := filepath.Glob(filepath.Join(h.dir, "git/blog.git/objects/tmp_objdir*"))
	if len(left) > 0 {
		t.Errorf("quarantine left: %v", left)
	}
}

func TestGitOtherRefsAreStored(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	c.commit(procfile("web: ok\n"))
	out := c.must("push", "paas", "main:feature")
	contains(t, out, "feature is stored, not deployed", "main and master", "git push paas feature:main")
	c.must("tag", "v1.0")
	c.must("push", "paas", "v1.0")
	if builds, err := h.client.Builds(t.Context(), "blog"); err != nil || len(builds) != 0 {
		t.Fatalf("something was built: %+v %v", builds, err)
	}
	out = c.must("push", "paas", "main", "main:other", "main:master")
	contains(t, out, "v1 is live", "other is stored", "master is stored")
	if builds, err := h.client.Builds(t.Context(), "blog"); err != nil || len(builds) != 1 {
		t.Fatalf("one push made %d builds (%v)", len(builds), err)
	}
	out, err := c.git("push", "paas", "--delete", "main")
	if err == nil {
		t.Fatalf("the deploy branch was deleted\n%s", out)
	}
	contains(t, out, "branch main cannot be deleted")
	c.must("push", "paas", "--delete", "feature")
}

// What git refuses after its hook would be live and yet rejected.
func TestGitRefusesBeforeTheDeploy(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	c.commit(procfile("web: ok\n"))
	c.must("tag", "-a", "-m", "x", "note")
	refused := func(why string, args ...string) {
		t.Helper()
		out, err := c.git(append([]string{"push", "paas"}, args...)...)
		if err == nil {
			t.Fatalf("pushed %v:\n%s", args, out)
		}
		contains(t, out, "the push was not deployed", why)
		if strings.Contains(out, "is live") {
			t.Errorf("deployed, then refused:\n%s", out)
		}
	}
	refused("non-commit", "note:refs/heads/main")
	refused("non-commit", "HEAD:refs/heads/other", c.blob("Procfile")+":refs/heads/main")
	refused("refs/heads/main/x", "HEAD:refs/heads/main/x", "HEAD:refs/heads/main")
	c.must("push", "paas", "HEAD:refs/heads/main/x")
	refused("refs/heads/main/x", "main")
	c.must("push", "paas", ":refs/heads/main/x")

	// A power cut left a lock.
	lock := filepath.Join(h.dir, "git", "blog.git", "refs", "heads", "main.lock")
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("refs/heads/main.lock", "main") // the end of which takes it along
	contains(t, c.must("push", "paas", "main"), "v1 is live")
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.restart()
	c.must("remote", "set-url", "paas", newClone(h, "blog").remote) // the port is another
	c.commit(procfile("web: ok\nworker: ok\n"))
	contains(t, c.must("-c", "http.sslVerify=false", "push", "paas", "main"), "v2 is live")
}

// A replaced object must not put other content under the commit that is deployed.
func TestGitReplacementsAreIgnored(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	good := c.commit(procfile("web: ok\n"))
	evil := c.commit(procfile("web: crash 3\n"))
	c.must("push", "paas", evil+":refs/heads/other", evil+":refs/replace/"+good)
	contains(t, c.must("push", "paas", good+":refs/heads/main"), "v1 is live")
}

func TestGitPushesWait(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	c.commit(procfile("web: ok\n"))
	c.must("push", "paas", "main")
	c.commit(procfile("web: boot gate\n"))
	first, second := &syncBuffer{}, &syncBuffer{}
	var wg sync.WaitGroup
	var firstErr, secondErr error
	wg.Go(func() { firstErr = c.command(t.Context(), first, "push", "paas", "main").Run() })
	h.await("the first rolls out", func() bool { return strings.Contains(first.String(), "Rolling out v1 → v2") })
	other := newClone(h, "blog")
	other.must("fetch", "-q", "paas")
	other.must("reset", "-q", "--hard", "paas/main")
	other.commit(procfile("web: ok\nworker: ok\n"))
	wg.Go(func() { secondErr = other.command(t.Context(), second, "push", "paas", "main").Run() })
	h.await("the second waits", func() bool { return strings.Contains(second.String(), "Waiting for a deploy by tester") })
	h.agent.release("gate")
	wg.Wait()
	if firstErr != nil {
		t.Errorf("first: %v\n%s", firstErr, first)
	}
	// The branch moved under it: it is told before anything is built.
	if secondErr == nil {
		t.Errorf("second: accepted\n%s", second)
	}
	contains(t, second.String(), "main moved to", "fetch, merge, and push again")
	if builds, _ := h.client.Builds(t.Context(), "blog"); len(builds) != 2 {
		t.Errorf("%d builds, want 2", len(builds))
	}
}

func TestGitHangUpCancels(t *testing.T) {
	h := newHost(t)
	h.images.building = make(chan string, 1)
	h.createApp("blog")
	c := newClone(h, "blog")
	c.commit(map[string]string{"Procfile": "web: ok\n", "build": "wait"})
	out := &syncBuffer{}
	push := c.command(t.Context(), out, "push", "paas", "main")
	push.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := push.Start(); err != nil {
		t.Fatal(err)
	}
	<-h.images.building
	if err := syscall.Kill(-push.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = push.Wait()
	h.await("the build is cancelled", func() bool {
		builds, err := h.client.Builds(t.Context(), "blog")
		return err == nil && builds[0].State == cluster.BuildCancelled
	})
	h.await("the push is forgotten", func() bool { return h.pushes() == 0 })
	if left, _ := filepath.Glob(filepath.Join(h.dir, "git/blog.git/objects/tmp_objdir*")); len(left) > 0 {
		t.Errorf("quarantine left: %v", left)
	}
	if refs := c.refs(); refs != "" {
		t.Errorf("refs: %s", refs)
	}
}

// pushUntil begins a push, waits until it says what, and hangs up.
func (c *clone) pushUntil(what string) {
	c.h.t.Helper()
	out := &syncBuffer{}
	push := c.command(c.h.t.Context(), out, "push", "paas", "main")
	push.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := push.Start(); err != nil {
		c.h.t.Fatal(err)
	}
	c.h.await("the push says "+what, func() bool { return strings.Contains(out.String(), what) })
	if err := syscall.Kill(-push.Process.Pid, syscall.SIGKILL); err != nil {
		c.h.t.Fatal(err)
	}
	_ = push.Wait()
}

// pushes counts those that the server has not done with.
func (h *host) pushes() int {
	g := h.server.hooks.git
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.pushes)
}

// deployment awaits the end of the app's newest deployment and returns it.
func (h *host) deployment(app cluster.AppName) *cluster.Deployment {
	h.t.Helper()
	var last *cluster.Deployment
	h.await("the deployment ends", func() bool {
		for x := range h.server.store.State().Deployments(app) {
			last = x
		}
		return last != nil && last.State.Ended()
	})
	return last
}

func TestGitHangUpAfterTheReleaseMovesTheBranch(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	hash := c.commit(procfile("web: boot gate\n"))
	c.pushUntil("Rolling out v1")
	again := &syncBuffer{}
	second := c.command(t.Context(), again, "push", "paas", "main")
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	h.await("the second push waits for the first", func() bool { return strings.Contains(again.String(), "Waiting for a deploy by tester") })
	h.agent.release("gate")
	if x := h.deployment("blog"); x.State != cluster.DeploymentSucceeded {
		t.Fatalf("the deployment has %s: %+v", x.State, x.Failure)
	}
	if err := second.Wait(); err == nil {
		t.Errorf("the second push deployed the same commit again:\n%s", again)
	}
	contains(t, again.String(), "nothing left to deploy", "an earlier push brought "+hash[:7]+" to main")
	h.await("the pushes are over", func() bool { return h.pushes() == 0 })
	contains(t, c.refs(), hash+"\trefs/heads/main")
	contains(t, c.must("push", "paas", "main"), "Everything up-to-date")
	if builds, _ := h.client.Builds(t.Context(), "blog"); len(builds) != 1 {
		t.Errorf("%d builds, want 1", len(builds))
	}
}

func TestGitHangUpAfterTheReleaseRefusesWithTheDeploy(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	c.commit(procfile("web: ok\n"))
	c.must("push", "paas", "main")
	before := c.refs()
	c.commit(procfile("web: boot gate\n"))
	c.pushUntil("Rolling out v1 → v2")
	if err := h.client.CancelDeployment(t.Context(), "blog", h.active("blog")); err != nil {
		t.Fatal(err)
	}
	h.await("the push is over", func() bool { return h.pushes() == 0 })
	if after := c.refs(); after != before {
		t.Errorf("a deployment that was reverted moved the branch:\n%s→\n%s", before, after)
	}
}

// active is the app's deployment under way.
func (h *host) active(app cluster.AppName) cluster.DeploymentID {
	h.t.Helper()
	x := h.server.store.State().ActiveDeployment(app)
	if x == nil {
		h.t.Fatal("no deployment is under way")
	}
	return x.ID
}

func TestGitRefusals(t *testing.T) {
	h := newHost(t)
	c := newClone(h, "blgo")
	c.commit(procfile("web: ok\n"))
	out, err := c.git("push", "paas", "main")
	if err == nil {
		t.Fatal("pushed to no app")
	}
	contains(t, out, "no app", "paas apps create blgo")
	h.createApp("blog")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: identity.PinnedConfig(h.server.CAPEM())}}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/git/blog.git/info/refs?service=git-upload-archive", "/git/blog.git/HEAD", "/git/../seal.key",
		"/git/blog.git/objects/info/packs", "/git/blog.git/config"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+h.server.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("paas", h.token)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, _ = body.ReadFrom(res.Body)
		_ = res.Body.Close()
		if res.StatusCode < 400 {
			t.Errorf("%s: %d %s", path, res.StatusCode, &body)
		}
	}
}

func TestGitHookOutsideOfPaas(t *testing.T) {
	var out bytes.Buffer
	if code := GitHook([]string{"pre-receive"}, strings.NewReader(""), &out); code != 1 {
		t.Errorf("exit %d", code)
	}
	contains(t, out.String(), "through paas only")
	if code := GitHook([]string{"update"}, strings.NewReader(""), &out); code != 1 {
		t.Errorf("exit %d", code)
	}
}
