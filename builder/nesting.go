package builder

import "strings"

// maxNesting bounds how deep a paas.toml lies in itself: process.web.check.path is
// its deepest key. The parser's work grows with the third power of the depth: a key
// of 16,000 parts keeps a processor busy for half a minute, and nothing can stop it.
const maxNesting = 16

// tooDeep returns the line on which a document nests deeper than maxNesting, 0 if it
// does nowhere. It reads strings and comments as the parser does; what it takes for
// something else is an error to the parser, which stops there.
func tooDeep(text string) int {
	line, dots, depth := 1, 0, 0
	for i := 0; i < len(text); {
		n := 1
		switch c := text[i]; c {
		case '\n':
			line++
			dots = 0
		case '#':
			if end := strings.IndexByte(text[i:], '\n'); end >= 0 {
				n = end
			} else {
				n = len(text) - i
			}
		case '"', '\'':
			n = stringLength(text[i:], c)
			line += strings.Count(text[i:i+n], "\n")
		case '.':
			dots++
		case '[', '{':
			depth++
			dots = 0
		case ']', '}':
			depth = max(depth-1, 0)
			dots = 0
		case ',', '=':
			dots = 0
		}
		if dots >= maxNesting || depth > maxNesting {
			return line
		}
		i += n
	}
	return 0
}

// stringLength is the length of the string that text begins with, its quotes
// included. One line's string ends with the line at the latest.
func stringLength(text string, quote byte) int {
	long := strings.Repeat(string(quote), 3)
	many := strings.HasPrefix(text, long)
	i := 1
	if many {
		i = 3
	}
	for i < len(text) {
		switch {
		case text[i] == '\\' && quote == '"':
			i++
		case text[i] == '\n' && !many:
			return i
		case many && strings.HasPrefix(text[i:], long):
			i += 3
			for extra := 0; extra < 2 && i < len(text) && text[i] == quote; extra++ { // """a""""" ends with two quotes of its own
				i++
			}
			return i
		case text[i] == quote && !many:
			return i + 1
		}
		i++
	}
	return len(text)
}
