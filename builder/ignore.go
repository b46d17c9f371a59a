package builder

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// ignoreRule is one line of a .gitignore or .paasignore.
type ignoreRule struct {
	base    string // folder that the file lies in
	re      *regexp.Regexp
	negated bool
	dirOnly bool
}

// ignoreFiles are read in every folder, in this order; later rules win.
var ignoreFiles = []string{".gitignore", ".paasignore"}

// readIgnore returns the rules that a folder adds.
func readIgnore(fsys fs.FS, dir string) ([]ignoreRule, error) {
	var rules []ignoreRule
	for _, name := range ignoreFiles {
		data, ok, err := readSmall(fsys, path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		for line := range strings.SplitSeq(string(data), "\n") {
			if r, ok := parseIgnore(dir, line); ok {
				rules = append(rules, r)
			}
		}
	}
	return rules, nil
}

// parseIgnore follows gitignore(5): "#" comments, "!" negation, a slash at the
// end for folders only, a slash elsewhere to anchor the pattern to its folder.
func parseIgnore(dir, line string) (ignoreRule, bool) {
	line = strings.TrimSuffix(line, "\r")
	if !strings.HasSuffix(line, `\ `) {
		line = strings.TrimRight(line, " \t")
	}
	if line == "" || line[0] == '#' {
		return ignoreRule{}, false
	}
	r := ignoreRule{base: dir}
	line, r.negated = strings.CutPrefix(line, "!")
	line, r.dirOnly = strings.CutSuffix(line, "/")
	anchored := strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return r, false
	}
	if !anchored {
		line = "**/" + line
	}
	re, err := regexp.Compile("^" + ignorePattern(line) + "$")
	if err != nil {
		return r, false // as Git does: a pattern that cannot be read matches nothing
	}
	r.re = re
	return r, true
}

// ignorePattern translates a glob.
func ignorePattern(glob string) string {
	var b strings.Builder
	for i := 0; i < len(glob); i++ {
		rest := glob[i:]
		switch {
		case strings.HasPrefix(rest, "**/") && (i == 0 || glob[i-1] == '/'):
			b.WriteString("(?:.*/)?")
			i += 2
		case rest == "**" && i > 0 && glob[i-1] == '/':
			b.WriteString(".+")
			i++
		case glob[i] == '*':
			b.WriteString("[^/]*")
		case glob[i] == '?':
			b.WriteString("[^/]")
		case glob[i] == '[' && strings.IndexByte(rest[1:], ']') > 0:
			end := 1 + strings.IndexByte(rest[1:], ']')
			class := strings.ReplaceAll(rest[1:end], `\`, `\\`)
			if class[0] == '!' {
				class = "^" + class[1:]
			}
			b.WriteString("[" + class + "]")
			i += end
		case glob[i] == '\\' && i+1 < len(glob):
			i++
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	return b.String()
}

// ignored applies rules, nearest and last first, to an entry.
func ignored(rules []ignoreRule, name string, d fs.DirEntry) bool {
	for i := len(rules) - 1; i >= 0; i-- {
		r := rules[i]
		if r.dirOnly && !d.IsDir() {
			continue
		}
		rel := name
		if r.base != "." {
			var ok bool
			if rel, ok = strings.CutPrefix(name, r.base+"/"); !ok {
				continue
			}
		}
		if r.re.MatchString(rel) {
			return !r.negated
		}
	}
	return false
}
