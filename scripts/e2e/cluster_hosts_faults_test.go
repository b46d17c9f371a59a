//go:build e2e && faults

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFaultClusterHostLost pulls the plug of an agent's host with replicas, then of
// the leader's.
func TestFaultClusterHostLost(t *testing.T) {
	f, entry, _ := newDrill(t, plan{})
	f.everywhere("shop", 3)
	for i := range drillRounds(3) {
		m := f.members[3+i%2]
		f.await("an agent's host has a replica", 3*time.Minute, func() string { return f.placeOn(m, "shop") })
		f.lostHost(m, entry, "shop", 3)
		m.powerOn()
		f.allUp(30 * time.Second)
		f.healthy("shop", 3, 60*time.Second)
	}
	l := f.newLedger("ledger")
	for range drillRounds(3) {
		lead := f.leader()
		f.await("the leader's host has a replica", 3*time.Minute, func() string { return f.placeOn(lead, "shop") })
		at := time.Now()
		f.lostHost(lead, entry, "shop", 3)
		first, all := l.writesBack(at, slices.DeleteFunc(f.servers(), func(m *member) bool { return m == lead }), 20*time.Second)
		t.Logf("the leader was lost with its host: writes back within %v of the load's start, through every server %v", first, all)
		lead.powerOn()
		f.allUp(30 * time.Second)
		f.healthy("shop", 3, 60*time.Second)
	}
	t.Logf("%d writes acknowledged, none may be lost", l.check())
}

// placeOn moves replicas until one is on m: it cordons the other hosts of m's zone
// and restarts.
func (f *fleet) placeOn(m *member, app string) string {
	list, err := f.replicas(app)
	if err != nil {
		return err.Error()
	}
	for _, r := range wellOf(list) { // one that is about to go is no replica to lose
		if r.Node == m.name {
			return ""
		}
	}
	for _, x := range f.members {
		if x != m && x.zone == m.zone {
			f.must(f.home, "nodes", "drain", x.name)
			defer f.must(f.home, "nodes", "uncordon", x.name)
		}
	}
	f.healthy(app, len(wellOf(list)), 60*time.Second)
	return "moved"
}

// TestFaultClusterZoneLost pulls the plugs of a zone, a server's and an agent's, and
// brings it back.
func TestFaultClusterZoneLost(t *testing.T) {
	f, entry, _ := newDrill(t, plan{})
	f.everywhere("shop", 6)
	var lost []*member
	for _, m := range f.members {
		if m.zone == "b" { // the requests enter in zone c
			lost = append(lost, m)
		}
	}
	traffic := entry.load("https://shop.localhost/", "version=", 200)
	f.await("the load is on", 20*time.Second, func() string { return traffic.atLeast(0, 400) })
	var dead []string
	for _, m := range lost {
		dead = append(dead, shortIDs(m, "shop")...)
	}
	began := time.Now()
	for _, m := range lost {
		m.powerOff()
	}
	pulled := span{began, time.Now()}
	f.serving("shop", 6, dead, time.Minute)
	within(t, fmt.Sprintf("zone b lost with %d of 6 replicas, full capacity", len(dead)), time.Since(began), 15*time.Second)
	n := traffic.stopButFor(t, inFlight(pulled))
	t.Logf("%d requests while the zone was lost", n)
	traffic = entry.load("https://shop.localhost/", "version=", 200)
	began = time.Now()
	for _, m := range lost {
		m.powerOn()
	}
	f.allUp(30 * time.Second)
	f.await("the spread is restored", 5*time.Minute, func() string {
		list, err := f.replicas("shop")
		if err != nil {
			return err.Error()
		}
		if len(wellOf(list)) != 6 || len(list) != 6 || skew(list, "a", "b", "c") > 1 {
			return lines(list)
		}
		return ""
	})
	t.Logf("zone b is back: spread restored after %v", time.Since(began).Round(time.Millisecond))
	traffic.stop(t)
}

