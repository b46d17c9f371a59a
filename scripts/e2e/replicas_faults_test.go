//go:build e2e && faults

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestFaultCrashLoop has one app crash in every way beside another that is asked
// all the time.
func TestFaultCrashLoop(t *testing.T) {
	h := newHost(t)
	calm := h.repo("probe")
	h.must(calm, "apps", "create", "calm")
	h.push(calm)
	load := h.load("https://calm.localhost/", "instance=web.1", 50)
	defer load.stop(t)
	dir := h.repo("probe")
	h.write(dir, "Procfile", "web: /probe\nworker: /probe -crash 0s\nhungry: /probe hog\n")
	h.write(dir, "paas.toml", "[process.hungry]\nmemory = \"32M\"\n")
	h.commit(dir, "Two that cannot run")
	h.must(dir, "apps", "create", "dizzy")
	h.push(dir)
	h.must(dir, "scale", "web=2")
	h.await("the neighbour's figures", 40*time.Second, func() string { return load.atLeast(0, 1500) })
	before, mark := load.percentile(99, 0), load.mark()

	h.must(dir, "scale", "worker=1", "hungry=1", "--detach")
	starts := h.starts("dizzy", "worker", 8, 3*time.Minute)
	for i := 1; i < len(starts); i++ {
		wait := starts[i].Sub(starts[i-1])
		least := min(time.Minute, time.Second<<(i-1))
		t.Logf("start %d of worker.1 came %v after the one before, at least %v", i+1, wait.Round(10*time.Millisecond), least)
		if wait < least || wait > least+least/2+5*time.Second {
			t.Errorf("pause %d is %v, want about %v", i, wait, least)
		}
	}
	during := load.percentile(99, mark)
	h.namesCrashes(dir)

	h.write(dir, "Procfile", "web: /probe\nworker: /probe -deaf\nhungry: /probe -deaf\n")
	h.commit(dir, "Both can run")
	began := time.Now()
	h.push(dir)
	var ps psList
	h.into(&ps, dir, "ps")
	if ps.healthy("worker") != 1 || ps.healthy("hungry") != 1 {
		t.Errorf("after the push: %+v", ps)
	}
	t.Logf("mended and healthy %v after the push began", time.Since(began).Round(10*time.Millisecond))
	mark = load.mark()
	h.await("the neighbour's figures", 40*time.Second, func() string { return load.atLeast(mark, 1500) })
	after := load.percentile(99, mark)
	t.Logf("the neighbour's p99: %v before, %v while two replicas crash, %v after", before, during, after)
	if usual := max(before, after); during > 2*usual { // whatever else the machine does, it did before or after, too
		t.Errorf("the neighbour's p99 rose from %v to %v", usual, during)
	}
}

// starts collects the start times of a process type's containers, of which one
// after the other runs.
func (h *host) starts(app, process string, n int, within time.Duration) (all []time.Time) {
	h.t.Helper()
	owner := h.cluster()
	h.await(fmt.Sprintf("%d starts of %s", n, process), within, func() string {
		out, _, _ := h.run(h.home, "", "docker", "ps", "-aq", "--filter", "label=paas.app="+app, "--filter", "label=paas.cluster="+owner)
		for _, id := range strings.Fields(out) {
			said, _, _ := h.run(h.home, "", "docker", "inspect", "--format", "{{json .Config.Env}} {{.State.StartedAt}}", id)
			if !strings.Contains(said, "PAAS_INSTANCE="+process+".1") {
				continue
			}
			at, err := time.Parse(time.RFC3339Nano, said[strings.LastIndex(said, " ")+1:len(said)-1])
			if err == nil && at.Year() > 1 && (len(all) == 0 || at.After(all[len(all)-1])) {
				all = append(all, at)
			}
		}
		if len(all) < n {
			return fmt.Sprint(all)
		}
		return ""
	})
	return all
}

// namesCrashes demands that whoever looks is told what crashes, how, and what to do.
func (h *host) namesCrashes(dir string) {
	h.t.Helper()
	for _, args := range [][]string{{"ps"}, {"status"}} {
		out, errs, _ := h.paas(dir, args...)
		contains(h.t, "paas "+args[0], out+errs, "exited with code 3", "ran out of memory (limit 32 MiB)",
			"worker.1 does not stay up", "hungry.1 does not stay up", "for lack of memory", "paas logs -a dizzy")
	}
	events := h.must(dir, "events", "-n", "1000")
	contains(h.t, "events", events, "worker.1: exited with code 3", "hungry.1: ran out of memory")
	n := strings.Count(events, "instance.crashed")
	h.t.Logf("%d events of crashes", n)
	if n > 14 { // four of each replica, then those of every doubling
		h.t.Errorf("%d events of crashes: they flood the audit\n%s", n, events)
	}
}
