package router

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

var (
	errIdle     = errors.New("neither side sent a byte for too long")
	errDetached = errors.New("the attempt that read this body is over")
)

// lingerTime is net/http's own: how long a connection is kept for the answer to
// arrive when the request was not read to its end.
const lingerTime = 500 * time.Millisecond

// exchange is one request and its answer.
type exchange struct {
	id         string
	start      time.Time
	host       string // as in the table
	authority  string // host, and the port if the client named one
	publicPort string
	remote     string   // client address
	upgrade    bool     // the client asks for another protocol
	load       *appLoad // what this exchange counts in; nil if in none
	up         *upstream
	body       *clientBody // nil if the request has none
	watch      *watch
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	ex, _ := ctx.Value(exchangeKey{}).(*exchange)
	return ex
}

// watch cancels an exchange in which neither side sends anything.
type watch struct {
	after time.Duration
	mu    sync.Mutex
	timer *time.Timer // nil when the watch is over
}

func newWatch(after time.Duration, expired func()) *watch {
	return &watch{after: after, timer: time.AfterFunc(after, expired)}
}

// touch is called for every byte in either direction.
func (w *watch) touch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Reset(w.after)
	}
}

// stop ends the watch for good: late readers cannot start it again.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// end gives back what the exchange holds.
func (ex *exchange) end() {
	ex.watch.stop()
	if ex.body != nil {
		ex.body.detach()
	}
	if ex.up != nil {
		ex.up.release()
		ex.up = nil
	}
	if ex.load != nil {
		ex.load.leave()
		ex.load = nil
	}
}

// clientBody reads a request body. Until the replica begins to answer, every
// BodyStall must bring minProgress bytes; afterwards both sides may be slow and
// only the exchange's watch counts.
type clientBody struct {
	source io.ReadCloser
	rc     *http.ResponseController
	ex     *exchange
	stall  time.Duration
	fresh  int // bytes since the deadline was set; negative before the first

	reading sync.Mutex // held while source is read

	mu       sync.Mutex
	relaxed  bool // no deadline any more
	whole    bool // read to its end
	detached bool // the exchange is over: nobody may read or set deadlines
	err      error
}

func (b *clientBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.over() {
		return 0, errDetached
	}
	if b.fresh >= minProgress || b.fresh < 0 {
		b.fresh = 0
		b.deadline(time.Now().Add(b.stall))
	}
	n, err := b.source.Read(p)
	b.fresh += n
	if n > 0 {
		b.ex.watch.touch()
	}
	if err == io.EOF {
		b.relax() // or the server's watch for a closed connection would trip over it
	}
	if err != nil {
		b.ended(err)
	}
	return n, err
}

// Close is the server's business.
func (b *clientBody) Close() error { return nil }

func (b *clientBody) over() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.detached
}

func (b *clientBody) ended(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.whole = err == io.EOF; !b.whole {
		b.err = err
	}
}

func (b *clientBody) deadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.relaxed && !b.detached {
		_ = b.rc.SetReadDeadline(t) // fails only on a dead connection
	}
}

// relax ends the demand for progress.
func (b *clientBody) relax() {
	b.mu.Lock()
	defer b.mu.Unlock() // in one: a read in between would set a deadline that stays
	if !b.relaxed && !b.detached {
		_ = b.rc.SetReadDeadline(time.Time{}) // fails only on a dead connection
	}
	b.relaxed = true
}

// detach ends reading for good, a read that hangs included: a replica's
// transport may still be at it when the answer is complete. net/http does not
// expect that. Its HTTP/1 side waits for such a read, however long the client
// takes, and its HTTP/2 side panics on the read's flow control and takes all
// streams of the connection with it.
func (b *clientBody) detach() {
	b.mu.Lock()
	if !b.detached && !b.whole {
		_ = b.rc.SetReadDeadline(time.Unix(1, 0)) // long past: the read returns
	}
	b.detached = true
	b.mu.Unlock()
	b.reading.Lock() // wait for it
	defer b.reading.Unlock()
}

// unfinished reports whether there is a body that was not read to its end.
func (b *clientBody) unfinished() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.whole
}

// linger throws away what an HTTP/1 client still sends, for a moment: closing
// with unread bytes resets the connection, and the answer is lost with it. The
// body must be detached.
func (b *clientBody) linger() {
	_ = b.rc.Flush()
	_ = b.rc.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, b.source) // ends with the deadline, or earlier with the client
}

// failed returns the error that ended reading from the client, if one did.
func (b *clientBody) failed() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// answerBody resets the idle timer for what the replica sends.
type answerBody struct {
	io.ReadCloser
	ex *exchange
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.ex.watch.touch()
	}
	return n, err
}

// answerWriter writes to the client with a deadline.
type answerWriter struct {
	http.ResponseWriter
	rc    *http.ResponseController
	ex    *exchange
	proto int // HTTP's major version
	stall time.Duration
	armed time.Time
}

// Unwrap lets http.ResponseController flush and hijack.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *answerWriter) WriteHeader(status int) {
	h := w.Header()
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // no guessing on the app's behalf
	}
	// After a refused upgrade the guard does not read along any more; after an
	// answer to half a request nobody knows where the next one begins.
	if status >= 200 && w.proto == 1 && (w.ex.upgrade || w.ex.body.unfinished()) {
		h.Set("Connection", "close")
	}
	w.arm()
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerWriter) Write(p []byte) (int, error) {
	w.arm()
	n, err := w.ResponseWriter.Write(p)
	if n > 0 {
		w.ex.watch.touch()
	}
	return n, err
}

// arm moves the write deadline, but not for every write because it costs.
func (w *answerWriter) arm() {
	if now := time.Now(); now.Sub(w.armed) >= w.stall/32 {
		w.armed = now
		_ = w.rc.SetWriteDeadline(now.Add(w.stall)) // fails only on a dead connection
	}
}
