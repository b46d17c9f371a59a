//go:build docker

package cli

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDockerUpInTheBackground is `paas up --detach` from nothing to nothing: it
// starts, refuses a second process, says that it runs already, survives down and
// up with its context, and purge leaves neither process nor file.
func TestDockerUpInTheBackground(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	data, home := filepath.Join(dir, "data"), filepath.Join(dir, "home")
	paas := func(args ...string) (string, int) {
		t.Helper()
		var out bytes.Buffer
		cmd := exec.Command(exe, args...)
		cmd.Args[0] = "paas"
		cmd.Env = append(os.Environ(), "PAAS_HOME="+home, "HOME="+dir)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return out.String(), cmd.ProcessState.ExitCode()
	}
	must := func(want string, args ...string) {
		t.Helper()
		if out, code := paas(args...); code != 0 || !strings.Contains(out, want) {
			t.Fatalf("paas %v: exit %d, want %q\n%s", args, code, want, out)
		}
	}
	addrs := []string{"--http", loopback(t), "--https", loopback(t), "--listen", loopback(t)}
	t.Cleanup(func() { paas("down", "--purge", "--yes", "--data", data) })
	must("ready in", append([]string{"up", "-d", "--data", data}, addrs...)...)
	r, err := readRecord(data)
	if err != nil || !r.alive() || !r.Ready {
		t.Fatalf("record %+v, %v", r, err)
	}
	must("runs already", "up", "-d", "--data", data)
	if out, code := paas("up", "--data", data); code != exitConflict || !strings.Contains(out, "is in use") {
		t.Fatalf("a second process: exit %d\n%s", code, out)
	}
	must("Nodes\t1 of 1 up", "status")
	must("created", "apps", "create", "kept")
	must("Next: paas up --detach --data "+data, "down", "--data", data)
	if r.alive() {
		t.Fatal("down left the process running")
	}
	must("ready in", "up", "-d", "--data", data) // the ports of before, without naming them
	if again, err := readRecord(data); err != nil || again.Listen != r.Listen || again.HTTPS != r.HTTPS {
		t.Fatalf("ports changed: %+v, %v", again, err)
	}
	must("kept\tnot deployed", "apps")
	must("is gone", "down", "--purge", "--yes", "--data", data)
	if _, err := os.Stat(data); err == nil {
		t.Fatal("purge left the data directory")
	}
	if out, code := paas("apps"); code != exitLogin {
		t.Fatalf("purge left the context: exit %d\n%s", code, out)
	}
}

func loopback(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
