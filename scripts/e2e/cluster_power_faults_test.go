//go:build e2e && faults

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFaultClusterPower ends everything and boots the hosts in random order, ten
// times; in the last rounds every host comes back with another address.
func TestFaultClusterPower(t *testing.T) {
	rng := drillSeed(t)
	f, entry, _ := newDrill(t, plan{})
	var writable, serving []time.Duration
	rounds := drillRounds(10)
	for round := range rounds {
		l := f.newLedger(fmt.Sprintf("ledger-%d", round))
		f.await("something is acknowledged", 30*time.Second, func() string {
			if l.acknowledged() < 20 {
				return "not yet"
			}
			return ""
		})
		for _, i := range rng.Perm(len(f.members)) {
			f.members[i].end(syscall.SIGKILL)
		}
		for _, m := range f.members {
			m.powerOff()
		}
		l.cancel()
		l.work.Wait()
		if round >= rounds-2 {
			f.readdress(100 * (rounds - round))
			entry = f.through(f.members[5])
		}
		majority, last := f.bootAll(rng.Perm(len(f.members)))
		w := f.writableSince(majority)
		f.await("the app serves", time.Minute, func() string { return ask(entry.client, "https://shop.localhost/", "version=") })
		f.serving("shop", 3, nil, time.Minute)
		writable, serving = append(writable, w), append(serving, time.Since(last))
		f.allUp(30 * time.Second)
		f.healthy("shop", 3, 60*time.Second)
		f.exactly("shop", 3, 30*time.Second)
		n := l.check()
		f.exports(15 * time.Second)
		t.Logf("round %d: writable %v after a majority, serving %v after the last host; %d writes kept, exports equal", round,
			w.Round(time.Millisecond), serving[round].Round(time.Millisecond), n)
		if t.Failed() {
			return
		}
	}
	figures(t, "power cut of everything, writable after a majority is up", writable, 0, 10*time.Second)
	figures(t, "… apps serving after the last host is up", serving, 0, 20*time.Second)
}

// bootAll boots the hosts in this order and starts paas on each; it returns when a
// majority of servers and when all were started.
func (f *fleet) bootAll(order []int) (majority, last time.Time) {
	f.t.Helper()
	servers := 0
	for _, i := range order {
		f.members[i].powerOn()
		if f.members[i].role == "server" {
			if servers++; servers == 2 {
				majority = time.Now()
			}
		}
	}
	return majority, time.Now()
}

// writableSince waits until a server acknowledges a write.
func (f *fleet) writableSince(at time.Time) time.Duration {
	f.t.Helper()
	f.await("the cluster takes writes", time.Minute, func() string {
		var said []string
		for _, m := range f.servers() {
			if !m.running() {
				said = append(said, m.name+" does not run")
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			err := f.api(m).call(ctx, http.MethodPatch, "/v1/apps/ledger-0/config", map[string]any{"set": map[string]string{"AGAIN": "1"}}, nil)
			cancel()
			if err == nil {
				return ""
			}
			said = append(said, m.name+": "+err.Error())
		}
		return strings.Join(said, "\n")
	})
	return time.Since(at)
}

// readdress gives every host a new address, which only its own command line knows.
func (f *fleet) readdress(base int) {
	f.t.Helper()
	for i, m := range f.members {
		m.addr = fmt.Sprintf("10.77.0.%d", base+i+1)
		f.bed.must(f.t, "readdress", m.index, m.addr)
	}
	f.contexts()
}

// TestFaultClusterMajorityGone loses two of three servers for good, and recovers
// with the one documented command.
func TestFaultClusterMajorityGone(t *testing.T) {
	f, entry, _ := newDrill(t, plan{})
	l := f.newLedger("ledger-0")
	f.await("something is acknowledged", 30*time.Second, func() string {
		if l.acknowledged() < 50 {
			return "not yet"
		}
		return ""
	})
	traffic := entry.load("https://shop.localhost/", "version=", 200)
	l.cancel()
	l.work.Wait()
	gone := f.servers()[1:]
	pulled := span{began: time.Now()}
	for _, m := range gone {
		m.powerOff()
		m.everStarted = false
	}
	pulled.ended = time.Now()
	left := f.members[0]
	left.end(syscall.SIGTERM)
	full := f.bed.command("exec", left.index, f.bin, "cluster", "recover", "--data", left.data(), "--yes")
	out, errs, code := f.run(f.home, "", full[0], full[1:]...)
	if code != 0 {
		t.Fatalf("cluster recover: exit %d\n%s%s", code, out, errs)
	}
	t.Logf("cluster recover said:\n%s%s", out, errs)
	at := time.Now()
	left.start()
	within(t, "recovered, writable", f.writableSince(at), 10*time.Second)
	f.serving("shop", 3, nil, time.Minute)
	traffic.stopButFor(t, inFlight(pulled))
	t.Logf("%d writes acknowledged, none may be lost", l.check())
}
