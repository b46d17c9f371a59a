package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"sync/atomic"
	"syscall"

	"golang.org/x/term"

	"paas/api"
)

// terminal is this side of a remote command: what is typed, resized and
// signalled goes there, what it prints comes here. It implements api.Terminal.
type terminal struct {
	out, err   io.Writer
	tty        bool
	rows, cols uint16

	frames  chan api.Frame // sent by read, which closes it after the last
	signals chan os.Signal // sent by package signal
	passed  chan os.Signal // sent by heed: those for the command
	over    chan struct{}  // closed by close
	restore func()
	fd      int         // of the terminal, when tty
	heard   bool        // the command, or what starts it, has printed something
	missing string      // why the command could not be started: "No such file or directory"
	joined  atomic.Bool // the command gets what is typed, Ctrl-C included
	// interrupt ends the wait for a command that has not begun.
	interrupt func()
	note      func(format string, args ...any)
}

// openTerminal takes the terminal over, if stdin and stdout are one, so that
// every key reaches the command. Before there is one, Ctrl-C calls interrupt.
func openTerminal(in *invocation, interrupt func()) (*terminal, error) {
	t := &terminal{out: in.out.out, err: in.out.err, frames: make(chan api.Frame), signals: make(chan os.Signal, 8),
		passed: make(chan os.Signal, 8), over: make(chan struct{}), restore: func() {}, interrupt: interrupt, note: in.out.notef}
	t.tty = isTerminal(in.stdin) && in.out.outTTY && !in.Bool("no-tty")
	if t.tty {
		t.fd = int(in.stdin.(*os.File).Fd())
		before, err := term.MakeRaw(t.fd)
		if err != nil {
			return nil, fmt.Errorf("take the terminal over: %w", err)
		}
		t.restore = func() { _ = term.Restore(t.fd, before) } // there is nobody to tell
		t.rows, t.cols = t.size()
	}
	signal.Notify(t.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGWINCH)
	go t.read(in.stdin)
	go t.heed()
	return t, nil
}

func (t *terminal) close() {
	signal.Stop(t.signals)
	close(t.over)
	t.restore()
}

// heed passes signals on to the command. One that has not begun is not waited for
// after SIGINT or SIGTERM, and one that goes on after SIGINT not after another:
// it may be deaf, and the server gone. Keys of a terminal are none of these.
func (t *terminal) heed() {
	asked := false
	for {
		var s os.Signal
		select {
		case s = <-t.signals:
		case <-t.over:
			return
		}
		switch {
		case s == syscall.SIGINT && asked:
			t.restore()
			os.Exit(exitInterrupted)
		case (s == syscall.SIGINT || s == syscall.SIGTERM) && !t.joined.Load():
			asked = true
			t.interrupt()
			continue
		case s == syscall.SIGINT:
			asked = true
			t.note("Ctrl-C was passed on to the command; once more ends the wait for it.\n")
		}
		select {
		case t.passed <- s:
		default: // nobody takes them
		}
	}
}

func (t *terminal) size() (rows, cols uint16) {
	w, h, err := term.GetSize(t.fd)
	if err != nil {
		return 0, 0
	}
	return uint16(h), uint16(w)
}

// keyCtrlC is what a raw terminal sends instead of a signal.
const keyCtrlC = 3

// read sends what is typed until its end. A read of a terminal cannot be
// cancelled: the goroutine ends with the program.
func (t *terminal) read(stdin io.Reader) {
	defer close(t.frames)
	for {
		buf := make([]byte, 32<<10)
		n, err := stdin.Read(buf)
		if t.tty && !t.joined.Load() && bytes.IndexByte(buf[:n], keyCtrlC) >= 0 {
			t.interrupt()
		}
		if n > 0 {
			t.frames <- api.Frame{Kind: api.FrameStdin, Data: buf[:n]}
		}
		if err != nil {
			t.frames <- api.Frame{Kind: api.FrameEOF}
			return
		}
	}
}

// signalNames are the signals that a remote command can get.
var signalNames = map[os.Signal]string{syscall.SIGINT: "INT", syscall.SIGTERM: "TERM", syscall.SIGHUP: "HUP", syscall.SIGQUIT: "QUIT"}

// Recv implements api.Terminal: the next thing that happened here.
func (t *terminal) Recv(ctx context.Context) (api.Frame, error) {
	t.joined.Store(true)
	frames := t.frames
	for {
		select {
		case f, ok := <-frames:
			if ok {
				return f, nil
			}
			t.frames, frames = nil, nil // input ended; size and signals still come
		case s := <-t.passed:
			if name := signalNames[s]; name != "" {
				return api.Frame{Kind: api.FrameSignal, Data: []byte(name)}, nil
			}
			if rows, cols := t.size(); t.tty && rows > 0 {
				return api.Frame{Kind: api.FrameResize, Rows: rows, Cols: cols}, nil
			}
		case <-ctx.Done():
			return api.Frame{}, ctx.Err()
		}
	}
}

// initRE is what the engine's init says of a command that it cannot start: its
// name and number mean nothing to who typed the command.
var initRE = regexp.MustCompile(`^\[FATAL tini \(\d+\)\] exec .* failed: ([A-Z][A-Za-z ]*)\r?\n$`)

// Send implements api.Terminal: what the command printed.
func (t *terminal) Send(_ context.Context, f api.Frame) error {
	w := t.out
	switch f.Kind {
	case api.FrameStdout:
	case api.FrameStderr:
		w = t.err
	default:
		return nil
	}
	first := !t.heard
	t.heard = true
	if m := initRE.FindSubmatch(f.Data); first && m != nil {
		t.missing = string(m[1])
		return nil
	}
	if _, err := w.Write(f.Data); err != nil {
		return errors.Join(errors.New("the output cannot be written"), err)
	}
	return nil
}
