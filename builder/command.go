package builder

import (
	"regexp"
	"strings"
)

// argv turns a command line into an argument vector. Plain words become the
// vector itself: that needs no shell in the image, and the process is the one
// that gets SIGTERM. Anything else runs in the image's /bin/sh, replaced by the
// process where the line is a single command.
func argv(command string) []string {
	command = strings.TrimSpace(command)
	if words, ok := plainWords(strings.TrimPrefix(command, "exec ")); ok {
		return words
	}
	return []string{"/bin/sh", "-c", execLine(command)}
}

// shellOnly are words that mean something to a shell at the beginning of a line
// and are no programs, or other ones.
var shellOnly = map[string]bool{
	".": true, ":": true, "alias": true, "bg": true, "break": true, "case": true, "cd": true, "command": true, "continue": true,
	"eval": true, "exec": true, "exit": true, "export": true, "fg": true, "for": true, "function": true, "if": true, "jobs": true,
	"local": true, "read": true, "readonly": true, "return": true, "select": true, "set": true, "shift": true, "source": true,
	"time": true, "times": true, "trap": true, "type": true, "ulimit": true, "umask": true, "unset": true, "until": true,
	"wait": true, "while": true, "!": true, "{": true,
}

// plainWords splits a line that needs no shell: words, single quotes, double
// quotes without expansions. ok is false for anything else.
func plainWords(line string) (words []string, ok bool) {
	var word strings.Builder
	in := false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == ' ' || c == '\t':
			if in {
				words, in = append(words, word.String()), false
				word.Reset()
			}
		case c == '\'' || c == '"':
			end := strings.IndexByte(line[i+1:], c)
			if end < 0 {
				return nil, false
			}
			quoted := line[i+1 : i+1+end]
			if c == '"' && strings.ContainsAny(quoted, "$`\\!") {
				return nil, false
			}
			word.WriteString(quoted)
			in, i = true, i+1+end
		case strings.IndexByte("|&;<>()$`\\*?[]{}\r\n", c) >= 0,
			(c == '#' || c == '~') && !in:
			return nil, false
		default:
			word.WriteByte(c)
			in = true
		}
	}
	if in {
		words = append(words, word.String())
	}
	if len(words) == 0 || words[0] == "" || shellOnly[words[0]] || strings.Contains(words[0], "=") {
		return nil, false
	}
	return words, true
}

var assignmentsRE = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_]*=[A-Za-z0-9_./:,@%+-]*\s+)+`)

// execLine prepends "exec" to a line that is one simple command, so that the
// command replaces the shell and gets its signals.
func execLine(line string) string {
	assignments := assignmentsRE.FindString(line)
	rest := line[len(assignments):]
	first, _, _ := strings.Cut(rest, " ")
	if rest == "" || shellOnly[first] || strings.Contains(first, "=") || !simple(rest) {
		return line
	}
	return assignments + "exec " + rest
}

// simple reports whether line holds no operator outside quotes: then it is one
// command, expansions and redirections included.
func simple(line string) bool {
	var quote byte
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote == '\'' && c != '\'':
		case c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case strings.IndexByte("|&;()\n\r#`", c) >= 0:
			return c == '(' && i > 0 && line[i-1] == '$' && !strings.ContainsAny(line[i:], "|&;\n\r#`")
		}
	}
	return quote == 0
}
