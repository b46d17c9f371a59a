//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEngineOfOthersRunsOn: scripts/host stops the engine that it started only if
// no container runs there. The engine is a program of that name that does nothing,
// and "docker" one that says what the test wants.
func TestEngineOfOthersRunsOn(t *testing.T) {
	for name, c := range map[string]struct {
		docker string // what it does
		said   string
		stops  bool
	}{
		"others' containers": {"echo db; echo cache", "db cache", false},
		"it cannot be asked": {"echo no answer >&2; exit 1", "no answer", false},
		"nothing runs":       {"exit 0", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			pid, ended := fakeEngine(t, dir)
			script(t, filepath.Join(dir, "docker"), c.docker)
			record := filepath.Join(dir, "dockerd.pid")
			if err := os.WriteFile(record, fmt.Append(nil, pid, "\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("../host", "stop")
			cmd.Env = append(os.Environ(), "PAAS_RUN_DIR="+dir, "PATH="+dir+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			_, kept := os.Stat(record)
			if c.stops {
				select {
				case <-ended:
				case <-time.After(30 * time.Second):
					t.Error("the engine runs on")
				}
				if kept == nil || len(out) > 0 {
					t.Errorf("the record is still there, or it said something:\n%s", out)
				}
				return
			}
			contains(t, "scripts/host stop", string(out), "runs on", c.said, fmt.Sprintf("kill %d", pid), "  Do  ")
			select {
			case <-ended:
				t.Error("the engine was stopped")
			default:
			}
			if kept != nil {
				t.Errorf("the engine cannot be stopped the next time: %v", kept)
			}
		})
	}
}

// fakeEngine is a process called dockerd; it ends with the test, or earlier.
func fakeEngine(t *testing.T, dir string) (pid int, ended chan struct{}) {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "dockerd")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended = make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	return cmd.Process.Pid, ended
}

// script writes a program for the shell.
func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+strings.TrimSpace(text)+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}
