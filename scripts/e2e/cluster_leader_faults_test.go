//go:build e2e && faults

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fleet of the fault table: three servers and three agents in three zones, an app
// with three replicas, and requests through the last agent's router.
func newDrill(t *testing.T, p plan) (f *fleet, entry *host, dir string) {
	t.Helper()
	p.servers, p.agents = 3, 3
	f = newFleet(t, p)
	dir = f.deployProbe("shop", 3)
	return f, f.through(f.members[5]), dir
}

// TestFaultClusterLeaderKilled kills the leader 20 times, each time in the middle
// of a deploy.
func TestFaultClusterLeaderKilled(t *testing.T) {
	rng := drillSeed(t)
	f, entry, dir := newDrill(t, plan{})
	l := f.newLedger("ledger")
	traffic := entry.load("https://shop.localhost/", "version=", 200)
	var first, all []time.Duration
	ends := map[string]int{}
	for round := range drillRounds(20) {
		d := f.startDeploy(dir, round)
		f.await("the deploy has begun", 30*time.Second, func() string {
			if time.Since(d.began) < time.Duration(rng.IntN(2500))*time.Millisecond {
				return "not yet"
			}
			return ""
		})
		killed, one, each := f.killLeader(l)
		first, all = append(first, one), append(all, each)
		killed.start()
		f.allUp(30 * time.Second)
		f.settled("shop", 3, 3*time.Minute)
		ends[d.outcome(f, dir)]++
		t.Logf("round %d: %s led; writes back after %v, through every server %v", round, killed.name, one.Round(time.Millisecond), each.Round(time.Millisecond))
	}
	figures(t, "kill -9 of the leader, writes back", first, time.Second, 2*time.Second)
	figures(t, "… through every other server", all, 0, 0)
	traffic.stop(t)
	t.Logf("deploys: %v; %d writes acknowledged, none may be lost", ends, l.check())
	f.once("shop")
	f.exports(10 * time.Second)
}

// drillDeploy is a deploy that is under way.
type drillDeploy struct {
	began time.Time
	want  string // the greeting that it sets, or the note that it pushes
	work  sync.WaitGroup
	said  string
	code  int
}

// startDeploy pushes, or changes the config, through the leader or a follower.
func (f *fleet) startDeploy(dir string, round int) *drillDeploy {
	f.t.Helper()
	d := &drillDeploy{began: time.Now(), want: fmt.Sprintf("round-%d", round)}
	via := f.servers()[round%3]
	if round%2 == 0 {
		d.work.Go(func() {
			out, errs, code := f.via(via).paas(dir, "config", "set", "GREETING="+d.want, "-a", "shop")
			d.said, d.code = out+errs, code
		})
		return d
	}
	f.write(dir, "note", d.want)
	f.commit(dir, d.want)
	d.work.Go(func() { d.said, d.code = f.pushTo(via, dir, "shop") })
	return d
}

// outcome says how a deploy ended for whom and in truth. What was acknowledged must
// be so.
func (d *drillDeploy) outcome(f *fleet, dir string) string {
	f.t.Helper()
	d.work.Wait()
	told := "acknowledged"
	if d.code != 0 {
		told = "refused or cut"
	}
	got := strings.TrimSpace(f.via(f.leader()).must(dir, "config", "get", "GREETING", "-a", "shop"))
	if strings.HasPrefix(got, "round-") && got == d.want {
		return told + ", done"
	}
	if d.code == 0 && !strings.Contains(d.said, "main -> main") && got != d.want {
		f.t.Errorf("config set %s was acknowledged, and it is %q:\n%s", d.want, got, d.said)
	}
	if d.code != 0 {
		f.t.Logf("the client was told: %s", tail(d.said, 4))
	}
	return told
}

// once demands that each release of an app was deployed by at most one deployment
// that succeeded, and that nothing is under way.
func (f *fleet) once(app string) {
	f.t.Helper()
	var releases []struct {
		Version int    `json:"version"`
		State   string `json:"state"`
	}
	f.anyServer("GET", "/v1/apps/"+app+"/releases", nil, &releases)
	seen := map[int]bool{}
	count := map[string]int{}
	for _, r := range releases {
		if seen[r.Version] {
			f.t.Errorf("two releases are v%d", r.Version)
		}
		seen[r.Version] = true
		count[r.State]++
		if r.State != "succeeded" && r.State != "failed" && r.State != "superseded" {
			f.t.Errorf("v%d is %s", r.Version, r.State)
		}
	}
	f.t.Logf("%d releases: %v", len(releases), count)
}

