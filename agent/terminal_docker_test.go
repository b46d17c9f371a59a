//go:build docker

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"paas/api"
	"paas/cluster"
)

// screen is the caller's end of a terminal.
type screen struct {
	input chan api.Frame // closed when the caller goes

	mu       sync.Mutex
	out, err strings.Builder // guarded by mu
}

func newScreen(frames ...api.Frame) *screen {
	s := &screen{input: make(chan api.Frame, 100)}
	for _, f := range frames {
		s.input <- f
	}
	return s
}

func (s *screen) Recv(ctx context.Context) (api.Frame, error) {
	select {
	case f, ok := <-s.input:
		if !ok {
			return f, io.EOF
		}
		return f, nil
	case <-ctx.Done():
		return api.Frame{}, ctx.Err()
	}
}

func (s *screen) Send(_ context.Context, f api.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f.Kind {
	case api.FrameStdout:
		s.out.Write(f.Data)
	case api.FrameStderr:
		s.err.Write(f.Data)
	default:
		return fmt.Errorf("frame of kind %d", f.Kind)
	}
	return nil
}

func (s *screen) text() (stdout, stderr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String(), s.err.String()
}

func (s *screen) sees(text string) func() bool {
	return func() bool { out, _ := s.text(); return strings.Contains(out, text) }
}

// runRequest is a one-off of the given command.
func (h *host) runRequest(command ...string) api.RunRequest {
	a := h.assignment("", "")
	a.Type, a.Process.Port = "run", 0
	a.Env["FROM_CONFIG"] = "yes"
	return api.RunRequest{App: "blog", Command: command, Assignment: &a}
}

func (h *host) none(what string) {
	h.t.Helper()
	soon(h.t, what, func() bool { all, err := h.d.List(h.t.Context()); return err == nil && len(all) == 0 })
}

func TestDockerRun(t *testing.T) {
	h := newHost(t)
	h.begin(setOf())
	in := h.runRequest("sh", "-c", "cat; echo err >&2; echo $FROM_CONFIG $EXTRA; env | wc -l; exit 42")
	in.Env = map[string]cluster.Redacted{"EXTRA": "too"}
	s := newScreen(api.Frame{Kind: api.FrameStdin, Data: []byte("typed\n")}, api.Frame{Kind: api.FrameEOF})
	code, err := h.calls.Run(t.Context(), in, s)
	if err != nil || code != 42 {
		t.Fatalf("got %d, %v", code, err)
	}
	// PORT, FROM_CONFIG, EXTRA; HOME, HOSTNAME, PATH, PWD and SHLVL are the engine's and the shell's.
	if out, errs := s.text(); out != "typed\nyes too\n8\n" || errs != "err\n" {
		t.Errorf("stdout %q, stderr %q", out, errs)
	}
	h.none("one-off is removed")
}

func TestDockerRunTTY(t *testing.T) {
	h := newHost(t)
	h.begin(setOf())
	in := h.runRequest("sh")
	in.TTY, in.Rows, in.Cols = true, 33, 99
	s := newScreen()
	done := make(chan int, 1)
	go func() {
		code, err := h.calls.Run(t.Context(), in, s)
		if err != nil {
			t.Error(err)
		}
		done <- code
	}()
	soon(t, "prompt", s.sees("# "))
	s.input <- api.Frame{Kind: api.FrameStdin, Data: []byte("stty size; echo $TERM\n")}
	soon(t, "size and TERM", func() bool { return s.sees("33 99")() && s.sees("xterm-256color")() })
	s.input <- api.Frame{Kind: api.FrameResize, Rows: 44, Cols: 111}
	s.input <- api.Frame{Kind: api.FrameStdin, Data: []byte("stty size; exit 9\n")}
	if code := <-done; code != 9 || !s.sees("44 111")() {
		out, _ := s.text()
		t.Errorf("code %d, screen:\n%s", code, out)
	}
	h.none("one-off is removed")
}

func TestDockerRunSignals(t *testing.T) {
	for signal, want := range map[string]int{"TERM": 143, "INT": 130, "KILL": 137} {
		t.Run(signal, func(t *testing.T) {
			h := newHost(t)
			h.begin(setOf())
			s := newScreen()
			done := make(chan int, 1)
			go func() {
				code, _ := h.calls.Run(t.Context(), h.runRequest("sh", "-c", "echo up; exec sleep 3600"), s)
				done <- code
			}()
			soon(t, "started", s.sees("up"))
			s.input <- api.Frame{Kind: api.FrameSignal, Data: []byte("NONSENSE; rm")}
			s.input <- api.Frame{Kind: api.FrameSignal, Data: []byte(signal)}
			if code := <-done; code != want {
				t.Errorf("code %d, want %d", code, want)
			}
		})
	}
}

