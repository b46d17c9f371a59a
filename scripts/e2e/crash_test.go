//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"paas/cluster"
)

// TestCrash kills paas in the middle of one operation of each kind.
func TestCrash(t *testing.T) {
	c := newCrash(t, 10*time.Second)
	for _, kind := range []string{"push", "config", "scale", "rollback"} {
		c.round(kind)
	}
	c.report()
}

// crash is a drill: paas is killed at random moments of what is done to one app,
// while another one runs and is given domains. It knows what was acknowledged.
type crash struct {
	h         *host
	rng       *rand.Rand
	busy      string // work tree of the app that things are done to
	calm      string // containers of the app that nothing is done to
	readyIn   time.Duration
	span      time.Duration // of a push, when nothing happens
	rounds    int
	acked     int
	completed int
	ready     []time.Duration
	settled   []time.Duration

	main     string // commit
	web      int
	greeting string
	releases map[int]string // succeeded ones, and their greeting
	domains  []string
}

const (
	busyApp = "busy"
	calmApp = "calm"
)

// newCrash begins with two apps of two replicas.
func newCrash(t *testing.T, readyIn time.Duration) *crash {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("PAAS_FAULT_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatalf("PAAS_FAULT_SEED: %v", err)
		}
	}
	t.Logf("PAAS_FAULT_SEED=%d", seed)
	h := newHost(t)
	c := &crash{h: h, rng: rand.New(rand.NewPCG(seed, 0)), readyIn: readyIn, web: 2, releases: map[int]string{}}
	calm := h.repo("static")
	h.must(calm, "apps", "create", calmApp)
	h.push(calm)
	h.must(calm, "scale", "web=2")
	c.calm = h.containers(calmApp)
	c.busy = h.repo("probe")
	h.must(c.busy, "apps", "create", busyApp)
	began := time.Now()
	h.push(c.busy)
	c.span = time.Since(began)
	h.must(c.busy, "scale", "web=2")
	c.main, c.greeting = c.head(), "none"
	h.must(c.busy, "config", "set", "GREETING="+c.greeting)
	c.remember(c.export())
	return c
}

func (c *crash) commit(note string) {
	c.h.write(c.busy, "note", note)
	c.h.commit(c.busy, "Note "+note)
}

func (c *crash) head() string {
	out, _ := c.h.git(c.busy, "rev-parse", "HEAD")
	return strings.TrimSpace(out)
}

func (c *crash) export() *cluster.Snapshot {
	c.h.t.Helper()
	var s cluster.Snapshot
	if err := json.Unmarshal([]byte(c.h.must(c.h.home, "cluster", "export")), &s); err != nil {
		c.h.t.Fatal(err)
	}
	return &s
}

// remember takes what is there as known.
func (c *crash) remember(s *cluster.Snapshot) {
	c.h.t.Helper()
	app := appOf(c.h.t, s, busyApp)
	c.web = app.Quantity("web")
	c.greeting = strings.TrimSpace(c.h.must(c.busy, "config", "get", "GREETING"))
	c.releases[int(app.Current)] = c.greeting
}

func appOf(t testing.TB, s *cluster.Snapshot, name cluster.AppName) cluster.App {
	t.Helper()
	for _, a := range s.Apps {
		if a.Name == name {
			return a
		}
	}
	t.Fatalf("app %s is lost", name)
	return cluster.App{}
}

// deed is one operation: what it does if it is done.
type deed struct {
	program  string
	args     []string
	main     string
	web      int
	greeting string
}

// deed makes an operation that changes something.
func (c *crash) deed(kind string) deed {
	c.h.t.Helper()
	d := deed{program: c.h.bin, main: c.main, web: c.web, greeting: c.greeting}
	switch kind {
	case "push":
		c.commit(fmt.Sprintf("round %d", c.rounds))
		d.program, d.args, d.main = "git", []string{"push", "paas", "main"}, c.head()
	case "config":
		d.greeting = fmt.Sprintf("round-%d", c.rounds)
		d.args = []string{"config", "set", "GREETING=" + d.greeting}
	case "scale":
		d.web = 1 + c.web%3
		d.args = []string{"scale", fmt.Sprintf("web=%d", d.web)}
	case "rollback":
		current := int(appOf(c.h.t, c.export(), busyApp).Current)
		var to []int
		for v := range c.releases {
			if v != current && v > current-15 { // old ones are pruned
				to = append(to, v)
			}
		}
		if len(to) == 0 {
			return c.deed("config")
		}
		slices.Sort(to)
		v := to[c.rng.IntN(len(to))]
		d.greeting, d.args = c.releases[v], []string{"rollback", fmt.Sprintf("v%d", v), "--yes"}
	}
	return d
}

