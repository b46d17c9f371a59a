package builder

import "strings"

// tomlLines finds the line of every key of a TOML document that package toml
// has already accepted, by dotted path. It is for error messages only: a path it
// misses costs a line number, nothing else.
func tomlLines(text string) map[string]int {
	lines := map[string]int{}
	table, fence := "", ""
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if fence != "" {
			if strings.Contains(trimmed, fence) {
				fence = ""
			}
			continue
		}
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case trimmed[0] == '[':
			header, _, _ := strings.Cut(strings.TrimLeft(trimmed, "["), "]")
			table = dotted(header)
			note(lines, table, i+1)
		default:
			key, value, ok := strings.Cut(trimmed, "=")
			if !ok {
				continue
			}
			note(lines, join(table, dotted(key)), i+1)
			fence = openFence(value)
		}
	}
	return lines
}

// note records path and each of its parents, unless they are known.
func note(lines map[string]int, path string, line int) {
	if strings.Count(path, ".") > maxNesting {
		return // a value that looks like a key: its parents would be as many as its dots, and as long
	}
	for path != "" {
		if _, known := lines[path]; !known {
			lines[path] = line
		}
		cut := strings.LastIndexByte(path, '.')
		path = path[:max(cut, 0)]
	}
}

// openFence returns the mark that ends a multi-line string begun in value.
func openFence(value string) string {
	for _, mark := range []string{`"""`, `'''`} {
		if strings.Count(value, mark) == 1 {
			return mark
		}
	}
	return ""
}

// dotted normalises a TOML key: spaces and quotes away.
func dotted(key string) string {
	parts := strings.Split(key, ".")
	for i, p := range parts {
		parts[i] = strings.Trim(strings.TrimSpace(p), `"'`)
	}
	return strings.Join(parts, ".")
}

func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

// lineOf returns the line of path, or of its nearest known parent; 0 if none.
func lineOf(lines map[string]int, path string) int {
	for path != "" {
		if n, ok := lines[path]; ok {
			return n
		}
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
	}
	return 0
}
