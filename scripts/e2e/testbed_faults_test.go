//go:build e2e && faults

package e2e

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// machine is a host of a test bed, with an engine and a network of its own.
type machine struct {
	*host
	bed *bed
}

// newMachine boots a host with these flags for its dockerd, and starts paas on it.
func newMachine(t *testing.T, flags string) *machine {
	t.Helper()
	m := &machine{bed: newBed(t, "machine", "1", flags)}
	m.host = placeHost(t)
	m.on = m.bed.command("exec", "1")
	m.host.dial = func(ctx context.Context, addr string) (net.Conn, error) { return m.bed.dial(ctx, "1", addr) }
	t.Cleanup(m.purge)
	m.start()
	return m
}

// signalEngine sends a signal to the machine's dockerd, and waits until that is
// gone; the machine starts another one a second later.
func (m *machine) signalEngine(signal string) {
	m.t.Helper()
	pid := m.enginePID()
	if pid == "" {
		m.t.Fatal("no dockerd runs")
	}
	if out, errs, code := m.run(m.home, "", "kill", "-"+signal, pid); code != 0 {
		m.t.Fatalf("kill dockerd: %s%s", out, errs)
	}
	m.await("dockerd is gone", 60*time.Second, func() string {
		if _, _, code := m.run(m.home, "", "kill", "-0", pid); code == 0 {
			return "it runs"
		}
		return ""
	})
}

func (m *machine) enginePID() string {
	out, _, _ := m.run(m.home, "", "cat", "/run/docker.pid")
	return strings.TrimSpace(out)
}

// engineAnswers waits for the machine's dockerd.
func (m *machine) engineAnswers() {
	m.t.Helper()
	m.await("dockerd answers", 60*time.Second, func() string {
		out, errs, code := m.run(m.home, "", "docker", "version", "--format", "{{.Server.Version}}")
		if code != 0 {
			return out + errs
		}
		return ""
	})
}
