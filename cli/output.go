package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"paas/cluster"
)

// output is where an invocation speaks: data to out, everything else to err.
type output struct {
	out, err           io.Writer
	outTTY, errTTY     bool
	outStyle, errStyle style
	json, quiet        bool
	told               bool // a stream of news on stdout ended with the error already
}

func newOutput(out, err io.Writer, env func(string) string) *output {
	o := &output{out: out, err: err, outTTY: isTerminal(out), errTTY: isTerminal(err)}
	o.paint(env, "auto")
	return o
}

// paint decides on colours: the flag, NO_COLOR, FORCE_COLOR, and then whether a
// terminal shows it.
func (o *output) paint(env func(string) string, when string) {
	color := func(tty bool) bool {
		switch {
		case when == "always":
			return true
		case when == "never", env("NO_COLOR") != "":
			return false
		case env("FORCE_COLOR") != "":
			return true
		}
		return tty && env("TERM") != "dumb"
	}
	ascii := !utf8Locale(env)
	o.outStyle = style{color: color(o.outTTY), ascii: ascii}
	o.errStyle = style{color: color(o.errTTY), ascii: ascii}
}

// utf8Locale reads the locale as POSIX orders its variables. None at all is
// usual in containers and says nothing about the terminal.
func utf8Locale(env func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(env(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return true
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// printf writes data.
func (o *output) printf(format string, args ...any) {
	_, _ = fmt.Fprint(o.out, o.outStyle.text(fmt.Sprintf(format, args...))) // a closed pipe ends us by signal
}

// notef writes what is not data: headers, hints, progress.
func (o *output) notef(format string, args ...any) {
	if !o.quiet {
		_, _ = fmt.Fprint(o.err, o.errStyle.text(fmt.Sprintf(format, args...)))
	}
}

// warnf writes what a person must not miss, even with --quiet.
func (o *output) warnf(format string, args ...any) {
	s := o.errStyle
	_, _ = fmt.Fprint(o.err, s.text(s.yellow("!")+" "+fmt.Sprintf(format, args...)+"\n"))
}

// counted is n of noun, whose plural has an s.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// done says that something was changed; with --json it is silent, since the
// object says it.
func (o *output) done(format string, args ...any) {
	if !o.json {
		o.printf("%s %s\n", o.outStyle.mark(good), fmt.Sprintf(format, args...))
	}
}

// next names what to do now.
func (o *output) next(commands ...string) {
	for i, c := range commands {
		head := "Next:"
		if i > 0 {
			head = "     "
		}
		o.notef("  %s %s\n", head, c)
	}
}

// object prints one JSON value.
func (o *output) object(v any) error {
	e := json.NewEncoder(o.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// line prints one line of a JSON stream.
func (o *output) line(v any) error {
	e := json.NewEncoder(o.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table prints rows: aligned with a header for people, tab-separated without one
// for programs.
func (o *output) table(head []string, rows [][]string) {
	if !o.outTTY {
		for _, r := range rows {
			for i, cell := range r {
				r[i] = strings.NewReplacer("\t", " ", "\n", " ").Replace(cell)
			}
			o.printf("%s\n", strings.Join(r, "\t"))
		}
		return
	}
	o.printf("%s", align(append([][]string{head}, rows...), o.outStyle))
}

// align pads cells to columns; the first row is the head.
func align(rows [][]string, s style) string {
	var widths []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, r := range rows {
		var line strings.Builder
		for i, cell := range r {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch {
			case n == 0:
				cell = s.dim(cell)
			default:
				cell = s.tint(cell)
			}
			line.WriteString(cell)
			if i < len(r)-1 {
				line.WriteString(pad + "  ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// state is a word with its glyph on a terminal, and the word alone for programs.
func (o *output) state(g glyph, word string) string {
	if !o.outTTY {
		return word
	}
	return string(g) + " " + word
}

// parseColor checks --color.
func parseColor(when string) error {
	switch when {
	case "auto", "always", "never":
		return nil
	}
	return cluster.Invalid("color", "--color %s is not known", when).WithHint("use: auto, always or never")
}
