package cli

import (
	"strings"

	"paas/cluster"
)

// parseDotenv reads a .env file as common tools write them: KEY=VALUE lines,
// "export " in front, comments, single quotes that mean every character,
// double quotes with \n \r \t \" \\ \$ that may span lines. Nothing is expanded:
// $NAME stays as it is. A key that comes twice has its last value.
func parseDotenv(text string) (map[string]string, error) {
	d := dotenv{rest: strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n"), line: 1}
	set := map[string]string{}
	for d.skipBlank() {
		key, err := d.key()
		if err != nil {
			return nil, err
		}
		if set[key], err = d.value(); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// dotenv is what is left to read.
type dotenv struct {
	rest string
	line int
}

// fail names the line and never its content: it may be a secret.
func (d *dotenv) fail(why string) error {
	return cluster.Invalid("dotenv", "line %d cannot be read", d.line).Because("%s", why).
		WithHint("a line has the form KEY=VALUE, KEY='VALUE' or KEY=\"VALUE\"")
}

// skipBlank goes to the next assignment, if there is one.
func (d *dotenv) skipBlank() bool {
	for d.rest != "" {
		line, _, _ := strings.Cut(d.rest, "\n")
		if t := strings.TrimSpace(line); t != "" && t[0] != '#' {
			return true
		}
		d.nextLine()
	}
	return false
}

// nextLine drops the rest of the line and returns it.
func (d *dotenv) nextLine() string {
	line, rest, _ := strings.Cut(d.rest, "\n")
	d.rest = rest
	d.line++
	return line
}

// key reads up to the "=".
func (d *dotenv) key() (string, error) {
	line, _, _ := strings.Cut(d.rest, "\n")
	i := strings.IndexByte(line, '=')
	if i < 0 {
		return "", d.fail("it has no =")
	}
	key := strings.TrimSpace(line[:i])
	if name, ok := strings.CutPrefix(key, "export"); ok && name != strings.TrimLeft(name, " \t") {
		key = strings.TrimSpace(name)
	}
	if err := cluster.ValidateConfigKey(key); err != nil {
		return "", d.fail("what stands before = is no key that can be set")
	}
	d.rest = strings.TrimLeft(d.rest[i+1:], " \t")
	return key, nil
}

func (d *dotenv) value() (string, error) {
	if d.rest != "" && (d.rest[0] == '"' || d.rest[0] == '\'') {
		return d.quoted()
	}
	line := d.nextLine()
	// A comment needs a space before it: passwords and URLs hold #.
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
			break
		}
	}
	return strings.TrimSpace(line), nil
}

// quoted reads a value in quotes and demands that nothing follows it.
func (d *dotenv) quoted() (string, error) {
	quote, begin := d.rest[0], d.line
	var b strings.Builder
	for i := 1; i < len(d.rest); i++ {
		c := d.rest[i]
		switch {
		case c == quote:
			d.line += strings.Count(d.rest[:i], "\n")
			d.rest = d.rest[i+1:]
			if left := strings.TrimSpace(d.nextLine()); left != "" && left[0] != '#' {
				d.line--
				return "", d.fail("something follows the closing quote")
			}
			return b.String(), nil
		case c == '\\' && quote == '"' && i+1 < len(d.rest):
			i++
			b.WriteString(unescape(d.rest[i]))
		default:
			b.WriteByte(c)
		}
	}
	d.line = begin
	return "", d.fail("a quote is opened and never closed")
}

// unescape is what a backslash and c mean between double quotes.
func unescape(c byte) string {
	switch c {
	case 'n':
		return "\n"
	case 'r':
		return "\r"
	case 't':
		return "\t"
	case '"', '\\', '$', '\'', '`':
		return string(c)
	}
	return string([]byte{'\\', c}) // c may be the first byte of a letter
}
