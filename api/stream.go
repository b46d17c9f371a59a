package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"paas/cluster"
)

const (
	// streamGrace is how long an answer waits for its first news before its header
	// is sent: errors that come sooner get a status of their own.
	streamGrace = time.Second
	// streamHeartbeat is how often a quiet stream shows that it lives.
	streamHeartbeat = 15 * time.Second
	// streamStall is how long a client may leave a stream unread before it counts as gone.
	streamStall = 30 * time.Second
)

// form is how a streamed answer looks.
type form struct {
	mediaType string
	describe  string
	heartbeat []byte // nil: none, the bytes are the content
	// fail writes err as the last word of a stream that already began; nil: the
	// connection is cut, so that nobody takes what came for the whole.
	fail func(w *streamWriter, e *cluster.Error) error
}

var (
	ndjsonForm = form{mediaType: "application/x-ndjson", heartbeat: []byte("\n"), fail: failNDJSON,
		describe: `One JSON object per line. A line of kind "failed" is the last and carries the error; empty lines are heartbeats.`}
	eventForm = form{mediaType: "text/event-stream", heartbeat: []byte(": heartbeat\n\n"), fail: failEvents,
		describe: `Server-sent events; each id is a Raft index. Resume with Last-Event-ID.`}
	textForm   = form{mediaType: "text/plain; charset=utf-8", describe: "Plain text."}
	jsonForm   = form{mediaType: jsonType, describe: "Canonical JSON."}
	binaryForm = form{mediaType: "application/octet-stream", describe: "Binary data."}
)

// failedLine is the last line of an NDJSON stream that failed. The lines of
// every stream can be told apart from it by their kind.
type failedLine struct {
	Kind  ProgressKind   `json:"kind"`
	At    time.Time      `json:"at"`
	Error *cluster.Error `json:"error"`
}

func failNDJSON(w *streamWriter, e *cluster.Error) error {
	return w.encode(failedLine{Kind: ProgressFailed, At: time.Now().UTC(), Error: e})
}

func failEvents(w *streamWriter, e *cluster.Error) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = w.Write([]byte("event: error\ndata: " + string(body) + "\n\n"))
	return err
}

// streamWriter writes an answer piece by piece and flushes each. It is safe for
// concurrent use; a piece is never split. A client that stops reading ends it.
type streamWriter struct {
	form form
	http *http.ResponseController
	gone context.CancelFunc
	// turn has one place: who fills it may write and use the fields below. It is no
	// mutex because writers wait in it for slow clients, under fake time too.
	turn   chan struct{}
	res    http.ResponseWriter
	begun  bool
	broken error
}

func (s *streamWriter) lock()   { s.turn <- struct{}{} }
func (s *streamWriter) unlock() { <-s.turn }

// begin sends the header, once.
func (s *streamWriter) begin() {
	s.lock()
	defer s.unlock()
	s.header()
	s.flush()
}

// Write sends one whole piece.
func (s *streamWriter) Write(p []byte) (int, error) {
	s.lock()
	defer s.unlock()
	if s.broken != nil {
		return 0, s.broken
	}
	s.header()
	// Transports without deadlines (tests) say so; nothing depends on it there.
	_ = s.http.SetWriteDeadline(time.Now().Add(streamStall))
	n, err := s.res.Write(p)
	if err == nil {
		err = s.flush()
	}
	if err != nil {
		s.broken = err
		s.gone()
	}
	return n, err
}

// encode sends v as one line of JSON.
func (s *streamWriter) encode(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = s.Write(append(line, '\n'))
	return err
}

func (s *streamWriter) header() {
	if !s.begun {
		s.begun = true
		s.res.Header().Set("Content-Type", s.form.mediaType)
		s.res.WriteHeader(http.StatusOK)
	}
}

func (s *streamWriter) flush() error {
	if err := s.http.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// started reports whether the answer's status is out.
func (s *streamWriter) started() bool {
	s.lock()
	defer s.unlock()
	return s.begun
}

// beat keeps the stream visibly alive until ctx ends.
func (s *streamWriter) beat(ctx context.Context) {
	grace := time.NewTimer(streamGrace)
	defer grace.Stop()
	tick := time.NewTicker(streamHeartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-grace.C:
			s.begin()
		case <-tick.C:
			if s.form.heartbeat != nil {
				_, _ = s.Write(s.form.heartbeat) // a failure ends the stream's own context
			}
		}
	}
}

