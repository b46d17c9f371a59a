package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
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
	restore func()
	fd      int // of the terminal, when tty
}

// openTerminal takes the terminal over, if stdin and stdout are one, so that
// every key reaches the command.
func openTerminal(in *invocation) (*terminal, error) {
	t := &terminal{out: in.out.out, err: in.out.err, frames: make(chan api.Frame), signals: make(chan os.Signal, 8), restore: func() {}}
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
	return t, nil
}

func (t *terminal) close() {
	signal.Stop(t.signals)
	t.restore()
}

func (t *terminal) size() (rows, cols uint16) {
	w, h, err := term.GetSize(t.fd)
	if err != nil {
		return 0, 0
	}
	return uint16(h), uint16(w)
}

// read sends what is typed until its end. A read of a terminal cannot be
// cancelled: the goroutine ends with the program.
func (t *terminal) read(stdin io.Reader) {
	defer close(t.frames)
	for {
		buf := make([]byte, 32<<10)
		n, err := stdin.Read(buf)
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
	frames := t.frames
	for {
		select {
		case f, ok := <-frames:
			if ok {
				return f, nil
			}
			t.frames, frames = nil, nil // input ended; size and signals still come
		case s := <-t.signals:
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
	if _, err := w.Write(f.Data); err != nil {
		return errors.Join(errors.New("the output cannot be written"), err)
	}
	return nil
}
