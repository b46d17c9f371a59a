//go:build docker

package builder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
)

// harness is a running Builder of a cluster of its own.
type harness struct {
	*Builder
	id cluster.ClusterID
}

// newHarness starts a Builder and purges what it made when the test ends.
func newHarness(t *testing.T, change func(*Config)) *harness {
	t.Helper()
	c := Config{Dir: t.TempDir(), Cluster: cluster.ClusterID(identity.NewID()), Binary: os.Getenv("PAAS_BINARY")}
	if change != nil {
		change(&c)
	}
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		if err := Purge(context.Background(), c.Cluster, b.Endpoint().Address); err != nil {
			t.Errorf("purge: %v", err)
		}
		if left := docker(t, "images", "-q", "--filter", "label="+labelCluster+"="+string(c.Cluster)); left != "" {
			t.Errorf("images left after purge: %s", left)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return &harness{b, c.Cluster}
}

// build builds a tree of files for app "blog" and returns result and log.
func (h *harness) build(t *testing.T, files map[string]string) (*Result, string, error) {
	t.Helper()
	return h.buildDir(t, writeTree(t, files))
}

func (h *harness) buildDir(t *testing.T, dir string) (*Result, string, error) {
	t.Helper()
	var log bytes.Buffer
	began := time.Now()
	res, err := h.Build(t.Context(), Request{App: "blog", Dir: dir, Log: &log})
	t.Logf("built in %v, error %v\n%s", time.Since(began).Round(time.Millisecond), err, log.String())
	return res, log.String(), err
}

// must fails the test when the build does.
func (h *harness) must(t *testing.T, files map[string]string) *Result {
	t.Helper()
	res, _, err := h.build(t, files)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// serves runs the result's web process as an agent would and fetches path.
func (h *harness) serves(t *testing.T, res *Result, path, want string) {
	t.Helper()
	web := res.Processes[cluster.ProcessWeb]
	name := "paas-builder-test-" + identity.NewID()
	args := []string{"run", "-d", "--name", name, "--label", labelCluster + "=" + string(h.id), "-e", fmt.Sprintf("PORT=%d", web.Port)}
	if len(web.Command) > 0 && !web.KeepEntrypoint {
		args = append(args, "--entrypoint", web.Command[0])
		web.Command = web.Command[1:]
	}
	args = append(args, h.Endpoint().Address+"/"+res.Image.Repository+"@"+res.Image.Digest)
	docker(t, append(args, web.Command...)...)
	defer docker(t, "rm", "-f", name)
	ip := docker(t, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)
	url := "http://" + net.JoinHostPort(ip, fmt.Sprint(web.Port)) + path
	got := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil {
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got = string(body); strings.Contains(got, want) {
			stops(t, name)
			return
		}
	}
	t.Fatalf("GET %s: got %q, want %q\n%s", url, got, want, docker(t, "logs", name))
}

// stops checks that SIGTERM reaches the process: it ends long before SIGKILL.
func stops(t *testing.T, name string) {
	t.Helper()
	began := time.Now()
	docker(t, "stop", "-t", "20", name)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the process needed %v to stop: SIGTERM did not reach it", took)
	}
}

// docker runs the engine's own client: what it says is the outside view.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// writeTree writes files into a new folder.
func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
