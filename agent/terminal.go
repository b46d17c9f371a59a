package agent

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"paas/api"
)

// maxFrame is Frame.Data's bound.
const maxFrame = 32 << 10

// defaultTerm is what a terminal is when nobody says.
const defaultTerm = "TERM=xterm-256color"

// cleanupTimeout bounds what is done after a caller has gone.
const cleanupTimeout = 15 * time.Second

// errCallerGone: the other side of a terminal went away.
var errCallerGone = errors.New("caller is gone")

// connect joins a terminal with a command until the command's output ends (nil)
// or the caller goes (errCallerGone). hangup closes the stream.
func connect(ctx context.Context, t api.Terminal, s stream, hangup func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var both sync.WaitGroup
	defer both.Wait()
	defer hangup()
	defer cancel(nil)
	both.Go(func() {
		if err := feed(ctx, t, s); err != nil {
			cancel(errCallerGone)
		}
	})
	ended := make(chan error, 1)
	both.Go(func() {
		ended <- s.Output(&frameWriter{ctx, t, api.FrameStdout}, &frameWriter{ctx, t, api.FrameStderr})
	})
	select {
	case err := <-ended:
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// feed carries what the caller sends to the command. It returns nil when ctx
// ended and an error when the caller is gone.
func feed(ctx context.Context, t api.Terminal, s stream) error {
	for {
		f, err := t.Recv(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		// What the command does not take (it may have ended, or closed its input) is
		// no reason to stop listening to the caller.
		switch f.Kind {
		case api.FrameStdin:
			_, _ = s.Write(f.Data)
		case api.FrameEOF:
			_ = s.Close()
		case api.FrameResize:
			_ = s.Resize(ctx, f.Rows, f.Cols)
		case api.FrameSignal:
			if _, ok := signals[string(f.Data)]; ok {
				_ = s.Signal(ctx, string(f.Data))
			}
		}
	}
}

// frameWriter sends what a command prints.
type frameWriter struct {
	ctx  context.Context
	t    api.Terminal
	kind api.FrameKind
}

func (w *frameWriter) Write(p []byte) (int, error) {
	sent := 0
	for len(p) > 0 {
		n := min(len(p), maxFrame)
		// The receiver may keep the frame, and p belongs to the copier.
		if err := w.t.Send(w.ctx, api.Frame{Kind: w.kind, Data: append([]byte(nil), p[:n]...)}); err != nil {
			return sent, err
		}
		sent, p = sent+n, p[n:]
	}
	return sent, nil
}

var _ io.Writer = (*frameWriter)(nil)