// serveStream runs fn with a writer of the given form. What it returns has not
// been told to the caller yet; errCut means that only cutting the connection can.
func serveStream(c echo.Context, f form, fn func(context.Context, *streamWriter) error) error {
	ctx, cancel := context.WithCancel(c.Request().Context())
	defer cancel()
	w := &streamWriter{form: f, res: c.Response(), http: http.NewResponseController(c.Response()), gone: cancel,
		turn: make(chan struct{}, 1)}
	// The server's own limits are for requests that end. Not every transport has
	// deadlines, and HTTP/2 is always full duplex.
	_ = w.http.SetReadDeadline(time.Time{})
	_ = w.http.EnableFullDuplex()

	err := w.whileBeating(ctx, fn)
	var told *toldError
	var cut *cutError
	switch {
	case err == nil:
		w.begin()
		return nil
	case !w.started(), errors.As(err, &told), errors.As(err, &cut):
		return err
	case f.fail == nil:
		return &cutError{err}
	}
	if f.fail(w, publicError(err, RequestID(ctx))) != nil {
		return &cutError{err}
	}
	return &toldError{err}
}

// whileBeating runs fn beside the heartbeat, which has ended when it returns or
// panics: nobody else may write then.
func (s *streamWriter) whileBeating(ctx context.Context, fn func(context.Context, *streamWriter) error) error {
	beating, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.beat(beating)
	}()
	defer func() {
		stop()
		<-done
	}()
	return fn(ctx, s)
}

// cutError is an error that came when the answer had begun and that its form
// cannot carry.
type cutError struct{ err error }

func (e *cutError) Error() string { return e.err.Error() }
func (e *cutError) Unwrap() error { return e.err }

// toldError is an error that the caller already knows: it is for the log only.
type toldError struct{ err error }

func (e *toldError) Error() string { return e.err.Error() }
func (e *toldError) Unwrap() error { return e.err }

const failureKey = "paas.failure"

// setFailure hands an error past huma to the gate.
func setFailure(c echo.Context, err error) { c.Set(failureKey, err) }

func failureOf(c echo.Context) error {
	err, _ := c.Get(failureKey).(error)
	return err
}

// reporter sends the progress of long work, and holds the last word back until
// the work's own result is known: a stream has exactly one, at its end.
type reporter struct {
	w    *streamWriter
	mu   sync.Mutex
	last *Progress // guarded by mu: a done or failed that was reported
}

// report sends p. A client that went away ends the stream's context; report
// does not tell.
func (r *reporter) report(p Progress) {
	if p.At.IsZero() {
		p.At = time.Now().UTC()
	}
	if p.Kind == ProgressDone || p.Kind == ProgressFailed {
		r.mu.Lock()
		r.last = &p
		r.mu.Unlock()
		return
	}
	_ = r.w.encode(p)
}

// finish sends the last word.
func (r *reporter) finish(res *DeployResult, err error, requestID string) error {
	r.mu.Lock()
	last := r.last
	r.mu.Unlock()
	if err == nil {
		if last == nil || last.Kind != ProgressDone {
			last = &Progress{At: time.Now().UTC(), Kind: ProgressDone}
		}
		if res != nil {
			last.Result = res
		}
		return r.w.encode(last)
	}
	if !r.w.started() {
		return err // it gets a status of its own
	}
	if last == nil || last.Kind != ProgressFailed {
		last = &Progress{At: time.Now().UTC(), Kind: ProgressFailed}
	}
	last.Error = publicError(err, requestID)
	if r.w.encode(last) != nil {
		return &cutError{err}
	}
	return &toldError{err}
}

// progress runs work that reports, as an NDJSON answer.
func progress(ctx context.Context, w *streamWriter, work func(func(Progress)) (*DeployResult, error)) error {
	r := &reporter{w: w}
	res, err := work(r.report)
	return r.finish(res, err, RequestID(ctx))
}