func TestDockerRunDiesWithItsCaller(t *testing.T) {
	h := newHost(t)
	h.begin(setOf())
	s := newScreen()
	done := make(chan error, 1)
	go func() {
		_, err := h.calls.Run(t.Context(), h.runRequest("sh", "-c", "echo up; sleep 3600"), s)
		done <- err
	}()
	soon(t, "started", s.sees("up"))
	close(s.input)
	if err := <-done; !errors.Is(err, errCallerGone) {
		t.Errorf("got %v", err)
	}
	h.none("one-off is removed")
}

func TestDockerExec(t *testing.T) {
	h := newHost(t)
	a := h.assignment("a-1", "sleep 3600")
	a.Process.Port = 0
	h.begin(setOf(a))
	o := h.await("a-1", cluster.AllocationHealthy)
	in := api.ExecRequest{App: "blog", Instance: "web.1", Allocation: "a-1", Command: []string{"sh", "-c", "echo $PORT; cat; exit 6"}}
	s := newScreen(api.Frame{Kind: api.FrameStdin, Data: []byte("in")}, api.Frame{Kind: api.FrameEOF})
	code, err := h.calls.Exec(t.Context(), in, s)
	if out, _ := s.text(); err != nil || code != 6 || out != "8080\nin" {
		t.Errorf("got %d, %v, %q", code, err, out)
	}
	in.Command = []string{"no-such-program"}
	if code, err := h.calls.Exec(t.Context(), in, newScreen()); err == nil && code != 127 && code != 126 {
		t.Errorf("a program that does not exist: %d, %v", code, err)
	}
	in.Allocation = "a-77"
	if _, err := h.calls.Exec(t.Context(), in, newScreen()); cluster.KindOf(err) != cluster.KindConflict {
		t.Errorf("exec in what does not run: %v", err)
	}
	in.Allocation, in.Command, in.TTY, in.Rows, in.Cols = "a-1", []string{"sh", "-c", "stty size; exec sleep 1234"}, true, 20, 70
	s = newScreen()
	done := make(chan error, 1)
	go func() { _, err := h.calls.Exec(t.Context(), in, s); done <- err }()
	soon(t, "terminal", func() bool { out, _ := s.text(); return out != "" })
	close(s.input)
	if err := <-done; !errors.Is(err, errCallerGone) {
		t.Errorf("got %v", err)
	}
	soon(t, "the command died with its caller", func() bool {
		out, _ := h.exec(o.Observation.ContainerID, "ps")
		return !strings.Contains(out, "sleep 1234")
	})
}

func TestDockerLogs(t *testing.T) {
	h := newHost(t)
	one := h.assignment("a-1", "i=0; while :; do i=$((i+1)); echo one $i; sleep 0.1; [ $i = 12 ] && exit 1; done")
	two := h.assignment("a-2", "i=0; while :; do i=$((i+1)); echo two $i >&2; sleep 0.1; done")
	two.Slot = 2
	one.Process.Port, two.Process.Port = 0, 0
	h.begin(setOf(one, two))
	h.awaitWhere("a-1", "restarted", func(o cluster.Observation) bool { return o.Restarts == 1 && o.State == cluster.AllocationStarting })
	in := api.LogsRequest{App: "blog", Lines: 5, Allocations: []cluster.AllocationID{"a-1", "a-2"}}
	var lines []api.LogLine
	if err := h.calls.Logs(t.Context(), in, func(l api.LogLine) error { lines = append(lines, l); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 10 || !slices.IsSortedFunc(lines, func(x, y api.LogLine) int { return x.At.Compare(y.At) }) {
		t.Errorf("backlog: %v", lines)
	}
	if !slices.ContainsFunc(lines, func(l api.LogLine) bool { return l.Text == "one 12" && l.Instance == "web.1" && !l.Stderr }) {
		t.Errorf("the crashed container's last line is lost: %v", lines)
	}
	// Following goes on into the next container, and no line comes twice.
	in.Follow, in.Lines = true, 1
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := errors.New("seen enough")
	var seen []string
	err := h.calls.Logs(ctx, in, func(l api.LogLine) error {
		if l.Instance == "web.1" {
			seen = append(seen, l.Text)
		}
		if len(seen) > 1 && l.Text == "one 1" {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Errorf("following ended with %v after %q", err, seen)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i] == seen[i-1] {
			t.Errorf("twice: %q", seen)
		}
	}
}

func TestDockerLongLinesAreCut(t *testing.T) {
	h := newHost(t)
	a := h.assignment("a-1", "head -c 40000 /dev/zero | tr '\\0' x; echo; printf 'a\\377b\\r\\n'; sleep 3600")
	a.Process.Port = 0
	h.begin(setOf(a))
	h.await("a-1", cluster.AllocationHealthy)
	var texts []string
	if err := h.calls.Logs(t.Context(), api.LogsRequest{Allocations: []cluster.AllocationID{"a-1"}}, func(l api.LogLine) error { texts = append(texts, l.Text); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(texts) != 4 || len(texts[0]) != maxLogText || len(strings.Join(texts[:3], "")) != 40000 || texts[3] != "a\uFFFDb" {
		t.Errorf("%d lines, first of %d bytes, last %q", len(texts), len(texts[0]), texts[len(texts)-1])
	}
}