// round kills paas at a random moment of a deed, starts it again, and compares.
func (c *crash) round(kind string) {
	h := c.h
	h.t.Helper()
	c.rounds++
	d := c.deed(kind)
	after := time.Duration(c.rng.Float64() * 2 * float64(c.span))
	said, code, done := "", 0, make(chan struct{})
	go func() {
		defer close(done)
		var out, errs string
		out, errs, code = h.run(c.busy, "", d.program, d.args...)
		said = out + errs
	}()
	var over atomic.Bool
	domains := make(chan []string, 1)
	go func() { domains <- c.addDomains(&over) }()
	launched := time.Now()
	select {
	case <-time.After(after):
	case <-done: // what has just been acknowledged is the next thing to lose
	}
	after = time.Since(launched)
	over.Store(true)
	h.signal(syscall.SIGKILL)
	<-done
	c.domains = append(c.domains, <-domains...)
	began := time.Now()
	h.start()
	ready := time.Since(began)
	if ready > c.readyIn {
		c.late(ready)
	}
	h.await("the calm app serves", 30*time.Second, func() string {
		if status, body := h.get("https://" + calmApp + ".localhost/"); status != 200 {
			return body
		}
		return ""
	})
	h.await("everything is settled", 90*time.Second, c.unsettled)
	settled := time.Since(began)
	c.ready, c.settled = append(c.ready, ready), append(c.settled, settled)
	was := c.compare(d, code == 0)
	h.t.Logf("round %d: %s %v, killed after %v, exit %d, %s; ready %v, settled %v", c.rounds, kind, d.args,
		after.Round(time.Millisecond), code, was, ready.Round(time.Millisecond), settled.Round(time.Millisecond))
	if h.t.Failed() {
		h.t.Fatalf("the client had been told:\n%s", said)
	}
	if kind == "push" && code != 0 {
		c.pushAgain()
	}
}

// late fails the drill for a start that took too long, unless others keep the
// machine from it.
func (c *crash) late(ready time.Duration) {
	c.h.t.Helper()
	var load float64
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(text), &load) // none is an idle machine
	}
	note := fmt.Sprintf("round %d: ready %v after the start, want ≤ %v; the load is %.1f on %d cores", c.rounds, ready, c.readyIn, load, runtime.NumCPU())
	if load > 3*float64(runtime.NumCPU()) {
		c.h.t.Log(note)
		return
	}
	c.h.t.Error(note)
}

// addDomains adds domains until over, and returns those that were acknowledged.
func (c *crash) addDomains(over *atomic.Bool) (acked []string) {
	for n := 0; !over.Load(); n++ {
		name := fmt.Sprintf("r%d-%d.test", c.rounds, n)
		if _, _, code := c.h.run(c.h.home, "", c.h.bin, "domains", "add", name, "-a", calmApp); code != 0 {
			return acked
		}
		acked = append(acked, name)
	}
	return acked
}

// unsettled says what is still going on, or left behind.
func (c *crash) unsettled() string {
	s := c.export()
	for _, x := range s.Deployments {
		if !x.State.Ended() {
			return fmt.Sprintf("deployment %s of %s is %s", x.ID, x.Release, x.State)
		}
	}
	for _, b := range s.Builds {
		if !b.State.Ended() {
			return fmt.Sprintf("build %s is %s", b.ID, b.State)
		}
	}
	want := map[string]string{} // container: instance
	count := map[string]int{}
	for _, a := range s.Allocations {
		if a.Desired != cluster.DesiredRun || a.Observed.State != cluster.AllocationHealthy {
			return fmt.Sprintf("%s %s is to %s and %s", a.App, a.Instance(), a.Desired, a.Observed.State)
		}
		count[string(a.App)+" "+a.Instance()]++
		want[a.Observed.ContainerID] = a.Instance()
	}
	for _, a := range s.Apps {
		for i := 1; i <= a.Quantity("web"); i++ {
			if n := count[fmt.Sprintf("%s web.%d", a.Name, i)]; n != 1 {
				return fmt.Sprintf("%s has %d × web.%d", a.Name, n, i)
			}
			delete(count, fmt.Sprintf("%s web.%d", a.Name, i))
		}
	}
	if len(count) > 0 {
		return fmt.Sprintf("too many replicas: %v", count)
	}
	if w := c.wrongContainers(want); w != "" {
		return w
	}
	return c.leftBehind()
}

// wrongContainers compares the engine's containers with those that are wanted.
func (c *crash) wrongContainers(want map[string]string) string {
	out, _, _ := c.h.run(c.h.home, "", "docker", "ps", "-a", "--no-trunc", "--filter", "label=paas.cluster="+c.h.cluster(),
		"--format", `{{.ID}} {{.State}} {{.Label "paas.app"}} {{.Label "paas.instance"}}`)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines {
		id, rest, _ := strings.Cut(line, " ")
		if _, ok := want[id]; !ok || !strings.HasPrefix(rest, "running ") {
			return "orphan: " + line
		}
	}
	if len(lines) != len(want) {
		return fmt.Sprintf("%d containers, want %d", len(lines), len(want))
	}
	return ""
}

