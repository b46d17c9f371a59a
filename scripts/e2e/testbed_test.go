//go:build e2e

package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// bed is a test bed of hosts with engines and networks of their own: see
// scripts/testbed/README.md. Host 0 is the outside.
type bed struct {
	script, id string
}

// newBed boots hosts 1 to n with these flags for their dockerd ("" are the
// default ones), and removes them when the test ends. Beds of different kinds can
// be up at once, also those of several runs with a TESTBED_ID each.
func newBed(t testing.TB, kind, n, flags string) *bed {
	t.Helper()
	script, err := filepath.Abs(filepath.Join("..", "testbed", "hosts"))
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("the test bed needs root")
	}
	b := &bed{script: script, id: kind + os.Getenv("TESTBED_ID")}
	if _, err := os.Stat("/run/testbed-" + b.id); err == nil {
		t.Fatalf("this test bed is in use, or was left by a run that was killed; end it with: TESTBED_ID=%s scripts/testbed/hosts down", b.id)
	}
	if flags != "" {
		t.Setenv("TESTBED_DOCKERD_FLAGS", flags)
	}
	t.Cleanup(func() { b.must(t, "down") })
	b.must(t, "up", n)
	return b
}

// command is the script, with its arguments; it is also how to run a program on
// a host: "exec", the host, the program.
func (b *bed) command(args ...string) []string {
	return append([]string{"env", "TESTBED_ID=" + b.id, b.script}, args...)
}

// must runs the script and returns what it printed.
func (b *bed) must(t testing.TB, args ...string) string {
	t.Helper()
	full := b.command(args...)
	out, err := exec.Command(full[0], full[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("hosts %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// network is the file of a host's network namespace.
func (b *bed) network(host string) string {
	if host == "0" {
		return "/run/netns/tb-" + b.id + "-sw"
	}
	return "/run/netns/tb-" + b.id + "-h" + host
}

// dial connects from within a host's network: a socket stays in the network that
// it was made in.
func (b *bed) dial(ctx context.Context, host, addr string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
		if err := setNetwork(b.network(host)); err != nil {
			done <- result{nil, err}
			return
		}
		c, err := (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, "tcp", addr)
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
