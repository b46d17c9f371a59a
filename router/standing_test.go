package router

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"paas/cluster"
)

// logged keeps what a router logs, line by line.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimSpace(string(p)))
	return len(p), nil
}

// take is what was logged since the last take.
func (l *logged) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.lines
	l.lines = nil
	return out
}

// wantLines checks that there is one line for each of want, which is a part of it.
func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		ok = strings.Contains(got[i], want[i])
	}
	if !ok {
		t.Errorf("%d lines, want %q:\n%s", len(got), want, strings.Join(got[:min(20, len(got))], "\n"))
	}
}

// A host with all 50 replicas of an app is lost for a minute under 200 requests per
// second, and comes back.
func TestLostHostIsTwoLinesInTheLog(t *testing.T) {
	amongHosts(t, say("x"), func(t *testing.T, b *bubble, hosts []*farHost) {
		var ups []cluster.Upstream
		for i := range 50 {
			ups = append(ups, hosts[0].upstream(i))
		}
		b.r.SetTable(tableOf(2, routeTo("a.localhost", ups...)))
		b.load(t, "GET", time.Second)()
		hosts[0].off.Store(true)
		failed := 0
		for _, o := range b.load(t, "GET", time.Minute)() {
			if o.status != 200 {
				failed++
			}
		}
		if failed < 10000 {
			t.Errorf("%d of 12,000 requests failed: the host was not lost", failed)
		}
		wantLines(t, b.log.take(), "host ejected")
		hosts[0].off.Store(false)
		b.load(t, "GET", 20*time.Second)()
		wantLines(t, b.log.take(), `msg="host is back" component=router node=h1 out=`)
		b.load(t, "GET", 10*time.Second)()
		time.Sleep(time.Hour)
		wantLines(t, b.log.take())
	})
}

// A host's process falls over ten times a second: as many times it is ejected.
func TestHostThatFaltersIsTwoLinesInTheLog(t *testing.T) {
	amongHosts(t, say("x"), func(t *testing.T, b *bubble, hosts []*farHost) {
		done := b.load(t, "GET", 30*time.Second)
		for range 100 {
			hosts[0].refuses.Store(true)
			hosts[0].unplug()
			time.Sleep(200 * time.Millisecond)
			hosts[0].refuses.Store(false)
			time.Sleep(100 * time.Millisecond)
		}
		done()
		if n := b.r.Metrics().Ejections; n < 10 {
			t.Errorf("%d ejections: the host did not falter", n)
		}
		b.load(t, "GET", 20*time.Second)()
		wantLines(t, b.log.take(), "host ejected", "host is back")
	})
}

func TestStandingIsToldOncePerBout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s standing
		quiet := func() {
			t.Helper()
			if _, _, ok := s.recovered(time.Now()); ok {
				t.Error("said to be back")
			}
		}
		quiet()
		if !s.failed(time.Now()) {
			t.Error("the first failure is no news")
		}
		for range 1000 {
			time.Sleep(settled - time.Millisecond)
			quiet()
			if s.failed(time.Now()) {
				t.Fatal("told of twice")
			}
		}
		quiet()
		time.Sleep(settled)
		if out, failures, ok := s.recovered(time.Now()); !ok || failures != 1001 || out != 1000*(settled-time.Millisecond) {
			t.Errorf("back after %v and %d failures: %v", out, failures, ok)
		}
		quiet()
		if !s.failed(time.Now()) {
			t.Error("the next bout is no news")
		}
	})
}
