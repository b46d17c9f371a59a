//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// drillRounds is how often a drill repeats its fault: PAAS_DRILL_ROUNDS, or usual.
func drillRounds(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("PAAS_DRILL_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return usual
}

// drillTime is how long a fault lasts: d, times PAAS_DRILL_SCALE for a short look.
func drillTime(d time.Duration) time.Duration {
	if scale, err := strconv.ParseFloat(os.Getenv("PAAS_DRILL_SCALE"), 64); err == nil && scale > 0 {
		return time.Duration(float64(d) * scale)
	}
	return d
}

// drillSeed draws the order of things; PAAS_FAULT_SEED repeats one.
func drillSeed(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("PAAS_FAULT_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("PAAS_FAULT_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// figures logs one line of times, and fails the test for those above the bounds;
// 0 is no bound.
func figures(t testing.TB, what string, all []time.Duration, median, p99 time.Duration) {
	t.Helper()
	m, p := percentile(all, 50), percentile(all, 99)
	t.Logf("%s: median %v, p99 %v, n=%d", what, m.Round(time.Millisecond), p.Round(time.Millisecond), len(all))
	if median > 0 && m > median {
		t.Errorf("%s: median %v, want ≤ %v", what, m, median)
	}
	if p99 > 0 && p > p99 {
		t.Errorf("%s: p99 %v, want ≤ %v", what, p, p99)
	}
}

// within fails the test, and goes on, if took is more than limit.
func within(t testing.TB, what string, took, limit time.Duration) {
	t.Helper()
	limit *= patience
	t.Logf("%s: %v (≤ %v)", what, took.Round(time.Millisecond), limit)
	if took > limit {
		t.Errorf("%s: %v, want ≤ %v", what, took, limit)
	}
}

// killLeader ends the leading process with SIGKILL and says how long it took until
// a surviving server acknowledged a write, and until each did.
func (f *fleet) killLeader(l *ledger) (killed *member, first, all time.Duration) {
	f.t.Helper()
	killed = f.leader()
	survivors := slices.DeleteFunc(f.servers(), func(m *member) bool { return m == killed || !m.running() })
	at := killed.end(syscall.SIGKILL) // what was written just before says nothing
	first, all = l.writesBack(at, survivors, 30*time.Second)
	return killed, first, all
}

// settled waits until no deployment of the app is under way, and its replicas are n
// of the current release.
func (f *fleet) settled(app string, n int, within time.Duration) {
	f.t.Helper()
	f.await(app+" is settled", within, func() string {
		var s struct {
			Current    int `json:"current"`
			Deployment *struct {
				ID    string `json:"id"`
				State string `json:"state"`
			} `json:"deployment"`
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		lead := f.leader()
		if err := f.api(lead).call(ctx, http.MethodGet, "/v1/apps/"+app, nil, &s); err != nil {
			return err.Error()
		}
		if s.Deployment != nil {
			return fmt.Sprintf("deployment %s is %s", s.Deployment.ID, s.Deployment.State)
		}
		list, err := f.replicas(app)
		if err != nil {
			return err.Error()
		}
		for _, r := range list {
			if r.Release != s.Current {
				return fmt.Sprintf("current is v%d, and:\n%s", s.Current, lines(list))
			}
		}
		if len(wellOf(list)) != n || len(list) != n {
			return lines(list)
		}
		return ""
	})
}

// watching calls look again and again until stop is called, which returns what it
// found wrong.
func watching(every time.Duration, look func() string) (stop func() []string) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	var wrong []string
	work.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if w := look(); w != "" {
				wrong = append(wrong, time.Now().Format("15:04:05.000 ")+w)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() []string { cancel(); work.Wait(); return wrong }
}

// leaders notes who leads in the eyes of these servers, until stop is called; that
// returns the names in order.
func (f *fleet) leaders(eyes ...*member) (stop func() []string) {
	var seen []string
	apis := make([]*apiOf, len(eyes))
	for i, m := range eyes {
		apis[i] = f.api(m)
	}
	end := watching(200*time.Millisecond, func() string {
		for _, a := range apis {
			var s struct {
				Leader string `json:"leader"`
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			err := a.call(ctx, http.MethodGet, "/v1/status?stale=true", nil, &s)
			cancel()
			if err != nil || s.Leader == "" {
				continue
			}
			if len(seen) == 0 || seen[len(seen)-1] != s.Leader {
				seen = append(seen, s.Leader)
			}
			return ""
		}
		return ""
	})
	return func() []string { end(); return seen }
}

// lostHost pulls the plug of a host and measures: how long until the cluster says
// so, and until n replicas serve without it. Requests may fail only if they were in
// flight when the plug was pulled.
func (f *fleet) lostHost(m *member, entry *host, app string, n int) {
	f.t.Helper()
	dead := shortIDs(m, app)
	f.t.Logf("%s has %d of %d replicas of %s", m.name, len(dead), n, app)
	traffic := entry.load("https://"+app+".localhost/", "version=", 200)
	f.await("the load is on", 20*time.Second, func() string { return traffic.atLeast(0, 200) })
	began, ended := m.powerOff()
	var decided time.Duration
	f.await(m.name+" is down", 20*time.Second, func() string {
		list, err := f.nodes()
		if err != nil {
			return err.Error()
		}
		for _, x := range list {
			if x.Name == m.name && x.State == "up" {
				return "it is up"
			}
		}
		decided = time.Since(began)
		return ""
	})
	f.serving(app, n, dead, 30*time.Second)
	replaced := time.Since(began)
	within(f.t, m.name+" lost, decided", decided, 5*time.Second)
	within(f.t, m.name+" lost, replaced and serving", replaced, 7*time.Second)
	traffic.stopButFor(f.t, inFlight(span{began, ended}))
}

// span is the time that a plug took to be pulled.
type span struct{ began, ended time.Time }

// inFlight excuses requests that were under way in one of these.
func inFlight(when ...span) func(failure) bool {
	return func(x failure) bool {
		return slices.ContainsFunc(when, func(s span) bool { return x.began.Before(s.ended) && x.began.Add(x.took).After(s.began) })
	}
}

// shortIDs are the app's containers on a host, as they call themselves.
func shortIDs(m *member, app string) (ids []string) {
	list, err := m.containersOf(app)
	if err != nil {
		m.f.t.Fatal(err)
	}
	for _, c := range list {
		ids = append(ids, c[:12])
	}
	return ids
}

// busiest is the member with the most replicas of an app among these.
func (f *fleet) busiest(app string, among []*member) *member {
	f.t.Helper()
	list, err := f.replicas(app)
	if err != nil {
		f.t.Fatal(err)
	}
	count := map[string]int{}
	for _, r := range list {
		count[r.Node]++
	}
	best := slices.MaxFunc(among, func(a, b *member) int { return count[a.name] - count[b.name] })
	if count[best.name] == 0 {
		f.t.Fatalf("none of them has a replica:\n%s", lines(list))
	}
	return best
}

// hostsOf names those that run replicas of an app.
func hostsOf(list []replicaLine) string {
	var all []string
	for _, r := range list {
		all = append(all, r.Node+"/"+r.Zone)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
