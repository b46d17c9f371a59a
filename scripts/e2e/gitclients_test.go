//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
)

// pusher is a program that speaks git's protocol and is not git.
type pusher interface {
	// commit records all of dir on main; amend puts it in the place of the commit
	// before, so that main is no fast-forward any more.
	commit(dir, message string, amend bool)
	// push sends main and returns what the pusher sees and how the client calls the
	// outcome: "" is success.
	push(dir string, force bool) (said, failed string)
}

// access is what a client without the command line's credential helper needs.
type access struct {
	url, token, caFile string
}

// access makes a token for a client of another make.
func (h *host) access(app string) access {
	h.t.Helper()
	var made struct {
		Token string `json:"text"`
	}
	h.into(&made, h.home, "token", "create", "--name", app+"-client", "--ttl", "1h", "--scope", "deploy", "--app", app)
	return access{url: "https://" + h.listen + "/git/" + app + ".git", token: made.Token, caFile: filepath.Join(h.home, "ca", "dev.pem")}
}

// pushesFrom has a client bring an app through what people do with a remote: the
// first push, another on top of it, nothing new, one by force, and one whose
// build is broken. A deploy that was not made is a failed push to the client.
func pushesFrom(t *testing.T, h *host, app string, client func(access) pusher) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), app)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.must(dir, "apps", "create", app, "--no-remote")
	c := client(h.access(app))
	url := "https://" + app + ".localhost/"
	deploys := func(what, text string, amend, force bool) {
		t.Helper()
		h.write(dir, "index.html", text)
		c.commit(dir, what, amend)
		said, failed := c.push(dir, force)
		if failed != "" {
			t.Fatalf("%s: %s\n%s", what, failed, said)
		}
		contains(t, what, said, "-----> Static site detected", "is live")
		h.serves(url, text)
	}
	deploys("first push", "one", false, false)
	deploys("second push", "two", false, false)
	if said, failed := c.push(dir, false); failed != "" || strings.Contains(said, "----->") {
		t.Errorf("nothing new: %s\n%s", failed, said)
	}

	h.write(dir, "index.html", "three")
	c.commit(dir, "another history", true)
	if said, failed := c.push(dir, false); failed == "" {
		t.Errorf("another history was taken without force\n%s", said)
	}
	h.serves(url, "two")
	deploys("force push", "four", true, true)

	h.write(dir, "Dockerfile", "FROM scratch\nCOPY nothing-here /\n")
	c.commit(dir, "broken build", false)
	said, failed := c.push(dir, false)
	contains(t, "what the client calls a broken build", failed, "pre-receive hook declined")
	contains(t, "broken build", said, " !     ", "nothing-here")
	h.serves(url, "four")
}

// TestGoGitPushes: go-git is what tools in Go push with.
func TestGoGitPushes(t *testing.T) {
	h := newHost(t)
	pushesFrom(t, h, "gogit", func(a access) pusher { return &goGit{t: t, access: a} })
}

type goGit struct {
	t testing.TB
	access
	repo *gogit.Repository
}

func (g *goGit) commit(dir, message string, amend bool) {
	g.t.Helper()
	var err error
	if g.repo == nil {
		opts := &gogit.PlainInitOptions{InitOptions: gogit.InitOptions{DefaultBranch: plumbing.Main}}
		if g.repo, err = gogit.PlainInitWithOptions(dir, opts); err != nil {
			g.t.Fatal(err)
		}
	}
	tree, err := g.repo.Worktree()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := tree.AddWithOptions(&gogit.AddOptions{All: true}); err != nil {
		g.t.Fatal(err)
	}
	by := &object.Signature{Name: "Test", Email: "test@example.com", When: time.Now()}
	if _, err := tree.Commit(message, &gogit.CommitOptions{Author: by, Amend: amend}); err != nil {
		g.t.Fatal(err)
	}
}

func (g *goGit) push(_ string, force bool) (said, failed string) {
	g.t.Helper()
	ca, err := os.ReadFile(g.caFile)
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(g.t.Context(), 2*time.Minute)
	defer cancel()
	var progress bytes.Buffer
	remote := gogit.NewRemote(g.repo.Storer, &config.RemoteConfig{Name: "paas", URLs: []string{g.url}})
	err = remote.PushContext(ctx, &gogit.PushOptions{RemoteName: "paas", RefSpecs: []config.RefSpec{"refs/heads/main:refs/heads/main"},
		Auth: &http.BasicAuth{Username: "paas", Password: g.token}, CABundle: ca, Force: force, Progress: &progress})
	if err == nil || err == gogit.NoErrAlreadyUpToDate {
		return progress.String(), ""
	}
	return progress.String(), err.Error()
}
