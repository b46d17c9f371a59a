//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hostile is a host on which builds have little memory and time, and the engine's
// own network; its app "neighbour" is under load.
type hostile struct {
	*host
	neighbour *load
	offered   *canary
	dir       string // of the app "evil"
	before    string // its containers: none
	idle      int    // KiB of paas before all builds
}

func newHostile(t *testing.T, rate int, buildTime time.Duration) *hostile {
	h := placeHost(t)
	offered := newCanary(t)
	h.flags = []string{"--build-memory", "768M", "--build-time", buildTime.String(), "--offer", offered.port}
	t.Cleanup(h.purge)
	h.start()
	quiet := h.repo("probe")
	h.must(quiet, "apps", "create", "neighbour")
	h.push(quiet)
	e := &hostile{host: h, offered: offered, dir: filepath.Join(t.TempDir(), "evil")}
	if err := os.Mkdir(e.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.must(e.dir, "apps", "create", "evil")
	e.before = h.containers("evil")
	e.idle = e.memory("VmRSS")
	e.neighbour = h.load("https://neighbour.localhost/", "instance=web.", rate)
	return e
}

// memory is one of the figures of paas in /proc, in KiB.
func (e *hostile) memory(field string) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.cmd.Process.Pid))
	if err != nil {
		e.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == field+":" {
			n, _ := strconv.Atoi(f[1]) // the kernel's own digits
			return n
		}
	}
	e.t.Fatalf("no %s in\n%s", field, data)
	return 0
}

// during runs one attack and prints what it cost paas and the neighbour.
func (e *hostile) during(name string, attack func(t *testing.T)) {
	e.t.(*testing.T).Run(name, func(t *testing.T) {
		outer := e.t
		e.t = t
		defer func() { e.t = outer }()
		// 5 resets the peak: proc_pid_clear_refs(5).
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", e.cmd.Process.Pid), []byte("5"), 0); err != nil {
			t.Fatal(err)
		}
		rss, mark, began := e.memory("VmRSS"), e.neighbour.mark(), time.Now()
		attack(t)
		e.await("nothing is left", 40*time.Second, func() string { return e.leftovers("evil", e.before) })
		peak := e.memory("VmHWM")
		t.Logf("%s: %v, paas %d MiB before, %d MiB at most; neighbour's p99 %v of %d", name, time.Since(began).Round(10*time.Millisecond), rss>>10, peak>>10,
			e.neighbour.percentile(99, mark).Round(time.Microsecond), e.neighbour.mark()-mark)
		if peak > e.idle+256<<10 {
			t.Errorf("paas took %d MiB, %d before all attacks", peak>>10, e.idle>>10)
		}
	})
}

// fails deploys a Dockerfile and demands that its build fails for a reason.
func (e *hostile) fails(dockerfile string, wants ...string) {
	e.t.Helper()
	e.write(e.dir, "Dockerfile", fmt.Sprintf("%s# %d\n", dockerfile, time.Now().UnixNano()))
	out, errs, code := e.paas(e.dir, "deploy", ".", "-a", "evil", "--progress", "plain")
	e.t.Logf("exit %d\n%s", code, tail(errs, 8))
	if code != 9 {
		e.t.Errorf("exit %d, want 9\n%s", code, out)
	}
	contains(e.t, "what the pusher sees", errs, wants...)
}

func (e *hostile) memoryHog(*testing.T) {
	e.fails("FROM busybox\nRUN date && dd if=/dev/zero of=/dev/null bs=1500M count=1\n", "ran out of memory: 768 MiB")
}

func (e *hostile) endless(*testing.T) {
	e.fails(fmt.Sprintf("FROM busybox\nRUN sleep %d\n", time.Now().UnixNano()%1_000_000+3600), "build took longer than")
}

// canary is a service of the host's on all its addresses.
type canary struct {
	port string
	hits atomic.Int32
}

func newCanary(t *testing.T) *canary {
	own, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	c := &canary{}
	_, c.port, _ = net.SplitHostPort(own.Addr().String())
	go func() {
		_ = http.Serve(own, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.hits.Add(1); _, _ = io.WriteString(w, "internal") }))
	}()
	return c
}

// asking is a shell's words for a request.
func asking(host, port string) string {
	return fmt.Sprintf("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 %s %s; ", host, port)
}

// walls has a step ask for what is not for it, and for what is offered, so that
// a refusal is none of the step's own making. A container of somebody else's on
// the same bridge is answered, before and after.
func (e *hostile) walls(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may write netfilter tables")
	}
	private := newCanary(t)
	const gate = "$(ip route | awk '/default/ {print $3}')"
	others := func() {
		t.Helper()
		before := private.hits.Load()
		out, _ := exec.Command("docker", "run", "--rm", "busybox:latest", "sh", "-c", asking(gate, private.port)).CombinedOutput()
		if private.hits.Load() != before+1 || !strings.HasSuffix(string(out), "internal") {
			t.Errorf("a container of somebody else's is kept out: %s", out)
		}
	}
	others()
	asked := private.hits.Load()
	script := asking(gate, e.offered.port) + asking(gate, private.port) + asking("169.254.169.254", "80")
	for _, a := range hostAddresses(t)[:1] { // the first is no network of a test's, which may go
		script += asking(a, private.port)
	}
	e.fails("FROM busybox\nRUN "+script+"echo; echo asked; exit 1\n", "asked", "exit code: 1")
	if n := private.hits.Load(); n != asked {
		t.Errorf("steps reached the host's own service %d times", n-asked)
	}
	if n := e.offered.hits.Load(); n != 1 {
		t.Errorf("a step reached what is offered %d times", n)
	}
	others()
}

// TestHostileBuilds is the short drill; TestFaultHostileBuilds the long one.
func TestHostileBuilds(t *testing.T) {
	e := newHostile(t, 20, 6*time.Second)
	defer e.neighbour.stop(t)
	e.during("network", e.walls)
	e.during("memory hog", e.memoryHog)
	e.during("build that never ends", e.endless)
}