// TestFaultClusterLeaderCut separates the leader from all other hosts, but not from
// its clients.
func TestFaultClusterLeaderCut(t *testing.T) {
	f, entry, _ := newDrill(t, plan{})
	leaderFault(f, entry, drillTime(time.Minute), func(lead *member) (undo func()) {
		for _, m := range f.members {
			if m != lead {
				f.bed.must(t, "cut", lead.index, m.index)
			}
		}
		return func() { f.bed.must(t, "heal") }
	})
}

// TestFaultClusterLeaderMute drops all that the leader sends to the other servers;
// it hears them.
func TestFaultClusterLeaderMute(t *testing.T) {
	f, entry, _ := newDrill(t, plan{})
	leaderFault(f, entry, drillTime(5*time.Minute), func(lead *member) (undo func()) {
		for _, m := range f.servers() {
			if m != lead {
				f.bed.must(t, "cut-oneway", lead.index, m.index)
			}
		}
		return func() { f.bed.must(t, "heal") }
	})
}

// TestFaultClusterLeaderDeaf drops all that the other servers send to the leader;
// they hear it.
func TestFaultClusterLeaderDeaf(t *testing.T) {
	f, entry, _ := newDrill(t, plan{})
	leaderFault(f, entry, drillTime(5*time.Minute), func(lead *member) (undo func()) {
		for _, m := range f.servers() {
			if m != lead {
				f.bed.must(t, "cut-oneway", m.index, lead.index)
			}
		}
		return func() { f.bed.must(t, "heal") }
	})
}

// TestFaultClusterLeaderStopped stops the leader's process, and lets it go on as if
// no time had passed.
func TestFaultClusterLeaderStopped(t *testing.T) {
	f, entry, _ := newDrill(t, plan{})
	leaderFault(f, entry, drillTime(30*time.Second), func(lead *member) (undo func()) {
		lead.signal(syscall.SIGSTOP)
		return func() { lead.signal(syscall.SIGCONT) }
	})
}

// leaderFault does something to the leader for a while, under load, writes and a
// history of reads and writes through all servers, and takes it back.
func leaderFault(f *fleet, entry *host, lasts time.Duration, do func(lead *member) (undo func())) {
	t := f.t
	t.Helper()
	l, h := f.newLedger("ledger"), f.newHistory()
	traffic := entry.load("https://shop.localhost/", "version=", 200)
	lead := f.leader()
	others := slices.DeleteFunc(f.servers(), func(m *member) bool { return m == lead })
	changes := f.leaders(others...)
	f.await("the load is on", 20*time.Second, func() string { return traffic.atLeast(0, 400) })
	undo := do(lead)
	at := time.Now() // what is written before the fault is there says nothing
	first, all := l.writesBack(at, others, 30*time.Second)
	t.Logf("writes back after %v, through both other servers %v", first.Round(time.Millisecond), all.Round(time.Millisecond))
	within(t, "writes back", first, 2*time.Second)
	f.await("the fault lasts", lasts+time.Minute, func() string {
		if d := time.Since(at); d < lasts {
			return d.String()
		}
		return ""
	})
	undo()
	healed := time.Now()
	_, all = l.writesBack(healed, f.servers(), 30*time.Second)
	t.Logf("healed: writes through every server after %v", all.Round(time.Millisecond))
	f.allUp(20 * time.Second)
	f.healthy("shop", 3, 60*time.Second)
	f.exactly("shop", 3, 60*time.Second)
	traffic.stop(t)
	h.check()
	t.Logf("%d writes acknowledged, none may be lost", l.check())
	if seen := changes(); len(seen)-1 > 3 {
		t.Errorf("%d leader changes, want ≤ 3: %v", len(seen)-1, seen)
	} else {
		t.Logf("%d leader changes: %v", len(seen)-1, seen)
	}
	f.exports(10 * time.Second)
}