// TestFaultClusterAgentKeeps restarts agents and engines under load: containers
// keep their IDs and start times, as the engine restores them.
func TestFaultClusterAgentKeeps(t *testing.T) {
	f, entry, _ := newDrill(t, plan{dockerd: "--live-restore"})
	traffic := entry.load("https://shop.localhost/", "version=", 200)
	m := f.busiest("shop", f.members[:5])
	same := f.allContainers("shop")
	check := func(what string) {
		t.Helper()
		f.allUp(30 * time.Second)
		f.healthy("shop", 3, 30*time.Second)
		if now := f.allContainers("shop"); !slices.Equal(now, same) {
			t.Errorf("%s changed the containers:\n%s\n→\n%s", what, strings.Join(same, "\n"), strings.Join(now, "\n"))
			same = now
		}
		t.Logf("%s: ok", what)
	}
	for range drillRounds(3) {
		m.end(syscall.SIGKILL)
		m.start()
		check("kill -9 of " + m.role)
	}
	m.end(syscall.SIGTERM)
	m.start()
	check("restart of " + m.role)
	m.end(syscall.SIGTERM)
	m.upgrade()
	check("upgrade of " + m.role)
	for _, s := range []string{"TERM", "KILL"} {
		m.endEngine(s)
		check("dockerd ended with " + s)
	}
	traffic.stop(t)
}

// TestFaultClusterEngineEnds ends an engine that takes its containers along.
func TestFaultClusterEngineEnds(t *testing.T) {
	f, _, _ := newDrill(t, plan{})
	m := f.busiest("shop", f.members[:5])
	for _, s := range []string{"TERM", "KILL"} {
		dead := shortIDs(m, "shop")
		began := time.Now()
		m.endEngine(s)
		f.serving("shop", 3, dead, time.Minute)
		within(t, "dockerd ended with "+s+", all replicas back", time.Since(began), 15*time.Second)
		f.allUp(30 * time.Second)
		f.healthy("shop", 3, 60*time.Second)
		f.exactly("shop", 3, 60*time.Second)
		m = f.busiest("shop", f.members[:5])
	}
}

// upgrade starts the process from another file.
func (m *member) upgrade() {
	m.f.t.Helper()
	text, err := os.ReadFile(m.f.bin)
	if err != nil {
		m.f.t.Fatal(err)
	}
	newer := filepath.Join(m.f.t.TempDir(), "paas")
	if err := os.WriteFile(newer, text, 0o755); err != nil {
		m.f.t.Fatal(err)
	}
	old := m.f.bin
	m.f.bin = newer
	m.start()
	m.f.bin = old
}

// endEngine sends a signal to the host's dockerd, and waits until another one
// answers.
func (m *member) endEngine(signal string) {
	m.f.t.Helper()
	read := func() string {
		full := m.f.bed.command("exec", m.index, "cat", "/run/docker.pid")
		out, _, _ := m.f.run(m.f.home, "", full[0], full[1:]...)
		return strings.TrimSpace(out)
	}
	pid := read()
	m.f.bed.must(m.f.t, "exec", m.index, "kill", "-"+signal, pid)
	m.f.await("another dockerd answers", 60*time.Second, func() string {
		if now := read(); now == "" || now == pid {
			return "it is the old one, " + now
		}
		if out, err := m.docker("version", "--format", "{{.Server.Version}}"); err != nil {
			return out
		}
		return ""
	})
}

// TestFaultClusterServersDead leaves the cluster without any server for ten minutes;
// an agent and its router start from disk in that time.
func TestFaultClusterServersDead(t *testing.T) {
	f, entry, _ := newDrill(t, plan{})
	l := f.newLedger("ledger")
	traffic := entry.load("https://shop.localhost/", "version=", 200)
	f.await("the load is on", 20*time.Second, func() string { return traffic.atLeast(0, 400) })
	for _, m := range f.servers() {
		m.end(syscall.SIGKILL)
	}
	began, lasts := time.Now(), drillTime(10*time.Minute)
	agent := f.members[3]
	var took []time.Duration
	for round := range 3 {
		f.await("time passes", lasts, func() string {
			if time.Since(began) < lasts*time.Duration(round+1)/4 {
				return "not yet"
			}
			return ""
		})
		agent.end(syscall.SIGKILL)
		at := time.Now()
		agent.start()
		again := f.through(agent)
		f.await("the agent's router serves", time.Minute, func() string { return ask(again.client, "https://shop.localhost/", "version=") })
		took = append(took, time.Since(at))
	}
	figures(t, "agent and router restarted from disk, serving", took, 0, 3*time.Second)
	f.await("the fault lasts", lasts+time.Minute, func() string {
		if time.Since(began) < lasts {
			return "not yet"
		}
		return ""
	})
	at := time.Now()
	for _, m := range f.servers() {
		m.start()
	}
	_, all := l.writesBack(at, f.servers(), time.Minute)
	within(t, "all servers started again, writes through each", all, 10*time.Second)
	f.allUp(30 * time.Second)
	f.healthy("shop", 3, 30*time.Second)
	traffic.stop(t)
	t.Logf("%d writes acknowledged, none may be lost", l.check())
	f.exports(10 * time.Second)
}
