//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

type psList struct {
	Release     int `json:"release"`
	Allocations []struct {
		Instance string `json:"instance"`
		Release  int    `json:"release"`
		Desired  string `json:"desired"`
		Observed struct {
			State string `json:"state"`
		} `json:"observed"`
	} `json:"allocations"`
}

// healthy counts the replicas of a type that run and pass their check.
func (p psList) healthy(process string) (n int) {
	for _, a := range p.Allocations {
		if strings.HasPrefix(a.Instance, process+".") && a.Desired == "run" && a.Observed.State == "healthy" {
			n++
		}
	}
	return n
}

// TestLife is one app from its first push to its end.
func TestLife(t *testing.T) {
	h := newHost(t)
	dir := h.repo("probe")
	h.must(dir, "apps", "create", "life")
	out := h.push(dir)
	contains(t, "push", out, "remote: -----> ", "https://life.localhost")
	url := "https://life.localhost/"
	h.serves(url, "version=v1")

	t.Run("http redirects to https", func(t *testing.T) {
		res, err := h.client.Get("http://life.localhost/a?b=c")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 308 || !strings.HasPrefix(res.Header.Get("Location"), "https://life.localhost") {
			t.Fatalf("got %d to %q", res.StatusCode, res.Header.Get("Location"))
		}
	})
	h.must(dir, "scale", "web=3")
	h.await("three replicas", 20*time.Second, func() string {
		var ps psList
		h.into(&ps, dir, "ps")
		if n := ps.healthy("web"); n != 3 {
			return fmt.Sprintf("%d healthy", n)
		}
		return ""
	})
	h.must(dir, "config", "set", "GREETING=hello there")
	h.serves(url, "greeting=hello there")
	if got := strings.TrimSpace(h.must(dir, "config", "get", "GREETING")); got != "hello there" {
		t.Fatalf("config get: %q", got)
	}
	lifeBrokenPush(t, h, dir, url)
	lifeRollback(t, h, dir, url)
	lifeDomain(t, h, dir)
	lifeCommands(t, h, dir)
	lifeRestart(t, h, url)
	lifeDestroy(t, h, dir)
}

func lifeBrokenPush(t *testing.T, h *host, dir, url string) {
	h.write(dir, "Procfile", "web: /probe -crash 0s\n")
	h.commit(dir, "Break it")
	before, _ := h.git(dir, "ls-remote", "paas", "refs/heads/main")
	began := time.Now()
	out, code := h.git(dir, "push", "paas", "main")
	if code == 0 {
		t.Fatalf("a crashing release was accepted:\n%s", out)
	}
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("the refusal took %v", took)
	}
	contains(t, "refused push", out, "code 3", "cannot find configuration ./config/prod")
	if after, _ := h.git(dir, "ls-remote", "paas", "refs/heads/main"); after != before {
		t.Fatalf("the refused push moved main: %s → %s", before, after)
	}
	h.serves(url, "version=v1")
	h.serves(url, "greeting=hello there")
	if err := os.Remove(filepath.Join(dir, "Procfile")); err != nil {
		t.Fatal(err)
	}
	h.buildProbe(dir, "v2")
	h.commit(dir, "Mend it")
	h.push(dir)
	h.serves(url, "version=v2")
}

func lifeRollback(t *testing.T, h *host, dir, url string) {
	var releases []struct {
		Version int    `json:"version"`
		State   string `json:"state"`
	}
	h.into(&releases, dir, "releases")
	if len(releases) < 4 || releases[0].State != "succeeded" {
		t.Fatalf("releases: %+v", releases)
	}
	h.must(dir, "rollback", "v1", "--yes")
	h.serves(url, "version=v1")
	if _, body := h.get(url); strings.Contains(body, "hello there") {
		t.Fatalf("rollback to v1 kept the config that came later: %s", body)
	}
}

func lifeDomain(t *testing.T, h *host, dir string) {
	if code, _ := h.get("https://shop.test/"); code == 200 {
		t.Fatal("a host that nobody added answers")
	}
	h.must(dir, "domains", "add", "shop.test")
	h.await("shop.test serves", 30*time.Second, func() string {
		if code, body := h.get("https://shop.test/"); code != 200 {
			return body
		}
		return ""
	})
	h.must(dir, "domains", "remove", "shop.test")
	h.await("shop.test is gone", 30*time.Second, func() string {
		if code, body := h.get("https://shop.test/"); code == 200 {
			return body
		}
		return ""
	})
}

func lifeCommands(t *testing.T, h *host, dir string) {
	if out, errs, code := h.paas(dir, "run", "--", "/probe", "exit", "7"); code != 7 {
		t.Fatalf("run exit 7: %d\n%s%s", code, out, errs)
	}
	if out, _, code := h.run(dir, "through the pipe", h.bin, "run", "/probe", "cat"); code != 0 || out != "through the pipe" {
		t.Fatalf("run cat: %d %q", code, out)
	}
	out, errs, code := h.paas(dir, "exec", "web.1", "--", "/probe", "env", "PAAS_INSTANCE")
	if code != 0 || strings.TrimSpace(out) != "web.1" {
		t.Fatalf("exec: %d %q %s", code, out, errs)
	}
	contains(t, "logs", h.must(dir, "logs", "-n", "50"), "probe listening on")
	contains(t, "events", h.must(dir, "events"), "release")
	contains(t, "builds", h.must(dir, "builds"), "succeeded")
}

// lifeRestart kills the process that is server, agent and router at once.
func lifeRestart(t *testing.T, h *host, url string) {
	before := h.containers("life")
	h.signal(syscall.SIGKILL)
	began := time.Now()
	h.start()
	h.await("the app serves again", 10*time.Second, func() string {
		if code, body := h.get(url); code != 200 {
			return body
		}
		return ""
	})
	t.Logf("serving %v after kill -9 and start", time.Since(began).Round(time.Millisecond))
	if after := h.containers("life"); after != before {
		t.Fatalf("containers changed:\n%s→\n%s", before, after)
	}
}

func lifeDestroy(t *testing.T, h *host, dir string) {
	other := h.repo("static")
	h.must(other, "apps", "create", "other")
	h.push(other)
	kept := h.containers("other")
	if _, _, code := h.paas(dir, "apps", "destroy", "-a", "life"); code != 2 {
		t.Fatalf("destroy without --confirm: exit %d, want 2", code)
	}
	h.must(dir, "apps", "destroy", "-a", "life", "--confirm", "life")
	if left := h.containers("life"); left != "" {
		t.Fatalf("containers left: %s", left)
	}
	if code, _ := h.get("https://life.localhost/"); code == 200 {
		t.Fatal("a destroyed app answers")
	}
	if _, err := os.Stat(filepath.Join(h.data, "git", "life.git")); err == nil {
		t.Fatal("the destroyed app's git repository is still there")
	}
	if now := h.containers("other"); now != kept {
		t.Fatalf("destroying life touched other:\n%s→\n%s", kept, now)
	}
	h.serves("https://other.localhost/", "static site")
}
