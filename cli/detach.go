package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"paas/cluster"
)

const (
	// stopTime bounds how long a host may take to stop with its containers.
	stopTime = 2 * time.Minute
	// upTime bounds how long a background host may take to get ready.
	upTime = 2 * time.Minute
	// readyFD is where a background process tells its parent.
	readyFD = 3
)

// upDetached starts this program again in the background and waits until it is
// ready. One that runs already is fine.
func (in *invocation) upDetached(ctx context.Context, dir string) error {
	if r, err := readRecord(dir); err == nil && r.alive() {
		return in.alreadyUp(ctx, dir, r)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cluster.Invalid("data", "the data directory cannot be made").Because("%v", err).WithHint("choose another one: --data DIR")
	}
	logFile := filepath.Join(dir, "up.log")
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, in.backgroundArgs(dir)...)
	cmd.Args[0] = "paas" // as people know it in their process lists
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C and the end of the session are not its business
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start in the background: %w", err), w.Close())
	}
	if err := w.Close(); err != nil {
		return err
	}
	news, err := awaitChild(ctx, r, logFile)
	if err != nil {
		_ = cmd.Process.Signal(syscall.SIGTERM) // half a start is worth nothing
		return err
	}
	switch {
	case news.Ready != nil:
		in.upScreen(news.Ready, "paas down"+dataFlag(in, dir))
		return cmd.Process.Release()
	case news.Error != nil:
		e := &cluster.Error{Code: news.Error.Code, Message: news.Error.Message, Reason: news.Error.Reason, Hint: news.Error.Hint}
		if err := e.Kind.UnmarshalText([]byte(news.Error.Kind)); err != nil {
			return err
		}
		return e
	}
	return cluster.Errorf(cluster.KindInternal, "up", "the background process ended before it was ready").WithHint("see: " + logFile)
}

// dataFlag is how to name dir to other commands; "" for the usual one.
func dataFlag(in *invocation, dir string) string {
	if usual, err := in.usualData(); err == nil && usual == dir {
		return ""
	}
	return " --data " + shellWord(dir)
}

// backgroundArgs are this invocation's flags of up, less those for us alone.
func (in *invocation) backgroundArgs(dir string) []string {
	args := []string{"up", "--data=" + dir, fmt.Sprintf("--ready-fd=%d", readyFD)}
	for _, f := range upVerb().flags {
		name := f.Names()[0]
		if in.IsSet(name) && !slices.Contains([]string{"data", "ready-fd", "detach"}, name) {
			args = append(args, fmt.Sprintf("--%s=%v", name, in.Value(name)))
		}
	}
	return args
}

// awaitChild reads the background process's one line of news.
func awaitChild(ctx context.Context, r *os.File, logFile string) (*upNews, error) {
	type answer struct {
		news upNews
		err  error
	}
	got := make(chan answer, 1) // sent once; the read ends with r
	go func() {
		var a answer
		a.err = json.NewDecoder(r).Decode(&a.news)
		got <- a
	}()
	timeout := time.NewTimer(upTime)
	defer timeout.Stop()
	select {
	case a := <-got:
		if a.err != nil {
			return &upNews{}, nil // it ended without a word: its log knows
		}
		return &a.news, nil
	case <-timeout.C:
		return nil, notReady(logFile)
	case <-ctx.Done():
		return nil, interrupted("the start was stopped", "")
	}
}

func notReady(logFile string) error {
	return cluster.Errorf(cluster.KindUnavailable, "up", "paas is not ready after %s", upTime).WithHint("see why: " + logFile)
}

// tellParent writes the one line of news and closes the descriptor.
func tellParent(fd int, r *upRecord, err error) {
	news := upNews{Ready: r}
	if err != nil {
		news.Error = problem(asError(err))
	}
	if f := os.NewFile(uintptr(fd), "ready"); f != nil {
		_ = json.NewEncoder(f).Encode(news) // the parent is gone, or had its news
		_ = f.Close()
	}
}

// alreadyUp waits until the process that runs is ready, and shows it.
func (in *invocation) alreadyUp(ctx context.Context, dir string, r *upRecord) error {
	if in.Bool("fresh") {
		return cluster.Conflict("running", "%s is in use", dir).Because("process %d runs there", r.PID).
			WithHint("stop it first: paas down --data " + shellWord(dir))
	}
	err := await(ctx, upTime, func() bool {
		now, err := readRecord(dir)
		if err == nil {
			r = now
		}
		return err != nil || r.Ready || !r.alive()
	})
	if ctx.Err() != nil {
		return interrupted(fmt.Sprintf("process %d goes on starting", r.PID), "see: "+filepath.Join(dir, "up.log"))
	}
	if err != nil {
		return notReady(filepath.Join(dir, "up.log"))
	}
	if !r.Ready {
		return cluster.Errorf(cluster.KindUnavailable, "up", "the process that ran in %s has ended", dir).WithHint("try again: paas up --detach --data " + shellWord(dir))
	}
	if err := in.renewContext(ctx, dir, r); err != nil {
		return err
	}
	in.out.notef("paas runs already (process %d).\n", r.PID)
	in.upScreen(r, "paas down"+dataFlag(in, dir))
	return nil
}

// await polls until done: for what other processes do, which nobody announces.
func await(ctx context.Context, within time.Duration, done func() bool) error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return context.DeadlineExceeded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
