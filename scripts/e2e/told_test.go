//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// containerEvents are the starts and ends of a cluster's containers, as the engine
// tells them.
type containerEvents struct {
	mu  sync.Mutex
	all []containerEvent
}

type containerEvent struct {
	action string // "start" or "die"
	at     time.Time
}

// watchContainers hears the engine until the test ends.
func (h *host) watchContainers() *containerEvents {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := h.command(ctx, "docker", "events", "--filter", "label=paas.cluster="+h.cluster(), "--filter", "event=start", "--filter", "event=die",
		"--format", "{{.Action}} {{.TimeNano}}")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	e, ended := &containerEvents{}, make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			action, at, _ := strings.Cut(lines.Text(), " ")
			nano, _ := strconv.ParseInt(at, 10, 64) // 0 is before everything
			e.mu.Lock()
			e.all = append(e.all, containerEvent{action, time.Unix(0, nano)})
			e.mu.Unlock()
		}
	}()
	h.t.Cleanup(func() { cancel(); <-ended; _ = cmd.Wait() })
	return e
}

// first is the first event of that kind since then.
func (e *containerEvents) first(action string, since time.Time) (time.Time, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.all {
		if x.action == action && !x.at.Before(since) {
			return x.at, true
		}
	}
	return time.Time{}, false
}

// transcript is what a command says, and when.
type transcript []struct {
	at   time.Time
	text string
}

func (s transcript) String() string {
	var b strings.Builder
	for _, line := range s {
		b.WriteString(line.text + "\n")
	}
	return b.String()
}

// when is when the first line with text came.
func (s transcript) when(text string) (time.Time, bool) {
	for _, line := range s {
		if strings.Contains(line.text, text) {
			return line.at, true
		}
	}
	return time.Time{}, false
}

// timed runs paas and notes when it says what, on both outputs.
func (h *host) timed(dir string, args ...string) (said transcript, code int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := h.command(ctx, h.bin, args...)
	cmd.Dir, cmd.Env = dir, h.env()
	out, err := cmd.StdoutPipe()
	if err == nil {
		cmd.Stderr = cmd.Stdout
		err = cmd.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, struct {
			at   time.Time
			text string
		}{time.Now(), lines.Text()})
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	return said, cmd.ProcessState.ExitCode()
}

// evidence is what the last output of what failed is indented by in an error.
const evidence = "            "

// toldInTime demands that whoever deploys is told when it happens, with 1 to 20
// lines of evidence. A machine that is busy with other tests takes its time, hence
// 10 s; what it took is printed.
func (h *host) toldInTime(b bad, said transcript, ends *containerEvents, began time.Time) {
	h.t.Helper()
	known, ok := ends.first("die", began)
	if b.boot > 0 {
		known, ok = ends.first("start", began)
		known = known.Add(b.boot)
	}
	if !ok {
		h.t.Errorf("the engine told of no such container: %v", ends.all)
		return
	}
	at, _ := said.when(b.wants[0]) // refused has looked
	took := at.Sub(known)
	h.t.Logf("the one who deploys was told %v after it happened", took.Round(time.Millisecond))
	if took > 10*time.Second {
		h.t.Errorf("told %v after it happened, want at most 10 s\n%s", took, said)
	}
	_, why, _ := strings.Cut(said.String(), "\n  Why ") // a build's output is indented, too
	if n := strings.Count(why, "\n"+evidence); n < 1 && !b.quiet || n > 20 {
		h.t.Errorf("%d lines of evidence, want 1 to 20\n%s", n, said)
	}
}
