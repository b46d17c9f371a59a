//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ledger writes numbered config values through every server at once, each server
// with keys of its own, and keeps what was acknowledged.
type ledger struct {
	f      *fleet
	app    string
	pens   []*pen
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// pen writes through one server: number n goes to key n mod penKeys.
type pen struct {
	m   *member
	api *apiOf

	mu      sync.Mutex
	acks    []ack
	tried   map[string][]int // by key: numbers without an answer, since the last that was acknowledged
	last    map[string]int   // by key: the last number that was acknowledged
	refused map[string]int   // what was answered instead, and how often
	n       int
}

type ack struct {
	n            int
	began, ended time.Time
}

const (
	penKeys = 10
	// penPause is between the writes of one pen, and penWait what it gives a write.
	penPause = 20 * time.Millisecond
	penWait  = 5 * time.Second
)

// newLedger makes the app and starts to write.
func (f *fleet) newLedger(app string) *ledger {
	f.t.Helper()
	f.must(f.home, "apps", "create", app)
	ctx, cancel := context.WithCancel(context.Background())
	l := &ledger{f: f, app: app, cancel: cancel}
	for _, m := range f.servers() {
		p := &pen{m: m, api: f.api(m), tried: map[string][]int{}, last: map[string]int{}, refused: map[string]int{}}
		l.pens = append(l.pens, p)
		l.work.Go(func() { p.run(ctx, app) })
	}
	return l
}

func (p *pen) run(ctx context.Context, app string) {
	tick := time.NewTicker(penPause)
	defer tick.Stop()
	for ctx.Err() == nil {
		p.write(app)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// write makes one write, and outlives the drill's end.
func (p *pen) write(app string) {
	p.mu.Lock()
	p.n++
	n, key := p.n, fmt.Sprintf("%s_%d", strings.ToUpper(p.m.name), p.n%penKeys)
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), penWait)
	defer cancel()
	began := time.Now()
	in := map[string]any{"set": map[string]string{key: strconv.Itoa(n)}}
	err := p.api.call(ctx, http.MethodPatch, "/v1/apps/"+app+"/config", in, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.tried[key] = append(p.tried[key], n)
		p.refused[err.Error()]++
		return
	}
	p.acks = append(p.acks, ack{n, began, time.Now()})
	p.last[key] = n
}

// back is when the first write that began after t was acknowledged; zero: none was.
func (p *pen) back(t time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.acks) - 1; i >= 0; i-- {
		if p.acks[i].began.Before(t) {
			if i+1 < len(p.acks) {
				return p.acks[i+1].ended
			}
			return time.Time{}
		}
	}
	if len(p.acks) > 0 {
		return p.acks[0].ended
	}
	return time.Time{}
}

// writesBack waits until each of these servers acknowledges writes that began
// after t; it returns how long after t the first and the last of them did.
func (l *ledger) writesBack(t time.Time, through []*member, within time.Duration) (first, all time.Duration) {
	l.f.t.Helper()
	l.f.await("writes are acknowledged again", within, func() string {
		first, all = 0, 0
		for _, p := range l.pens {
			if !contained(through, p.m) {
				continue
			}
			at := p.back(t)
			if at.IsZero() {
				return "none through " + p.m.name + ":\n" + p.excuses()
			}
			d := at.Sub(t)
			if first == 0 || d < first {
				first = d
			}
			all = max(all, d)
		}
		return ""
	})
	return first, all
}

func contained(list []*member, m *member) bool {
	for _, x := range list {
		if x == m {
			return true
		}
	}
	return false
}

func (p *pen) excuses() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for text, n := range p.refused {
		all = append(all, fmt.Sprintf("%d × %s", n, text))
	}
	return strings.Join(all, "\n")
}

// acknowledged counts.
func (l *ledger) acknowledged() (n int) {
	for _, p := range l.pens {
		p.mu.Lock()
		n += len(p.acks)
		p.mu.Unlock()
	}
	return n
}

// check stops the pens and fails the test for each acknowledged value that is
// lost: a key must hold its last acknowledged number, or one that got no answer.
func (l *ledger) check() (acknowledged int) {
	l.f.t.Helper()
	l.cancel()
	l.work.Wait()
	for _, p := range l.pens {
		for key, want := range p.last {
			var got struct {
				Value string `json:"value"`
			}
			l.f.anyServer(http.MethodGet, "/v1/apps/"+l.app+"/config/"+key, nil, &got)
			if n, _ := strconv.Atoi(got.Value); n != want && !containsInt(p.tried[key], n) {
				l.f.t.Errorf("%s is %q; %d was acknowledged last, and these got no answer: %v", key, got.Value, want, p.tried[key])
			}
		}
	}
	return l.acknowledged()
}

func containsInt(list []int, n int) bool {
	for _, x := range list {
		if x == n {
			return true
		}
	}
	return false
}
