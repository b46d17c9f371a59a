//go:build e2e && faults

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestFaultDockerdLiveRestore ends an engine that leaves its containers alone:
// nobody notices.
func TestFaultDockerdLiveRestore(t *testing.T) {
	m := newMachine(t, "--live-restore")
	dir := m.twoReplicas()
	before := m.containers("steady")
	load := m.load("https://steady.localhost/", "instance=web.", 100)
	for _, signal := range []string{"KILL", "TERM", "KILL"} {
		m.signalEngine(signal)
		began := time.Now()
		m.engineAnswers()
		t.Logf("dockerd answers %v after SIG%s", time.Since(began).Round(time.Millisecond), signal)
		m.await("the replicas are known as healthy", 30*time.Second, func() string { return m.replicas(dir, 2) })
		if after := m.containers("steady"); after != before {
			t.Fatalf("SIG%s of dockerd changed containers:\n%s→\n%s", signal, before, after)
		}
	}
	load.stop(t)
	// The engine is used again: a change goes through.
	m.must(dir, "scale", "web=3")
	m.await("three replicas", 20*time.Second, func() string { return m.replicas(dir, 3) })
	m.must(dir, "config", "set", "GREETING=hello")
	m.serves("https://steady.localhost/", "greeting=hello")
}

// TestFaultDockerdRestart ends an engine that takes its containers along.
func TestFaultDockerdRestart(t *testing.T) {
	m := newMachine(t, "")
	dir := m.twoReplicas()
	for _, signal := range []string{"KILL", "TERM", "KILL"} {
		before := m.containers("steady")
		m.signalEngine(signal)
		began := time.Now()
		m.engineAnswers()
		back := time.Since(began)
		m.await("the app serves", 15*time.Second, func() string {
			if code, body := m.get("https://steady.localhost/"); code != 200 {
				return fmt.Sprint(code, " ", body)
			}
			return ""
		})
		serves := time.Since(began)
		m.await("all replicas are back", 15*time.Second-min(time.Since(began), 14*time.Second), func() string {
			if m.containers("steady") == before {
				return "the old containers"
			}
			return m.replicas(dir, 2)
		})
		t.Logf("SIG%s: dockerd answers after %v, the app serves after %v, all replicas are back after %v", signal,
			back.Round(time.Millisecond), serves.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		m.noOrphans(2)
	}
	m.must(dir, "config", "set", "GREETING=hello")
	m.serves("https://steady.localhost/", "greeting=hello")
	// What the engine ended is not the app's doing.
	if _, said, code := m.paas(dir, "status"); code != 0 || strings.Contains(said, "does not stay up") || strings.Contains(said, "rollback") {
		t.Errorf("status: exit %d\n%s", code, said)
	}
	if said := m.must(dir, "ps"); strings.Contains(said, "exited") {
		t.Errorf("ps:\n%s", said)
	} else {
		t.Log(said)
	}
}

// TestFaultReboot cuts the power of the machine, and starts it again.
func TestFaultReboot(t *testing.T) {
	m := newMachine(t, "")
	dir := m.twoReplicas()
	other := m.repo("static")
	m.must(other, "apps", "create", "other")
	m.push(other)
	for range 3 {
		m.bed.must(t, "kill", "1")
		<-m.exited
		began := time.Now()
		m.bed.must(t, "start", "1")
		booted := time.Since(began)
		m.start()
		ready := time.Since(began)
		for _, url := range []string{"https://steady.localhost/", "https://other.localhost/"} {
			m.await(url+" serves", 20*time.Second-min(time.Since(began), 19*time.Second), func() string {
				if code, body := m.get(url); code != 200 {
					return fmt.Sprint(code, " ", body)
				}
				return ""
			})
		}
		serve := time.Since(began)
		m.await("all replicas are back", 20*time.Second, func() string { return m.replicas(dir, 2) })
		t.Logf("after the start: dockerd %v, paas ready %v, both apps serve %v, all replicas %v", booted.Round(time.Millisecond),
			ready.Round(time.Millisecond), serve.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		m.noOrphans(3)
	}
	m.must(dir, "config", "set", "GREETING=hello")
	m.serves("https://steady.localhost/", "greeting=hello")
}

// twoReplicas deploys an app with two replicas.
func (m *machine) twoReplicas() (dir string) {
	m.t.Helper()
	dir = m.repo("probe")
	m.must(dir, "apps", "create", "steady")
	m.push(dir)
	m.must(dir, "scale", "web=2")
	return dir
}

// replicas says what is wrong with n healthy replicas.
func (m *machine) replicas(dir string, n int) string {
	var ps psList
	m.into(&ps, dir, "ps")
	if got := ps.healthy("web"); got != n || len(ps.Allocations) != n {
		return fmt.Sprintf("%d healthy of %d, want %d: %+v", got, len(ps.Allocations), n, ps.Allocations)
	}
	return ""
}

// noOrphans demands n containers of the cluster, all of which run.
func (m *machine) noOrphans(n int) {
	m.t.Helper()
	m.await(fmt.Sprintf("%d containers, all running", n), 40*time.Second, func() string {
		out, _, _ := m.run(m.home, "", "docker", "ps", "-a", "--filter", "label=paas.cluster="+m.cluster(), "--format", "{{.State}} {{.Names}}")
		if strings.Count(out, "running ") != n || strings.Count(out, "\n") != n {
			return out
		}
		return ""
	})
}
