package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/hashicorp/yamux"

	"paas/cluster"
)

// callRequest opens every stream but the first.
type callRequest struct {
	Method string          `cbor:"1,keyasint"`
	Body   cbor.RawMessage `cbor:"2,keyasint"`
}

// callReply answers it. Calls that answer piecemeal set More on all but the last.
type callReply struct {
	Error *wireError      `cbor:"1,keyasint,omitempty"`
	Body  cbor.RawMessage `cbor:"2,keyasint,omitempty"`
	More  bool            `cbor:"3,keyasint,omitempty"`
}

// wireError is an error between server and agent: nothing is hidden there.
type wireError struct {
	Error    *cluster.Error `cbor:"1,keyasint"`
	NotExist bool           `cbor:"2,keyasint,omitempty"`
}

// toWire makes err fit for the wire.
func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{NotExist: errors.Is(err, fs.ErrNotExist)}
	if !errors.As(err, &w.Error) {
		w.Error = cluster.Errorf(cluster.KindInternal, "session", "%s", err.Error())
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			w.Error.Kind = cluster.KindUnavailable
		}
	}
	return w
}

// err is the error that toWire was given: the same cluster.Error, and
// fs.ErrNotExist if it was one.
func (w *wireError) err() error {
	switch {
	case w == nil:
		return nil
	case w.Error == nil:
		return cluster.Errorf(cluster.KindInternal, "session", "the other side answered with an empty error")
	case w.NotExist:
		return w.Error.Wrap(fs.ErrNotExist)
	}
	return w.Error
}

// peer is the other side of a session, for calls.
type peer struct {
	mux  *yamux.Session
	name string // for people: "node 1f2e…", "the server"
}

// begin opens a stream for a call and sends its request. The stream ends with
// ctx; the returned function must be called at the end.
func (p *peer) begin(ctx context.Context, method string, in any) (*streamWire, func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	body, err := marshal(in)
	if err != nil {
		return nil, nil, err
	}
	st, err := p.mux.OpenStream()
	if err != nil {
		return nil, nil, p.lost(ctx, err)
	}
	w := &streamWire{conn: st}
	// Closing our half is how the other side hears that nobody waits any more.
	stop := context.AfterFunc(ctx, func() { _ = st.Close() })
	end := func() {
		stop()
		_ = st.Close()
	}
	if err := w.write(ctx, callRequest{Method: method, Body: body}); err != nil {
		end()
		return nil, nil, p.lost(ctx, err)
	}
	return w, end, nil
}

// lost explains an error of the transport.
func (p *peer) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return cluster.Errorf(cluster.KindUnavailable, "session", "%s cannot be reached", p.name).
		Because("the session with it ended").WithHint("try again").Wrap(err)
}

// callPeer makes a call with one answer.
func callPeer[O any](ctx context.Context, p *peer, method string, in any) (O, error) {
	var out O
	err := callPeerEach(ctx, p, method, in, func(body []byte) error { return unmarshal(body, &out) })
	return out, err
}

// callPeerEach makes a call and calls each for every piece of the answer.
func callPeerEach(ctx context.Context, p *peer, method string, in any, each func([]byte) error) error {
	w, end, err := p.begin(ctx, method, in)
	if err != nil {
		return err
	}
	defer end()
	for {
		var r callReply
		if err := w.read(ctx, &r); err != nil {
			return p.lost(ctx, err)
		}
		if r.Error != nil {
			if ctx.Err() != nil {
				return ctx.Err() // the other side only heard that we left
			}
			return r.Error.err()
		}
		if len(r.Body) > 0 {
			if err := each(r.Body); err != nil {
				return err
			}
		}
		if !r.More {
			return nil
		}
	}
}

// callPeerTerminal makes a call that goes on as frames.
func callPeerTerminal(ctx context.Context, p *peer, method string, in any, t Terminal) (int, error) {
	w, end, err := p.begin(ctx, method, in)
	if err != nil {
		return 0, err
	}
	defer end()
	code, err := relayTerminal(ctx, w, t)
	if errors.Is(err, errGone) {
		return 0, p.lost(ctx, err)
	}
	return code, err
}

