//go:build e2e && faults

package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a host of the test bed, with an engine and a network of its own.
type machine struct {
	*host
	hosts string // the script
	index string
}

// newMachine boots the test bed's first host with these flags for its dockerd,
// and starts paas on it. The test bed must not be in use.
func newMachine(t *testing.T, flags string) *machine {
	t.Helper()
	script, err := filepath.Abs(filepath.Join("..", "testbed", "hosts"))
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("the test bed needs root")
	}
	if _, err := os.Stat("/run/testbed"); err == nil {
		t.Fatal("the test bed is in use; end it with: scripts/testbed/hosts down")
	}
	t.Setenv("TESTBED_DOCKERD_FLAGS", flags)
	m := &machine{hosts: script, index: "1"}
	t.Cleanup(func() { m.testbed(t, "down") })
	m.testbed(t, "up", m.index)
	m.host = placeHost(t)
	m.on = []string{script, "exec", m.index}
	m.host.dial = m.enter
	t.Cleanup(m.purge)
	m.start()
	return m
}

// testbed runs the script.
func (m *machine) testbed(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(m.hosts, args...).CombinedOutput(); err != nil {
		t.Fatalf("hosts %v: %v\n%s", args, err, out)
	}
}

// enter dials from within the machine's network: a socket stays in the network
// that it was made in.
func (m *machine) enter(ctx context.Context, addr string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
		if err := setNetwork("/run/netns/tb-h" + m.index); err != nil {
			done <- result{nil, err}
			return
		}
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		done <- result{c, err}
	}()
	r := <-done
	return r.conn, r.err
}

func setNetwork(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
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
