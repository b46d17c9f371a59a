package api

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"paas/cluster"
)

// The plain form: Heroku's, so that it reads the same in git's "remote:" lines,
// in CI logs and in a pipe. Lines are at most plainWidth columns, and only ever
// appended.
const (
	plainWidth  = 100
	stepPrefix  = "-----> "
	linePrefix  = "       "
	errorPrefix = " !     "
	// maxPlainText bounds what one piece of news may print.
	maxPlainText = 16 << 10
)

// RenderPlain writes p for people without a terminal. Whatever an app made up
// (output, reasons) cannot move the cursor or colour anything.
func RenderPlain(w io.Writer, p Progress) {
	var out plain
	switch p.Kind {
	case ProgressStep:
		out.put(stepPrefix, p.Text)
	case ProgressInstance:
		out.put(linePrefix, instanceText(p))
	case ProgressWarning:
		out.put(errorPrefix, p.Text)
	case ProgressDone:
		out.done(p)
	case ProgressFailed:
		out.failed(p)
	default:
		out.put(linePrefix, p.Text)
	}
	_, _ = io.WriteString(w, out.String()) // news for somebody who is gone
}

// plain collects lines.
type plain struct{ strings.Builder }

// put adds text under prefix, wrapped; further lines are indented.
func (b *plain) put(prefix, text string) {
	if len(text) > maxPlainText {
		text = strings.ToValidUTF8(text[:maxPlainText], "") + "…"
	}
	for _, line := range wrap(clean(text), plainWidth-utf8.RuneCountInString(prefix)) {
		b.WriteString(strings.TrimRight(prefix+line, " ") + "\n")
		if prefix == stepPrefix {
			prefix = linePrefix
		}
	}
}

// done adds the last word of work that went well.
func (b *plain) done(p Progress) {
	text := p.Text
	if text == "" && p.Result != nil && p.Result.Release > 0 {
		text = "Released " + p.Result.Release.String()
	}
	if text == "" {
		text = "Done"
	}
	if p.Took > 0 {
		text += fmt.Sprintf(" (%s)", round(p.Took))
	}
	b.put(stepPrefix, text)
	if len(p.Phase) > 0 {
		var phases []string
		for _, name := range slices.Sorted(maps.Keys(p.Phase)) {
			phases = append(phases, fmt.Sprintf("%s %s", name, round(time.Duration(p.Phase[name])*time.Millisecond)))
		}
		b.put(linePrefix, strings.Join(phases, " · "))
	}
	if p.Result != nil && p.Result.URL != "" {
		b.put(linePrefix, p.Result.URL)
	}
}

// failed adds what did not happen, why, the evidence and what to do.
func (b *plain) failed(p Progress) {
	e := p.Error
	if e == nil {
		e = cluster.Errorf(cluster.KindInternal, "", "%s", p.Text)
	}
	message := e.Message
	if message == "" {
		message = "failed"
	}
	b.put(errorPrefix, message)
	if e.Reason != "" {
		b.put(errorPrefix, e.Reason)
	}
	if len(p.Log) > 0 {
		b.put(errorPrefix, "last output:")
		for _, line := range p.Log {
			b.put(errorPrefix+"  ", line)
		}
	}
	if e.Hint != "" {
		b.put(errorPrefix, "hint: "+e.Hint)
	}
}

// instanceText is one replica's change: "web.3 v12 healthy on node-1 (a)".
func instanceText(p Progress) string {
	n := p.Instance
	if n == nil {
		return p.Text
	}
	text := n.Name
	if n.Release > 0 {
		text += " " + n.Release.String()
	}
	text += " " + n.Word()
	if n.Node != "" {
		text += " on " + n.Node
		if n.Zone != "" {
			text += " (" + n.Zone + ")"
		}
	}
	if n.Reason != "" {
		text += ": " + n.Reason
	}
	return text
}

// round shows a duration as precisely as people care.
func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// PlainText is s without anything that could do more than show text on a
// terminal: for output and reasons that apps made up.
func PlainText(s string) string { return clean(s) }

// clean removes what could do anything but show text: escape sequences whole,
// other control characters singly. Of a line that was painted over with
// carriage returns, the last state stays.
func clean(s string) string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		line = strings.TrimRight(line, "\r")
		if i := strings.LastIndexByte(line, '\r'); i >= 0 {
			line = line[i+1:]
		}
		lines = append(lines, stripControl(line))
	}
	return strings.Join(lines, "\n")
}

// stripControl removes escape sequences and control characters from one line.
func stripControl(s string) string {
	var b strings.Builder
	rest := []rune(s)
	for len(rest) > 0 {
		r := rest[0]
		switch {
		case r == 0x1b:
			rest = rest[escapeLength(rest):]
			continue
		case r == '\t':
			b.WriteString("    ")
		case r == utf8.RuneError:
			b.WriteRune('\ufffd')
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
		default:
			b.WriteRune(r)
		}
		rest = rest[1:]
	}
	return b.String()
}

// escapeLength is how many runes the escape sequence at the start of s has.
func escapeLength(s []rune) int {
	if len(s) < 2 {
		return len(s)
	}
	switch s[1] {
	case '[': // CSI: up to a final byte
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
		}
		return len(s)
	case ']', 'P', 'X', '^', '_': // strings: up to BEL or ST
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
		}
		return len(s)
	}
	return 2
}

// wrap breaks text into lines of at most width runes, at spaces if there are
// some, and never returns none. What continues a line is indented as it is, and
// by two columns more.
func wrap(text string, width int) []string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		rest := []rune(line)
		indent := []rune(strings.Repeat(" ", min(len(line)-len(strings.TrimLeft(line, " ")), width/2-2)+2)) // below half of it: each line brings us on
		for len(rest) > width {
			cut := width
			for i := width; i > width/2; i-- {
				if rest[i] == ' ' {
					cut = i
					break
				}
			}
			out = append(out, string(rest[:cut]))
			rest = rest[cut:]
			for len(rest) > 0 && rest[0] == ' ' {
				rest = rest[1:]
			}
			if len(rest) > 0 {
				rest = append(slices.Clone(indent), rest...)
			}
		}
		out = append(out, string(rest))
	}
	return out
}
