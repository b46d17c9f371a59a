//go:build e2e && faults

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

// raging is how long each attack goes on.
const raging = 20 * time.Second

// TestFaultHostileApps lets an app take what it can get of one thing after the
// other, beside an app that is asked 100 times a second: no request of the
// neighbour's fails, paas stays small, and what paas says names the culprit.
func TestFaultHostileApps(t *testing.T) {
	e := newHostile(t, 100, 20*time.Second)
	defer e.neighbour.stop(t)
	dir := e.repo("probe")
	e.write(dir, "Procfile", "web: /probe\nflood: /probe flood\nfork: /probe fork\nburn: /probe burn\nhog: /probe hog\nlitter: /probe litter 1000000\n")
	e.commit(dir, "What takes all it can get")
	e.must(dir, "git", "remote", "-a", "evil")
	e.push(dir)
	e.before = e.containers("evil")
	e.idle = e.memory("VmRSS")
	calm := e.neighbour.mark()
	e.await("the neighbour's measure", time.Minute, func() string { return e.neighbour.atLeast(calm, 2000) })
	t.Logf("calm: neighbour's p99 %v", e.neighbour.percentile(99, calm).Round(time.Microsecond))
	for _, what := range []struct {
		process string
		look    func(t *testing.T)
	}{
		{"burn", nil},
		{"hog", e.oomNamed},
		{"flood", e.logsCapped},
		{"fork", e.forksBounded},
		{"litter", nil},
	} {
		e.during(what.process, func(t *testing.T) {
			e.must(dir, "scale", what.process+"=1", "--detach")
			mark := e.neighbour.mark()
			e.await("it rages on", 4*raging, func() string { return e.neighbour.atLeast(mark, int(raging.Seconds())*100) })
			if what.look != nil {
				what.look(t)
			}
			began := time.Now()
			e.must(dir, "scale", what.process+"=0")
			t.Logf("ended within %v", time.Since(began).Round(10*time.Millisecond))
		})
	}
}

func (e *hostile) oomNamed(t *testing.T) {
	e.await("the culprit is named", 20*time.Second, func() string {
		if out := e.must(e.home, "ps", "-a", "evil"); !strings.Contains(out, "out of memory") {
			return out
		}
		return ""
	})
	t.Log(e.must(e.home, "ps", "-a", "evil"))
}

// logsCapped: what the engine keeps of the flood's output.
func (e *hostile) logsCapped(t *testing.T) {
	id := e.containerOf("evil", "flood")
	path, _, _ := e.run(e.home, "", "docker", "inspect", "--format", "{{.LogPath}}", id)
	var size int64
	files, err := filepath.Glob(strings.TrimSpace(path) + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			size += info.Size()
		}
	}
	t.Logf("the engine keeps %d MiB of its output in %d files", size>>20, len(files))
	if len(files) == 0 || size > 40<<20 {
		t.Errorf("%d bytes of log in %q", size, files)
	}
}

// forksBounded: it has all processes that it may, and no more.
func (e *hostile) forksBounded(t *testing.T) {
	id := e.containerOf("evil", "fork")
	path := "/sys/fs/cgroup/pids/docker/" + id
	if _, err := os.Stat(path); err != nil {
		path = "/sys/fs/cgroup/system.slice/docker-" + id + ".scope" // version 2, systemd
	}
	number := func(file string) (n int) {
		data, err := os.ReadFile(filepath.Join(path, file))
		if _, scan := fmt.Sscan(string(data), &n); err != nil || scan != nil {
			t.Fatalf("%s: %v %v", file, err, scan)
		}
		return n
	}
	now, limit := number("pids.current"), number("pids.max")
	t.Logf("%d of %d processes", now, limit)
	if now < limit-1 || now > limit {
		t.Errorf("%d processes, want %d", now, limit)
	}
}

// containerOf is the container of an app's process type.
func (e *hostile) containerOf(app string, typ cluster.ProcessType) string {
	e.t.Helper()
	out, errs, code := e.run(e.home, "", "docker", "ps", "-q", "--no-trunc", "--filter", "label=paas.cluster="+e.cluster(),
		"--filter", "label=paas.app="+app, "--filter", "label=paas.process="+string(typ))
	if id := strings.TrimSpace(out); code == 0 && id != "" && !strings.Contains(id, "\n") {
		return id
	}
	e.t.Fatalf("no single container of %s of %s: %s%s", typ, app, out, errs)
	return ""
}