// leftBehind looks for files and processes of what was killed.
func (c *crash) leftBehind() string {
	for _, pattern := range []string{"tmp/*", "git/*.git/objects/tmp_objdir*", "git/*.git/refs/heads/*.lock"} {
		if left, _ := filepath.Glob(filepath.Join(c.h.data, pattern)); len(left) > 0 {
			return "left: " + left[0]
		}
	}
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), c.h.data) && path != fmt.Sprintf("/proc/%d/cmdline", c.h.cmd.Process.Pid) {
			return "still runs: " + strings.ReplaceAll(string(text), "\x00", " ")
		}
	}
	return ""
}

// compare demands everything that was acknowledged, and nothing in between.
func (c *crash) compare(d deed, acked bool) (was string) {
	t, s := c.h.t, c.export()
	t.Helper()
	if now := c.h.containers(calmApp); now != c.calm {
		t.Errorf("containers of the calm app changed:\n%s→\n%s", c.calm, now)
	}
	have := map[string]bool{}
	for _, x := range s.Domains {
		have[string(x.Host)] = true
	}
	for _, name := range c.domains {
		if !have[name] {
			t.Errorf("domain %s was acknowledged and is lost", name)
		}
	}
	old := deed{main: c.main, web: c.web, greeting: c.greeting}
	c.remember(s)
	c.main = c.branch()
	now := deed{main: c.main, web: c.web, greeting: c.greeting}
	want := deed{main: d.main, web: d.web, greeting: d.greeting}
	switch {
	case same(now, want):
		was, c.completed = "done", c.completed+1
	case same(now, old) && !acked:
		was = "undone"
	default:
		t.Errorf("acknowledged: %v; before %+v, wanted %+v, now %+v", acked, old, want, now)
	}
	if acked {
		c.acked++
	}
	c.agree(s)
	if status, body := c.h.get("https://" + busyApp + ".localhost/"); status != 200 || !strings.Contains(body, "greeting="+c.greeting) {
		t.Errorf("the busy app answers %d %s, want greeting %s", status, body, c.greeting)
	}
	return was
}

func same(a, b deed) bool { return a.main == b.main && a.web == b.web && a.greeting == b.greeting }

// branch is the commit that the server has on main.
func (c *crash) branch() string {
	c.h.t.Helper()
	refs, code := c.h.git(c.busy, "ls-remote", "paas", "refs/heads/main")
	if code != 0 {
		c.h.t.Fatalf("ls-remote: %s", refs)
	}
	return strings.TrimSpace(strings.TrimSuffix(refs, "refs/heads/main\n"))
}

// agree demands that the branch, the releases and the builds tell the same story.
func (c *crash) agree(s *cluster.Snapshot) {
	c.h.t.Helper()
	builds := map[cluster.BuildID]cluster.Build{}
	for _, b := range s.Builds {
		builds[b.ID] = b
	}
	pushed := ""
	for _, r := range s.Releases {
		if b, ok := builds[r.Build]; r.App == busyApp && ok && (b.State != cluster.BuildSucceeded || b.Commit != r.Commit) {
			c.h.t.Errorf("%s is of build %s, which is %+v", r.Version, r.Build, b)
		}
		if r.App == busyApp && r.State == cluster.ReleaseSucceeded && strings.HasPrefix(r.Description, "Deploy ") {
			pushed = r.Commit
		}
	}
	if pushed != c.main {
		c.h.t.Errorf("the newest release of a push is of %s, main is at %s", pushed, c.main)
	}
	if out, code := c.h.git(filepath.Join(c.h.data, "git", busyApp+".git"), "fsck", "--connectivity-only"); code != 0 {
		c.h.t.Errorf("git fsck: %s", out)
	}
}

// pushAgain repeats a push that was cut off: what is live is not deployed again.
func (c *crash) pushAgain() {
	c.h.t.Helper()
	live := c.main == c.head()
	out := c.h.push(c.busy)
	if upToDate := strings.Contains(out, "Everything up-to-date"); upToDate != live {
		c.h.t.Fatalf("the commit is live: %v; pushed again:\n%s", live, out)
	}
	c.main = c.head()
	c.remember(c.export())
}

// report sums up.
func (c *crash) report() {
	slices.Sort(c.ready)
	slices.Sort(c.settled)
	n := len(c.ready)
	c.h.t.Logf("%d kills: %d operations acknowledged, %d done in the end, %d domains acknowledged, none lost; ready median %v, max %v; settled median %v, max %v",
		n, c.acked, c.completed, len(c.domains), c.ready[n/2].Round(time.Millisecond), c.ready[n-1].Round(time.Millisecond),
		c.settled[n/2].Round(time.Millisecond), c.settled[n-1].Round(time.Millisecond))
}
