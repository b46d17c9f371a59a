package builder

import (
	"cmp"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"paas/cluster"
)

// Procfile maps process types to the commands that start them.
type Procfile map[cluster.ProcessType]string

var procfileLineRE = regexp.MustCompile(`^([A-Za-z0-9_-]+)\s*:\s*(.*)$`)

// ParseProcfile reads a Procfile: one "type: command" per line, "#" and "//"
// comments, blank lines. One bad line makes all of it invalid, since half a
// Procfile (a merge marker, a lost line) is worse than none; so is an empty one.
// Errors are of KindBuildFailed and name the line.
func ParseProcfile(data []byte) (Procfile, error) {
	p, lines := Procfile{}, map[cluster.ProcessType]int{}
	text := strings.TrimPrefix(string(data), "\ufeff")
	for i, line := range strings.Split(text, "\n") {
		if !utf8.ValidString(line) {
			return nil, failedAt(procFile, i+1, "the line is not UTF-8").WithHint("save the file as UTF-8")
		}
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "//") {
			continue
		}
		t, command, err := procfileLine(line, i+1)
		if err != nil {
			return nil, err
		}
		if first, twice := lines[t]; twice {
			return nil, failedAt(procFile, i+1, "process type %q is there twice", string(t)).Because("the first is on line %d", first)
		}
		if len(p) == cluster.MaxProcessTypes {
			return nil, failedAt(procFile, i+1, "there are too many process types").Because("the limit is %d", cluster.MaxProcessTypes).
				WithHint("one app has a handful of process types: make several apps of this one")
		}
		p[t], lines[t] = command, i+1
	}
	if len(p) == 0 {
		return nil, failed(procFile, "the Procfile names no process").
			WithHint(`add a line such as "web: ./server", or remove the file`)
	}
	return p, nil
}

func procfileLine(line string, n int) (cluster.ProcessType, string, error) {
	m := procfileLineRE.FindStringSubmatch(line)
	if m == nil {
		return "", "", failedAt(procFile, n, "%s is not a process", shorten(line)).
			WithHint(`a line looks like "web: ./server --port $PORT"`)
	}
	t, command := cluster.ProcessType(m[1]), m[2]
	if err := validType(t); err != nil {
		return "", "", failedAt(procFile, n, "%s", err.Message).Because("%s", err.Reason).WithHint(cmp.Or(err.Hint, typeHint))
	}
	if command == "" {
		return "", "", failedAt(procFile, n, "process type %q has no command", string(t))
	}
	if len(command) > maxCommandBytes || strings.ContainsRune(command, 0) {
		return "", "", failedAt(procFile, n, "the command of %q is too long or holds a NUL byte", string(t)).
			Because("it has %d bytes; the limit is %d", len(command), maxCommandBytes)
	}
	return t, command, nil
}

// typeHint is for names that nothing is near to.
const typeHint = "name it like web or worker"

// validType is cluster's rule with a proposal for what is nearly right.
func validType(t cluster.ProcessType) *cluster.Error {
	err := t.Validate()
	if err == nil {
		return nil
	}
	e := failed("process_type", "process type %s is not valid", shorten(string(t))).
		Because("a type is 1 to 63 lower-case letters, digits and dashes, and starts with a letter")
	near := cluster.ProcessType(strings.Trim(strings.ReplaceAll(strings.ToLower(string(t)), "_", "-"), "-"))
	if near.Validate() == nil {
		e = e.WithHint("did you mean " + string(near) + "?")
	}
	return e
}

// shorten quotes s for people, at most 60 bytes of it.
func shorten(s string) string {
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:57], "") + "…"
	}
	return `"` + strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) { // terminals obey some of the others, and readers are misled
			return '?'
		}
		return r
	}, s) + `"`
}
