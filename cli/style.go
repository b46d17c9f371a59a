package cli

import "strings"

// glyph stands in front of a word: colour is never the only signal.
type glyph string

const (
	good glyph = "✓"
	bad  glyph = "✗"
	busy glyph = "…"
	warn glyph = "!"
	idle glyph = "○"
	live glyph = "●"
)

// style is how one stream may be written to.
type style struct{ color, ascii bool }

// toASCII is for terminals whose locale is not UTF-8.
var toASCII = strings.NewReplacer("✓", "+", "✗", "x", "…", "...", "○", "o", "●", "*", "→", "->", "·", "-", "—", "-",
	"•", "*", "“", `"`, "”", `"`, "≤", "<=", "≥", ">=",
	"⠋", "|", "⠙", "/", "⠹", "-", "⠸", "\\", "⠼", "|", "⠴", "/", "⠦", "-", "⠧", "\\", "⠇", "|", "⠏", "/")

// text is s as the stream can show it.
func (s style) text(t string) string {
	if s.ascii {
		return toASCII.Replace(t)
	}
	return t
}

func (s style) sgr(code, t string) string {
	if !s.color || t == "" {
		return t
	}
	return "\x1b[" + code + "m" + t + "\x1b[0m"
}

func (s style) bold(t string) string   { return s.sgr("1", t) }
func (s style) dim(t string) string    { return s.sgr("2", t) }
func (s style) red(t string) string    { return s.sgr("31", t) }
func (s style) green(t string) string  { return s.sgr("32", t) }
func (s style) yellow(t string) string { return s.sgr("33", t) }
func (s style) cyan(t string) string   { return s.sgr("36", t) }

// glyph is g without colour.
func (s style) glyph(g glyph) string { return s.text(string(g)) }

// mark is g in its colour.
func (s style) mark(g glyph) string { return s.tint(string(g)) }

// tint colours a text by the glyph that it begins with.
func (s style) tint(t string) string {
	switch {
	case strings.HasPrefix(t, string(good)), strings.HasPrefix(t, string(live)):
		return s.green(t)
	case strings.HasPrefix(t, string(bad)):
		return s.red(t)
	case strings.HasPrefix(t, string(busy)), strings.HasPrefix(t, string(warn)+" "):
		return s.yellow(t)
	case strings.HasPrefix(t, string(idle)):
		return s.dim(t)
	}
	return t
}
