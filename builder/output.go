package builder

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
)

// output is a build's log: whole lines, no terminal tricks, bounded. It is safe
// for concurrent use. A reader that goes away does not stop a build: write
// errors are dropped.
type output struct {
	mu    sync.Mutex
	w     io.Writer
	left  int64
	full  bool   // the bound was reached and said so
	last  string // the newest line
	lines int    // how many there were
}

func newOutput(w io.Writer, limit int64) *output {
	if w == nil {
		w = io.Discard
	}
	return &output{w: w, left: limit}
}

// line writes one line.
func (o *output) line(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lineLocked(text)
}

func (o *output) lineLocked(text string) {
	text = cleanLine(text)
	if o.full {
		return
	}
	if o.left -= int64(len(text)) + 1; o.left < 0 {
		text, o.full = " !     the log is full; what follows is left out, the build goes on", true
	}
	o.last = text
	o.lines++
	_, _ = io.WriteString(o.w, text+"\n") // see the type's comment
}

// lineOnce writes a line unless the newest one says it already.
func (o *output) lineOnce(prefix, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !strings.Contains(o.last, text) {
		o.lineLocked(prefix + text)
	}
}

// linef writes one formatted line.
func (o *output) linef(format string, args ...any) { o.line(fmt.Sprintf(format, args...)) }

// indented writes text line by line, seven spaces in, as detail of a headline.
func (o *output) indented(text string) {
	for line := range strings.Lines(text) {
		o.line(strings.TrimRight("       "+line, " \t\r\n"))
	}
}

// maxLineBytes cuts lines that no person reads.
const maxLineBytes = 8 << 10

var escapeRE = regexp.MustCompile("\x1b(\\[[0-9;?]*[A-Za-z]|\\][^\x07\x1b]*(\x07|\x1b\\\\)|[()][0-9A-B]|[=>78cDEHMNOZ])")

// cleanLine makes a line safe for any terminal and log: no escape sequences, no
// control characters, valid UTF-8, and of a line that was overwritten in place
// only its last state.
func cleanLine(s string) string {
	s = strings.TrimRight(s, "\r\n")
	if i := strings.LastIndexByte(s, '\r'); i >= 0 {
		s = s[i+1:]
	}
	if len(s) > maxLineBytes {
		s = s[:maxLineBytes] + " …"
	}
	s = escapeRE.ReplaceAllString(s, "")
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// lineBuffer joins pieces of output into lines.
type lineBuffer struct {
	emit func(line string)
	rest []byte
}

// Write never fails.
func (l *lineBuffer) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		l.emit(string(append(l.rest, p[:i]...)))
		l.rest, p = l.rest[:0], p[i+1:]
	}
	l.rest = append(l.rest, p...)
	if len(l.rest) > maxLineBytes {
		l.flush()
	}
	return n, nil
}

// flush emits what has no newline yet.
func (l *lineBuffer) flush() {
	if len(l.rest) > 0 {
		l.emit(string(l.rest))
		l.rest = l.rest[:0]
	}
}
