package server

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"paas/api"
	"paas/cluster"
)

// maxLineBytes bounds one line of output on its way to a person.
const maxLineBytes = 16 << 10

// report tells one caller how their work goes. It is safe for concurrent use; the
// caller's function is called by one goroutine at a time.
type report struct {
	mu     sync.Mutex
	send   func(api.Progress)
	began  time.Time
	phases map[string]int64 // milliseconds; guarded by mu
}

func newReport(send func(api.Progress)) *report {
	if send == nil {
		send = func(api.Progress) {}
	}
	return &report{send: send, began: time.Now(), phases: map[string]int64{}}
}

func (r *report) tell(p api.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.At = time.Now().UTC()
	r.send(p)
}

func (r *report) step(format string, args ...any) {
	r.tell(api.Progress{Kind: api.ProgressStep, Text: plain(fmt.Sprintf(format, args...))})
}

func (r *report) line(text string) {
	r.tell(api.Progress{Kind: api.ProgressLine, Text: plain(text)})
}

func (r *report) warn(text string) {
	r.tell(api.Progress{Kind: api.ProgressWarning, Text: plain(text)})
}

// phase adds to the time that a phase took.
func (r *report) phase(name string, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phases[name] += took.Milliseconds()
}

// timed measures a phase from now until the returned function is called.
func (r *report) timed(name string) func() {
	began := time.Now()
	return func() { r.phase(name, time.Since(began)) }
}

// done is the last word of what worked.
func (r *report) done(text string, res *api.DeployResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.send(api.Progress{At: time.Now().UTC(), Kind: api.ProgressDone, Text: text, Result: res,
		Took: time.Since(r.began), Phase: r.phases})
}

// failed is the last word of what did not.
func (r *report) failed(e *cluster.Error, log []string) {
	for i := range log {
		log[i] = plain(log[i])
	}
	r.tell(api.Progress{Kind: api.ProgressFailed, Error: e, Log: log, Took: time.Since(r.began)})
}

// plain makes one bounded line of s, without anything that could do more than show
// text.
func plain(s string) string {
	if len(s) > maxLineBytes {
		s = s[:maxLineBytes]
	}
	return strings.ReplaceAll(strings.TrimRight(api.PlainText(s), "\n"), "\n", " ")
}

// lineWriter cuts what is written into lines. It is safe for concurrent use.
type lineWriter struct {
	line func(string)
	mu   sync.Mutex
	rest []byte // guarded by mu
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		w.line(string(append(w.rest, p[:i]...)))
		w.rest, p = w.rest[:0], p[i+1:]
	}
	w.rest = append(w.rest, p...)
	if len(w.rest) > maxLineBytes { // an endless line is shown in pieces
		w.line(string(w.rest))
		w.rest = w.rest[:0]
	}
	return n, nil
}

// flush passes on a last line without an end.
func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.line(string(w.rest))
		w.rest = nil
	}
}
