package api

import (
	"io"
	"sync"
	"time"
)

// heartbeat is how long plain news may be silent.
const heartbeat = 10 * time.Second

// PlainNews writes news as RenderPlain does, and a sign of life whenever there
// was none for ten seconds: who waits for a long build must not take it for
// hung. It is safe for concurrent use; w gets one call at a time.
type PlainNews struct {
	began time.Time

	mu    sync.Mutex
	w     io.Writer   // guarded by mu
	beat  *time.Timer // likewise
	ended bool        // likewise
}

// NewPlainNews begins to tell; Close ends it.
func NewPlainNews(w io.Writer) *PlainNews {
	p := &PlainNews{began: time.Now(), w: w}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beat = time.AfterFunc(heartbeat, p.pulse)
	return p
}

func (p *PlainNews) pulse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	RenderPlain(p.w, Progress{Kind: ProgressLine, Text: "… " + time.Since(p.began).Round(time.Second).String()})
	p.beat.Reset(heartbeat)
}

// Show writes n.
func (p *PlainNews) Show(n Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	RenderPlain(p.w, n)
	p.beat.Reset(heartbeat)
}

// Close ends the signs of life; nothing is written after it.
func (p *PlainNews) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.beat.Stop()
}
