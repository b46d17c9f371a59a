//go:build e2e && faults

package e2e

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFaultDockerdDeploy ends the engine in the middle of pushes, with and without
// live-restore: each push succeeds or fails whole, and the next one works.
func TestFaultDockerdDeploy(t *testing.T) {
	for name, flags := range map[string]string{"live-restore": "--live-restore", "without": ""} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, flags)
			dir := m.twoReplicas()
			m.pushAndLoseEngine(dir, "v2", "Building (")
			m.pushAndLoseEngine(dir, "v3", "Rolling out")
			m.pushAndLoseEngine(dir, "v4", "web.1 v") // some replica of the new release
		})
	}
}

// pushAndLoseEngine pushes a version and kills dockerd when the pusher sees what.
func (m *machine) pushAndLoseEngine(dir, version, what string) {
	m.t.Helper()
	m.buildProbe(dir, version)
	m.commit(dir, version)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out := &output{}
	push := m.command(ctx, "git", "push", "paas", "main")
	push.Dir, push.Env, push.Stdout, push.Stderr = dir, m.env(), out, out
	if err := push.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.await("the pusher sees "+what, time.Minute, func() string {
		if text := out.String(); !strings.Contains(text, what) {
			return text
		}
		return ""
	})
	began := time.Now()
	m.signalEngine("KILL")
	_ = push.Wait() // its exit code says it
	code := push.ProcessState.ExitCode()
	ended := time.Since(began)
	m.engineAnswers()
	m.await("the replicas are back", 30*time.Second, func() string { return m.replicas(dir, 2) })
	m.noOrphans(2)
	_, body := m.get("https://steady.localhost/")
	live := strings.Contains(body, "version="+version)
	head, _ := m.git(dir, "rev-parse", "HEAD")
	main, _ := m.git(dir, "ls-remote", "paas", "refs/heads/main")
	moved := strings.HasPrefix(main, strings.TrimSpace(head))
	m.t.Logf("dockerd killed at %q: the push ended with %d %v later, live %v", what, code, ended.Round(time.Millisecond), live)
	if live != (code == 0) || moved != live {
		m.t.Errorf("exit %d, live %v, branch moved %v:\n%s", code, live, moved, out)
	}
	if code != 0 {
		m.t.Logf("the pusher saw:\n%s", tail(out.String(), 12))
		m.push(dir)
		m.serves("https://steady.localhost/", "version="+version)
	}
}

// output collects what a program says while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
