package builder

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"paas/cluster"
)

// tomlReader reads a strict document: the first thing that is wrong sticks, and
// everything read after it is zero.
type tomlReader struct {
	lines map[string]int
	err   *cluster.Error
}

// tomlTable is one table of the document.
type tomlTable struct {
	r      *tomlReader
	path   string
	values map[string]any
}

// readTOML parses text; the returned table is its root.
func readTOML(text string) (tomlTable, error) {
	if line := tooDeep(text); line > 0 {
		return tomlTable{}, failedAt(manifestFile, line, "it is nested more than %d levels deep", maxNesting).
			WithHint("what the file may hold: paas help paas.toml")
	}
	values := map[string]any{}
	if _, err := toml.Decode(text, &values); err != nil {
		var p toml.ParseError
		if errors.As(err, &p) {
			return tomlTable{}, failedAt(manifestFile, errorLine(text, p.Position), "%s", p.Message).
				WithHint("repair the line; what the file may hold: paas help paas.toml").Wrap(err)
		}
		return tomlTable{}, failedAt(manifestFile, 0, "%s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	return tomlTable{r: &tomlReader{lines: tomlLines(text)}, values: values}, nil
}

// errorLine is the line of a syntax error. The parser counts the newline that it
// stumbled over, so that its own line may be the one after.
func errorLine(text string, at toml.Position) int {
	if at.Start <= 0 || at.Start > len(text) {
		return at.Line
	}
	return min(at.Line, 1+strings.Count(text[:at.Start], "\n"))
}

// fail records what is wrong with key.
func (t tomlTable) fail(key, format string, args ...any) *cluster.Error {
	path := join(t.path, key)
	e := failedAt(manifestFile, lineOf(t.r.lines, path), "%s", fmt.Sprintf(format, args...))
	if t.r.err == nil {
		t.r.err = e
	}
	return e
}

// failHint is fail with a hint.
func (t tomlTable) failHint(key, hint, format string, args ...any) {
	if t.r.err == nil {
		t.r.err = t.fail(key, format, args...).WithHint(hint)
	}
}

// only refuses keys that are not in known, the topmost in the file first.
func (t tomlTable) only(known ...string) {
	var unknown []string
	for key := range t.values {
		if !slices.Contains(known, key) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 {
		return
	}
	slices.SortFunc(unknown, func(a, b string) int {
		return cmp.Or(lineOf(t.r.lines, join(t.path, a))-lineOf(t.r.lines, join(t.path, b)), strings.Compare(a, b))
	})
	key, where := unknown[0], "at the top"
	if t.path != "" {
		where = "in [" + t.path + "]"
	}
	hint := "known keys " + where + ": " + strings.Join(known, ", ")
	if near := cluster.Nearest(key, known); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	t.failHint(key, hint, "unknown key %s %s", shorten(key), where)
}

// table returns a sub-table; an absent one is empty.
func (t tomlTable) table(key string) tomlTable {
	sub := tomlTable{r: t.r, path: join(t.path, key)}
	switch v := t.values[key].(type) {
	case nil:
	case map[string]any:
		sub.values = v
	default:
		t.failHint(key, "write it as ["+sub.path+"]", "%s has to be a table", sub.path)
	}
	return sub
}

// text returns a string; "" when absent. An empty one is refused.
func (t tomlTable) text(key string) string {
	switch v := t.values[key].(type) {
	case nil:
	case string:
		if v == "" {
			t.failHint(key, "remove the line, or give it a value", "%s is empty", join(t.path, key))
		}
		return v
	default:
		t.failHint(key, fmt.Sprintf("write it as %s = %q", key, fmt.Sprint(v)), "%s has to be a string", join(t.path, key))
	}
	return ""
}

// integer returns a whole number within low and high; 0 when absent.
func (t tomlTable) integer(key string, low, high int64) int {
	switch v := t.values[key].(type) {
	case nil:
		return 0
	case int64:
		if v >= low && v <= high {
			return int(v)
		}
	}
	t.fail(key, "%s has to be a whole number from %d to %d", join(t.path, key), low, high)
	return 0
}

// duration returns a positive duration up to most; 0 when absent.
func (t tomlTable) duration(key string, most time.Duration) time.Duration {
	v, there := t.values[key]
	if !there {
		return 0
	}
	s, _ := v.(string)
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > most {
		t.failHint(key, fmt.Sprintf(`write it as %s = "30s"`, key), "%s has to be a duration up to %s", join(t.path, key), plainDuration(most))
		return 0
	}
	return d
}

func plainDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// bytes returns an amount of memory such as "256M"; 0 when absent.
func (t tomlTable) bytes(key string) int64 {
	v, there := t.values[key]
	if !there {
		return 0
	}
	s, _ := v.(string)
	n, ok := ParseBytes(s)
	if !ok || n < 8<<20 || n > 4<<40 {
		t.failHint(key, fmt.Sprintf(`write it as %s = "256M"`, key), "%s has to be an amount of memory from 8M to 4T", join(t.path, key))
		return 0
	}
	return n
}

var bytesRE = regexp.MustCompile(`(?i)^([0-9]{1,7}(?:\.[0-9]{1,3})?)([KMGT])(?:i?B)?$`)

// ParseBytes reads "256M", "256MiB", "1.5G"; units are powers of 1024.
func ParseBytes(s string) (int64, bool) {
	m := bytesRE.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	f, err := strconv.ParseFloat(m[1], 64)
	shift := 10 * (1 + strings.Index("KMGT", strings.ToUpper(m[2])))
	return int64(f * float64(int64(1)<<shift)), err == nil && f > 0
}

// milli returns a share of a CPU, 0.1 or "100m", in thousandths; 0 when absent.
func (t tomlTable) milli(key string) int64 {
	n, ok := int64(0), false
	switch v := t.values[key].(type) {
	case nil:
		return 0
	case int64:
		n, ok = v*1000, v < 1000
	case float64:
		n, ok = int64(math.Round(v*1000)), v < 1000
	case string:
		i, err := strconv.ParseInt(strings.TrimSuffix(v, "m"), 10, 32)
		n, ok = i, err == nil && strings.HasSuffix(v, "m")
	}
	if !ok || n < 1 || n > 1000_000 {
		t.failHint(key, fmt.Sprintf(`write it as %s = 0.5 or %s = "500m"`, key, key), "%s has to be a number of CPUs", join(t.path, key))
		return 0
	}
	return n
}

// constraints returns what a list of texts asks of nodes.
func (t tomlTable) constraints(key string) []cluster.Constraint {
	v, there := t.values[key]
	if !there {
		return nil
	}
	list, ok := v.([]any)
	if !ok || len(list) > cluster.MaxConstraints {
		t.failHint(key, fmt.Sprintf(`write it as %s = ["disk=ssd", "zone!=c"]`, key), "%s has to be a list of up to %d constraints", join(t.path, key), cluster.MaxConstraints)
		return nil
	}
	var out []cluster.Constraint
	for _, one := range list {
		text, _ := one.(string)
		c, err := cluster.ParseConstraint(text)
		t.check(key, err)
		out = append(out, c)
	}
	return out
}

// texts returns a table of strings; whole numbers and true or false become text.
func (t tomlTable) texts(key string) map[string]string {
	sub := t.table(key)
	if len(sub.values) == 0 {
		return nil
	}
	out := map[string]string{}
	for k, v := range sub.values {
		switch v := v.(type) {
		case string:
			out[k] = v
		case int64, bool, float64:
			out[k] = fmt.Sprint(v)
		default:
			sub.failHint(k, fmt.Sprintf(`write it as %s = "…"`, k), "%s has to be a string", join(sub.path, k))
		}
	}
	return out
}
