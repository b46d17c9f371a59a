//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestApps pushes one app of every kind to one host.
func TestApps(t *testing.T) {
	h := newHost(t)
	for _, sample := range []struct{ name, want string }{
		{"static", "static site"}, {"go", "hello from Go"}, {"node", "hello from Node"}, {"python", "hello from Python"},
	} {
		t.Run(sample.name, func(t *testing.T) {
			h.t = t
			dir := h.repo(sample.name)
			h.must(dir, "apps", "create", sample.name+"-app")
			began := time.Now()
			out := h.push(dir)
			h.serves(fmt.Sprintf("https://%s-app.localhost/", sample.name), sample.want)
			t.Logf("push to first 200 in %v\n%s", time.Since(began).Round(10*time.Millisecond), tail(out, 30))
			rebuild(t, h, dir)
		})
	}
	h.t = t
	t.Run("static paths", func(t *testing.T) {
		h.t = t
		h.serves("https://static-app.localhost/about/", "A page in a folder")
		if code, body := h.get("https://static-app.localhost/nothing"); code != 404 || !strings.Contains(body, "No such page here") {
			t.Fatalf("404 page: %d %q", code, body)
		}
	})
	t.Run("processes", func(t *testing.T) { h.t = t; processes(t, h) })
	t.Run("websocket", func(t *testing.T) { h.t = t; webSocket(t, h) })
	t.Run("slow boot", func(t *testing.T) { h.t = t; slowBoot(t, h) })
	t.Run("slow stop", func(t *testing.T) { h.t = t; slowStop(t, h) })
	t.Run("prebuilt image", func(t *testing.T) { h.t = t; prebuilt(t, h) })
	t.Run("archive", func(t *testing.T) { h.t = t; archive(t, h) })
	h.t = t
}

// rebuild pushes the same source again: the layer cache must hold.
func rebuild(t *testing.T, h *host, dir string) {
	h.commit(dir, "Nothing changed")
	began := time.Now()
	h.push(dir)
	t.Logf("unchanged source pushed and rolled out in %v", time.Since(began).Round(10*time.Millisecond))
	var builds []struct {
		CreatedAt  time.Time `json:"created_at"`
		FinishedAt time.Time `json:"finished_at"`
	}
	h.into(&builds, dir, "builds")
	took := builds[0].FinishedAt.Sub(builds[0].CreatedAt)
	t.Logf("its build took %v", took.Round(time.Millisecond))
}

func processes(t *testing.T, h *host) {
	dir := h.repo("probe")
	h.write(dir, "Procfile", "web: /probe\nworker: /probe -deaf\nrelease: /probe env PAAS_PROCESS\n")
	h.commit(dir, "Processes")
	h.must(dir, "apps", "create", "procs")
	contains(t, "push", h.push(dir), "release")
	h.serves("https://procs.localhost/", "instance=web.1")
	h.must(dir, "scale", "worker=2")
	h.await("two workers", 15*time.Second, func() string {
		var ps psList
		h.into(&ps, dir, "ps")
		if ps.healthy("worker") != 2 || ps.healthy("web") != 1 {
			return fmt.Sprintf("%+v", ps)
		}
		return ""
	})
	h.write(dir, "Procfile", "web: /probe\nrelease: /probe exit 9\n")
	h.commit(dir, "Failing release command")
	out, code := h.git(dir, "push", "paas", "main")
	if code == 0 {
		t.Fatalf("a failing release command was accepted:\n%s", out)
	}
	contains(t, "refused push", out, "9")
	h.serves("https://procs.localhost/", "instance=web.1")
}

func webSocket(t *testing.T, h *host) {
	dir := h.repo("probe")
	h.must(dir, "apps", "create", "ws")
	h.push(dir)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "wss://ws.localhost/ws", &websocket.DialOptions{HTTPClient: h.client})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for i := range 3 {
		want := strings.Repeat("x", i*100) + fmt.Sprint(i)
		if err := c.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != want {
			t.Fatalf("echo %d: %q %v", i, got, err)
		}
	}
}

func slowBoot(t *testing.T, h *host) {
	dir := h.repo("probe")
	h.write(dir, "Procfile", "web: /probe -boot 10s\n")
	h.commit(dir, "Boots slowly")
	h.must(dir, "apps", "create", "boots")
	began := time.Now()
	h.push(dir)
	if took := time.Since(began); took < 10*time.Second {
		t.Fatalf("the push ended after %v, before the app could listen", took)
	}
	h.serves("https://boots.localhost/", "version=v1")
}

// slowStop deploys while the old replica lingers 5 s after SIGTERM: no request
// may fail, the push need not wait.
func slowStop(t *testing.T, h *host) {
	dir := h.repo("probe")
	h.write(dir, "Procfile", "web: /probe -linger 5s\n")
	h.commit(dir, "Stops slowly")
	h.must(dir, "apps", "create", "stops")
	h.push(dir)
	stop, failed := make(chan struct{}), make(chan []string, 1)
	go func() {
		var bad []string
		for n := 0; ; n++ {
			select {
			case <-stop:
				t.Logf("%d requests, %d failed", n, len(bad))
				failed <- bad
				return
			default:
			}
			if code, body := h.get("https://stops.localhost/"); code != 200 {
				bad = append(bad, fmt.Sprint(code, body))
			}
		}
	}()
	h.buildProbe(dir, "v2")
	h.commit(dir, "Second")
	h.push(dir)
	h.serves("https://stops.localhost/", "version=v2")
	close(stop)
	if bad := <-failed; len(bad) > 0 {
		t.Fatalf("%d requests failed, first: %s", len(bad), bad[0])
	}
	h.await("the old replica is gone", 15*time.Second, func() string {
		if n := strings.Count(h.containers("stops"), "\n"); n != 1 {
			return fmt.Sprintf("%d containers", n)
		}
		return ""
	})
}

func prebuilt(t *testing.T, h *host) {
	dir := h.repo("probe")
	tag := fmt.Sprintf("paas-e2e-prebuilt:%d", time.Now().UnixNano())
	if out, err := exec.Command("docker", "build", "-q", "-t", tag, dir).CombinedOutput(); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", tag).Run() })
	h.must(dir, "apps", "create", "image")
	h.must(dir, "deploy", "--image", tag)
	h.serves("https://image.localhost/", "version=v1")
}

func archive(t *testing.T, h *host) {
	dir := h.repo("static")
	h.must(h.home, "apps", "create", "folder")
	h.must(h.home, "deploy", dir, "-a", "folder")
	h.serves("https://folder.localhost/", "static site")
}
