//go:build e2e && faults

package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestFaultClusterSilentEngine stops the engine of the only host of a zone without
// ending it: the host is up, what runs there runs on, and nothing new starts.
func TestFaultClusterSilentEngine(t *testing.T) {
	f := newFleet(t, plan{servers: 3})
	dir := f.deployProbe("shop", 3)
	m := f.followers()[0]
	m.stopEngine(t)
	began := time.Now()
	f.must(dir, "scale", "web=6", "--timeout", "3m")
	within(t, "six replicas, none of the new ones on the silent host", time.Since(began), 75*time.Second)
	began = time.Now()
	f.must(dir, "config", "set", "GREETING=hello")
	within(t, "a new release beside the silent host", time.Since(began), 100*time.Second)
	out := f.must(dir, "ps")
	t.Logf("\n%s", out)
	for line := range strings.Lines(out) {
		if strings.Contains(line, m.name) && strings.Contains(line, "healthy") && strings.Contains(line, " v2 ") {
			t.Errorf("a replica of the new release runs on %s: %s", m.name, line)
		}
	}
}

// stopEngine stops the host's dockerd until the test ends.
func (m *member) stopEngine(t *testing.T) {
	t.Helper()
	full := m.f.bed.command("exec", m.index, "cat", "/run/docker.pid")
	out, _, code := m.f.run(m.f.home, "", full[0], full[1:]...)
	if pid := strings.TrimSpace(out); code == 0 && pid != "" {
		m.f.bed.must(t, "exec", m.index, "kill", "-STOP", pid)
		t.Cleanup(func() { m.f.bed.must(t, "exec", m.index, "kill", "-CONT", pid) })
		return
	}
	t.Fatalf("no dockerd runs on %s", m.name)
}
