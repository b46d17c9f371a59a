//go:build e2e && bench

package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// rounds is how often each measurement is made; the median counts.
const rounds = 3

// TestBenchDeploy measures what people wait for, beside the same by hand. It fails only where something does not work: the figures depend on
// the machine, and are for a person to compare.
func TestBenchDeploy(t *testing.T) {
	h := newHost(t)
	for _, b := range []struct{ app, sample, change, file, dockerfile string }{
		{"scratch", "probe", "https://scratch.localhost/", "note", "FROM scratch\nCOPY . /\nCMD [\"/probe\"]\n"},
		{"static", "static", "https://static.localhost/", "note", "FROM scratch\nCOPY paas /paas\nCOPY . /site\nCMD [\"/paas\", \"serve-static\", \"/site\"]\n"},
	} {
		dir := h.repo(b.sample)
		h.must(dir, "apps", "create", b.app)
		h.push(dir)
		var ours, hand []time.Duration
		for i := range rounds {
			h.write(dir, b.file, fmt.Sprint("round ", i))
			h.commit(dir, "Round")
			began := time.Now()
			out := h.push(dir)
			h.serves(b.change, "")
			ours = append(ours, time.Since(began))
			for line := range strings.Lines(out) {
				if strings.Contains(line, " · ") {
					t.Logf("%s: %s", b.app, strings.TrimSpace(line))
				}
			}
			hand = append(hand, h.byHand(dir, b.dockerfile))
		}
		o, by := percentile(ours, 50), percentile(hand, 50)
		t.Logf("%s: push to first 200 in %v (%v); docker build and run by hand %v (%v); overhead %v (target 1.5s)", b.app, o, ours, by, hand, o-by)
	}
	benchScale(t, h)
	h.signal(syscall.SIGTERM)
	began := time.Now()
	h.start()
	h.await("the app serves again", time.Minute, func() string { return ask(h.client, "https://scratch.localhost/", "version=") })
	t.Logf("restart of the host: serving after %v", time.Since(began))
}

// byHand is how long build, run and the first 200 take without us.
func (h *host) byHand(dir, dockerfile string) time.Duration {
	h.t.Helper()
	src := h.t.TempDir()
	if err := os.CopyFS(src, os.DirFS(dir)); err != nil {
		h.t.Fatal(err)
	}
	_ = os.RemoveAll(filepath.Join(src, ".git"))
	h.write(src, "Dockerfile", dockerfile)
	if strings.Contains(dockerfile, "paas") {
		if err := os.Link(h.bin, filepath.Join(src, "paas")); err != nil {
			copyFile(h, h.bin, filepath.Join(src, "paas"))
		}
	}
	kit := "DOCKER_BUILDKIT=1"
	if exec.Command("docker", "buildx", "version").Run() != nil {
		kit = "DOCKER_BUILDKIT=0" // the command line has only the classic builder then
	}
	docker := func(args ...string) string {
		cmd := exec.Command("docker", args...)
		var errs bytes.Buffer
		cmd.Env, cmd.Stderr = append(os.Environ(), kit), &errs
		out, err := cmd.Output()
		if err != nil {
			h.t.Fatalf("docker %v: %v\n%s", args, err, errs.String())
		}
		return strings.TrimSpace(string(out))
	}
	began := time.Now()
	image := docker("build", "-q", src)
	id := docker("run", "-d", "-e", "PORT=8080", image)
	defer docker("rmi", "-f", image)
	defer docker("rm", "-f", id)
	url := "http://" + docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", id) + ":8080/"
	h.await("the container by hand serves", 30*time.Second, func() string { return ask(http.DefaultClient, url, "") })
	return time.Since(began)
}

func copyFile(h *host, from, to string) {
	h.t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func benchScale(t *testing.T, h *host) {
	began := time.Now()
	h.must(h.home, "scale", "web=10", "-a", "scratch")
	h.await("ten replicas", time.Minute, func() string {
		var ps psList
		h.into(&ps, h.home, "ps", "-a", "scratch")
		if n := ps.healthy("web"); n != 10 {
			return fmt.Sprint(n)
		}
		return ""
	})
	t.Logf("scale from 1 to 10, all healthy: %v", time.Since(began))
	h.must(h.home, "scale", "web=1", "-a", "scratch")
}

// TestBenchDeployIdle measures what the host costs when nothing happens.
func TestBenchDeployIdle(t *testing.T) {
	h := newHost(t)
	pid := h.cmd.Process.Pid
	before, began := cpuOf(t, pid), time.Now()
	<-time.After(20 * time.Second)
	used := cpuOf(t, pid) - before
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	rss := ""
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			rss = strings.TrimSpace(v)
		}
	}
	t.Logf("idle: RSS %s (target 80 MB), CPU %.2f %% (target 0.5)", rss, 100*used.Seconds()/time.Since(began).Seconds())
	info, err := os.Stat(h.bin)
	if err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for range 20 {
		began := time.Now()
		h.must(h.home, "version")
		took = append(took, time.Since(began))
	}
	t.Logf("binary: %d MB (target 60); paas version: median %v, slowest %v (target 60ms)",
		info.Size()/1e6, percentile(took, 50), percentile(took, 100))
}

// cpuOf is the CPU time of a process, user and system.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from the third field on
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// TestBenchDeployAPI reads and writes through the API, alone and with 64 clients.
func TestBenchDeployAPI(t *testing.T) {
	h := newHost(t)
	h.must(h.home, "apps", "create", "static")
	var made struct {
		Token string `json:"text"`
	}
	h.into(&made, h.home, "token", "create", "--name", "bench", "--ttl", "1h", "--scope", "admin")
	ca, err := os.ReadFile(filepath.Join(h.home, "ca", "dev.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 64}}
	call := func(method, body string) {
		req, _ := http.NewRequest(method, "https://"+h.listen+"/v1/apps/static", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+made.Token)
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		said, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("%s: %d %s", method, res.StatusCode, said)
		}
	}
	for name, do := range map[string]func(n int){
		"reads":  func(int) { call(http.MethodGet, "") },
		"writes": func(n int) { call(http.MethodPatch, fmt.Sprintf(`{"deploy_branch":"b%d"}`, n)) },
	} {
		for _, clients := range []int{1, 64} {
			rate, p99 := hammer(t, clients, 5*time.Second, do)
			t.Logf("API %s, %d at once: %.0f/s, p99 %v", name, clients, rate, p99.Round(10*time.Microsecond))
		}
	}
}

// hammer calls do from many goroutines for a while.
func hammer(t *testing.T, clients int, during time.Duration, do func(n int)) (perSecond float64, p99 time.Duration) {
	var mu sync.Mutex
	var took []time.Duration
	var work sync.WaitGroup
	began := time.Now()
	for c := range clients {
		work.Go(func() {
			for n := c; time.Since(began) < during && !t.Failed(); n += clients {
				start := time.Now()
				do(n)
				mu.Lock()
				took = append(took, time.Since(start))
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return float64(len(took)) / time.Since(began).Seconds(), percentile(took, 99)
}
