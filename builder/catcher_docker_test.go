//go:build docker

package builder

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// realGroups mounts version 2 of control groups, which a kernel has beside version
// 1, with the groups in which an engine under systemd begins and keeps steps.
func realGroups(t *testing.T) *stepGroup {
	t.Helper()
	root := t.TempDir()
	if err := unix.Mount("none", root, "cgroup2", 0, ""); err != nil {
		t.Skipf("mount cgroup2: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	test, err := os.MkdirTemp(root, "paastest")
	if err != nil {
		t.Fatal(err)
	}
	g := &stepGroup{root: test, name: stepSlice, unified: true, born: "system.slice"}
	for _, dir := range []string{"", g.born, g.name, filepath.Join(g.name, sliceLeaf)} {
		if err := os.MkdirAll(filepath.Join(test, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(filepath.Join(test, dir)) })
	}
	return g
}

// step is what an engine does: it makes the group, starts a process that waits
// for its configuration, and puts it there.
type step struct {
	dir   string
	cmd   *exec.Cmd
	begin func() string // lets it run its command, and returns its output
}

func startStep(t *testing.T, g *stepGroup, name, command string) *step {
	t.Helper()
	s := &step{dir: filepath.Join(g.root, g.born, name), cmd: exec.Command("sh", "-c", "read go; "+command)}
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &out, &out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait(); _ = os.Remove(s.dir) })
	pid := strconv.Itoa(s.cmd.Process.Pid)
	for _, err := range []error{
		os.WriteFile(filepath.Join("/proc", pid, "oom_score_adj"), []byte("300"), 0),
		os.Mkdir(s.dir, 0o755), os.WriteFile(filepath.Join(s.dir, "cgroup.procs"), []byte(pid), 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.begin = func() string {
		_ = stdin.Close()
		_ = s.cmd.Wait() // the output tells
		return out.String()
	}
	return s
}

// A step has left its group before its command begins; the command is in the
// limited group, with the score of any process, and so is what it starts.
func TestDockerStepsAreCaught(t *testing.T) {
	g := realGroups(t)
	var log bytes.Buffer
	early := startStep(t, g, "system.slice:docker:early", "cat /proc/self/cgroup /proc/self/oom_score_adj")
	other := startStep(t, g, "docker.service", "grep ^0: /proc/self/cgroup")
	c, err := g.catch(slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	late := startStep(t, g, "system.slice:docker:late", "cat /proc/self/cgroup /proc/self/oom_score_adj")
	for name, s := range map[string]*step{"early": early, "late": late} {
		out := strings.TrimSpace(s.begin())
		if !strings.Contains(out, "/paasbuilds.slice/buildkit\n") || !strings.HasSuffix(out, "\n0") {
			t.Errorf("%s: %q", name, out)
		}
	}
	if out := other.begin(); !strings.Contains(out, "system.slice/docker.service") {
		t.Errorf("the engine's own: %q", out)
	}
	if err := c.Close(); err != nil || log.Len() > 0 {
		t.Errorf("%v, %s", err, log.String())
	}
}

// What a catcher froze and could not wait for runs on.
func TestDockerNoStepStaysFrozen(t *testing.T) {
	g := realGroups(t)
	c, err := g.catch(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(g.root, g.born, "system.slice:docker:empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(empty)
	freeze := func() string {
		data, _ := os.ReadFile(filepath.Join(empty, "cgroup.freeze")) // an error is no "1"
		return strings.TrimSpace(string(data))
	}
	for end := time.Now().Add(10 * time.Second); freeze() != "1"; {
		if time.Now().After(end) {
			t.Fatal("not frozen")
		}
	}
	if err := c.Close(); err != nil || freeze() != "0" {
		t.Errorf("%v, freeze is %q", err, freeze())
	}
}

// A caught step is out of the engine's device filter, and under one of ours.
func TestDockerCaughtStepsOpenNoDevices(t *testing.T) {
	g := realGroups(t)
	leaf := filepath.Join(g.root, g.name, sliceLeaf)
	for range 2 { // every build sets it
		if err := filterDevices(leaf); err != nil {
			t.Fatal(err)
		}
	}
	node := filepath.Join(t.TempDir(), "disk")
	script := "echo $$ >" + leaf + "/cgroup.procs; mknod " + node + " b 1 0 && echo made; " +
		"for f in /dev/null /dev/zero /dev/urandom; do head -c 1 $f >/dev/null || echo no $f; done; " +
		"for f in " + node + " /dev/kmsg; do head -c 1 $f >/dev/null 2>&1 && echo opened $f; done; dd if=" + node + " 2>&1 | grep -o 'not permitted'"
	out, _ := exec.Command("sh", "-c", script).CombinedOutput() // its last command may find nothing
	if string(out) != "made\nnot permitted\n" {
		t.Errorf("%q", out)
	}
}
