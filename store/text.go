package store

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxText bounds one line of the audit, in bytes.
	maxText = 300
	// maxFailure bounds a deployment's failure, which may explain node by node.
	maxFailure = 4000
)

// oneLine makes s fit to be shown on one line of a terminal: control characters
// become spaces, and what is too long is cut.
func oneLine(s string) string { return clip(s, maxText) }

// clip is oneLine for at most limit bytes.
func clip(s string, limit int) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
