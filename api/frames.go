package api

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sync/errgroup"

	"paas/cluster"
)

// encMode and decMode are the one CBOR of the wire: full time stamps, no
// indefinite surprises, unknown fields ignored so that versions can differ.
var encMode, decMode = func() (cbor.EncMode, cbor.DecMode) {
	enc, err := cbor.EncOptions{Time: cbor.TimeRFC3339NanoUTC, Sort: cbor.SortCoreDeterministic}.EncMode()
	if err != nil {
		panic(err)
	}
	dec, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 32, IndefLength: cbor.IndefLengthForbidden,
		MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 20}.DecMode()
	if err != nil {
		panic(err)
	}
	return enc, dec
}()

func marshal(v any) ([]byte, error)      { return encMode.Marshal(v) }
func unmarshal(body []byte, v any) error { return decMode.Unmarshal(body, v) }

// frameWire is what terminals travel over: a WebSocket or a stream of a session.
type frameWire interface {
	read(ctx context.Context, v any) error
	write(ctx context.Context, v any) error
}

// pinger is a frameWire that can ask whether the other side is still there.
type pinger interface {
	ping(ctx context.Context) error
}

// maxFrameData is the most that one frame carries.
const maxFrameData = 32 << 10

// sendFrame writes f, in pieces if it carries too much.
func sendFrame(ctx context.Context, w frameWire, f Frame) error {
	for len(f.Data) > maxFrameData {
		piece := f
		piece.Data = f.Data[:maxFrameData]
		if err := w.write(ctx, piece); err != nil {
			return err
		}
		f.Data = f.Data[maxFrameData:]
	}
	return w.write(ctx, f)
}

// errGone says that the other side left before it said how the command ended.
var errGone = errors.New("the other side is gone")

var errEnded = errors.New("the command ended")

// relayTerminal is the caller's side: frames of t go to w and back, until the
// other side says how the command ended; errGone if it never did.
func relayTerminal(ctx context.Context, w frameWire, t Terminal) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	code := 0
	g.Go(func() error {
		for {
			var f Frame
			if err := w.read(gctx, &f); err != nil {
				if gctx.Err() != nil {
					return gctx.Err()
				}
				return errGone
			}
			switch f.Kind {
			case FrameStdout, FrameStderr:
				if err := t.Send(gctx, f); err != nil {
					return err
				}
			case FrameExit:
				code = f.Code
				return errEnded
			case FrameError:
				if f.Error == nil {
					return cluster.Errorf(cluster.KindInternal, "terminal", "the command broke off")
				}
				return f.Error
			}
		}
	})
	g.Go(func() error {
		for {
			f, err := t.Recv(gctx)
			if err != nil {
				return err // the caller went away: cut the command off too
			}
			if f.Kind > FrameSignal || f.Kind == FrameUnknown {
				continue
			}
			if err := sendFrame(gctx, w, f); err != nil {
				if gctx.Err() == nil {
					<-gctx.Done() // the reader knows why: its last frame may still be on the way
				}
				return gctx.Err()
			}
		}
	})
	g.Go(func() error { return beatTerminal(gctx, w) })
	err := g.Wait()
	if err == errEnded {
		return code, nil
	}
	return 0, err
}

// beatTerminal shows that the caller lives. Pings do not: nobody reads them while
// what the command printed waits to be written, to a pager for example.
func beatTerminal(ctx context.Context, w frameWire) error {
	tick := time.NewTicker(terminalBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if w.write(ctx, Frame{Kind: FrameUnknown}) != nil { // a kind that everybody passes over
				<-ctx.Done() // the reader knows why
			}
		}
	}
}

// serveTerminal is the command's side: run gets a Terminal over w and a ctx that
// ends when the caller goes away; its result is the last frame, an error as say
// puts it. The error is run's, for the log.
func serveTerminal(ctx context.Context, w frameWire, say func(error) *cluster.Error,
	run func(context.Context, Terminal) (int, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &wireTerminal{wire: w, in: make(chan Frame, 32)}
	var wg sync.WaitGroup
	reading, stopReading := context.WithCancel(ctx)
	watching, stopWatching := context.WithCancel(ctx)
	wg.Go(func() {
		defer cancel()
		t.pump(reading)
	})
	if p, ok := w.(pinger); ok {
		wg.Go(func() { t.watch(watching, p, cancel) })
	}
	code, err := run(ctx, t)
	stopWatching()
	last := Frame{Kind: FrameExit, Code: code}
	if err != nil {
		last = Frame{Kind: FrameError, Error: say(err)}
	}
	if ctx.Err() == nil && w.write(ctx, last) == nil {
		// The caller hangs up when it has read the last frame. To hang up first could
		// destroy that frame on its way.
		t.farewell(stopReading)
	}
	stopReading()
	wg.Wait()
	return err
}

// terminalLinger is how long a caller may be silent after the last frame before it
// has hung up. One that still reads beats more often.
const terminalLinger = 3 * terminalBeat

// wireTerminal is the Terminal that a command gets. Input is read ahead, so that
// a caller's leaving is noticed while the command reads nothing.
type wireTerminal struct {
	wire  frameWire
	in    chan Frame   // written and closed by pump
	heard atomic.Int64 // when the newest frame came, Unix nanoseconds
}

// farewell waits until the caller hangs up. stop ends the reading, and with it
// farewell, of one that is silent.
func (t *wireTerminal) farewell(stop func()) {
	t.heard.Store(time.Now().UnixNano()) // its time begins now
	linger := time.NewTimer(terminalLinger)
	defer linger.Stop()
	for {
		select {
		case _, more := <-t.in:
			if !more {
				return
			}
		case <-linger.C:
			if left := terminalLinger - time.Since(time.Unix(0, t.heard.Load())); left > 0 {
				linger.Reset(left)
			} else {
				stop()
			}
		}
	}
}

// Recv returns the caller's next frame; io.EOF when it went away.
func (t *wireTerminal) Recv(ctx context.Context) (Frame, error) {
	select {
	case f, ok := <-t.in:
		if !ok {
			return Frame{}, io.EOF
		}
		return f, nil
	case <-ctx.Done():
		return Frame{}, ctx.Err()
	}
}

// Send gives the caller a frame of output.
func (t *wireTerminal) Send(ctx context.Context, f Frame) error {
	if f.Kind != FrameStdout && f.Kind != FrameStderr {
		return nil
	}
	return sendFrame(ctx, t.wire, f)
}

// pump reads the caller's frames until it goes away.
func (t *wireTerminal) pump(ctx context.Context) {
	defer close(t.in)
	for {
		var f Frame
		if t.wire.read(ctx, &f) != nil {
			return
		}
		t.heard.Store(time.Now().UnixNano())
		if f.Kind == FrameUnknown || f.Kind > FrameSignal {
			continue
		}
		select {
		case t.in <- f:
		case <-ctx.Done():
			return
		}
	}
}

// watch ends the command when the caller neither answers pings nor sends anything.
// While input waits for the command, nobody reads either: then nothing is concluded.
func (t *wireTerminal) watch(ctx context.Context, p pinger, gone func()) {
	tick := time.NewTicker(terminalPing)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if len(t.in) == cap(t.in) {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, terminalPong)
		err := p.ping(asking)
		cancel()
		silent := time.Since(time.Unix(0, t.heard.Load())) > terminalPing
		if err != nil && ctx.Err() == nil && silent && len(t.in) < cap(t.in) {
			gone()
			return
		}
	}
}