// A method serves one kind of call. It reads and writes w as the call's form
// demands; its ctx ends when the caller does not wait any more.
type method func(ctx context.Context, w *streamWire, body []byte) error

// unary serves calls with one answer.
func unary[I, O any](fn func(context.Context, I) (O, error)) method {
	return func(ctx context.Context, w *streamWire, body []byte) error {
		var in I
		if err := unmarshal(body, &in); err != nil {
			return w.write(ctx, callReply{Error: toWire(err)})
		}
		return whileWanted(ctx, w, func(ctx context.Context) error {
			out, err := fn(ctx, in)
			if err != nil {
				return w.write(ctx, callReply{Error: toWire(err)})
			}
			encoded, err := marshal(out)
			if err != nil {
				return w.write(ctx, callReply{Error: toWire(err)})
			}
			return w.write(ctx, callReply{Body: encoded})
		})
	}
}

// pieces serves calls that answer piecemeal.
func pieces[I, O any](fn func(context.Context, I, func(O) error) error) method {
	return func(ctx context.Context, w *streamWire, body []byte) error {
		var in I
		if err := unmarshal(body, &in); err != nil {
			return w.write(ctx, callReply{Error: toWire(err)})
		}
		return whileWanted(ctx, w, func(ctx context.Context) error {
			err := fn(ctx, in, func(o O) error {
				encoded, err := marshal(o)
				if err != nil {
					return err
				}
				return w.write(ctx, callReply{Body: encoded, More: true})
			})
			return w.write(ctx, callReply{Error: toWire(err)})
		})
	}
}

// attached serves calls that go on as frames.
func attached[I any](fn func(context.Context, I, Terminal) (int, error)) method {
	return func(ctx context.Context, w *streamWire, body []byte) error {
		var in I
		if err := unmarshal(body, &in); err != nil {
			return w.write(ctx, Frame{Kind: FrameError, Error: toWire(err).Error})
		}
		say := func(err error) *cluster.Error { return toWire(err).Error }
		return serveTerminal(ctx, w, say, func(ctx context.Context, t Terminal) (int, error) { return fn(ctx, in, t) })
	}
}

// whileWanted runs fn with a ctx that ends when the caller closes the stream.
func whileWanted(ctx context.Context, w *streamWire, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		_, _ = w.conn.Read(make([]byte, 1)) // callers send nothing more: this is their leaving
	}()
	err := fn(ctx)
	_ = w.conn.SetReadDeadline(time.Unix(1, 0))
	<-done
	return err
}

// serveCalls answers the other side's calls until the session or ctx ends, and
// returns when all of them are done.
func serveCalls(ctx context.Context, mux *yamux.Session, methods map[string]method, log *slog.Logger) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, maxCalls)
	for {
		st, err := mux.AcceptStreamWithContext(ctx)
		if err != nil {
			return fmt.Errorf("wait for calls: %w", err)
		}
		select {
		case places <- struct{}{}:
		default:
			_ = st.Close() // the caller sees the session fail it, and tries again
			continue
		}
		wg.Go(func() {
			defer func() { <-places }()
			defer st.Close()
			if err := serveCall(ctx, &streamWire{conn: st}, methods); err != nil && ctx.Err() == nil {
				log.Debug("call ended early", "err", err)
			}
		})
	}
}

// serveCall answers one call.
func serveCall(ctx context.Context, w *streamWire, methods map[string]method) error {
	opening, cancel := context.WithTimeout(ctx, sessionOpening)
	defer cancel()
	var r callRequest
	if err := w.read(opening, &r); err != nil {
		return err
	}
	serve, ok := methods[r.Method]
	if !ok {
		known := strings.Map(func(r rune) rune {
			if r < 'a' || r > 'z' {
				return -1
			}
			return r
		}, r.Method)
		return w.write(ctx, callReply{Error: toWire(cluster.NotFound("method", "no call named %.40s", known))})
	}
	return serve(ctx, w, r.Body)
}
