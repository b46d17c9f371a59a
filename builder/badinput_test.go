package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"paas/cluster"
)

// hostile are texts that no field means well with, unless it is free text.
var hostile = []string{
	"; rm -rf /", "$(id)", "`id`", "| cat", "a && b", "a b", "a\nb", "a\r\nb", `'"<>&`, "%s%n", "*", "{{7*7}}",
	"-x", "--upload-pack=touch /tmp/x", "--", "-", "ext::sh -c id", "BUILDKIT_SYNTAX", "buildkit_syntax",
	"..", ".", "../../etc/passwd", "a/../b", "a/../../b", "/etc/passwd", "//x", "%2e%2e", `..\..`, "blog/", "blog.git",
	"a\x00b", "\x00", "\x1b[31m", "\x7f", "a\u0085b", "bl\u043eg", "\uff42log", "blog\u202egolb", "blog\u200b", "\ufeffblog", "\U0001f4a9", "/\u202ex", "/\x1b",
	strings.Repeat("a", 10_000), "/" + strings.Repeat("a", 10_000), strings.Repeat("../", 3_400), strings.Repeat("9", 10_000), "", " ",
	"-1", "-1s", "-1M", "99999999999999999999", "1e309", "NaN", "0x10", "1.5", "0", "9999999h", "9999999T", "null", "true", "[]",
}

// column is one field of a file's parsed form, and how the file says it.
type column struct {
	file  string                 // with %s where the value stands
	quote func(string) string    // of a text
	may   func(text string) bool // which texts the field's documented grammar takes
	raw   []string               // values of other types that it takes
	read  func(parsed any) any   // what was read, to be the text itself; nil: the grammar fixes it
}

// fieldsOf lists what a type holds by path. The keys of a map are a field of their own.
func fieldsOf(t reflect.Type, path string) []string {
	switch t.Kind() {
	case reflect.Pointer:
		return fieldsOf(t.Elem(), path)
	case reflect.Map:
		return append([]string{path + " key"}, fieldsOf(t.Elem(), path)...)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct && t.Elem().NumField() > 0 {
			return fieldsOf(t.Elem(), path)
		}
	case reflect.Struct:
		var out []string
		for f := range t.Fields() {
			if f.IsExported() {
				out = append(out, fieldsOf(f.Type, strings.TrimPrefix(path+"."+f.Name, "."))...)
			}
		}
		return out
	}
	return []string{path}
}

// tried parses each file with every bad value in every one of its fields.
func tried(t *testing.T, name string, fields []string, columns map[string]column, raws []string, parse func([]byte) (any, error)) {
	t.Helper()
	for _, f := range fields {
		if _, ok := columns[f]; !ok {
			t.Errorf("%s: field %s has no row: say which values it takes", name, f)
		}
	}
	sent := 0
	for field, c := range columns {
		if !slices.Contains(fields, field) {
			t.Errorf("%s: there is no field %s", name, field)
		}
		try := func(value, text string, may bool) {
			sent++
			parsed, err := parse([]byte(strings.Replace(c.file, "%s", text, 1)))
			switch {
			case err != nil && may:
				t.Errorf("%s: %s = %.80q is refused: %v", name, field, value, err)
			case err != nil:
				if wrong := unclear(err, name); wrong != "" {
					t.Errorf("%s: %s = %.80q: %s", name, field, value, wrong)
				}
			case !may:
				t.Errorf("%s: %s = %.80q was taken", name, field, value)
			case c.read != nil && fmt.Sprint(c.read(parsed)) != value:
				t.Errorf("%s: %s = %.80q was read as %.80q", name, field, value, c.read(parsed))
			}
		}
		for _, value := range hostile {
			try(value, c.quote(value), c.may(value))
		}
		if strings.HasSuffix(field, " key") {
			continue // a key is a text
		}
		c.read = nil
		for _, raw := range raws {
			try(raw, raw, slices.Contains(c.raw, raw))
		}
	}
	t.Logf("%s: %d fields, %d bad values", name, len(fields), sent)
}

// unclear says what is wrong with how a bad value was refused.
func unclear(err error, file string) string {
	var e *cluster.Error
	if !errors.As(err, &e) || e.Kind != cluster.KindBuildFailed {
		return fmt.Sprintf("no error of a build: %v", err)
	}
	text := e.Message + "\n" + e.Reason + "\n" + e.Hint
	switch {
	case !strings.HasPrefix(e.Message, file):
		return "it names no file: " + text
	case e.Hint == "":
		return "it does not say what to do: " + text
	case len(text) > 1024:
		return fmt.Sprintf("%d bytes of answer: %.200s", len(text), text)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }):
		return fmt.Sprintf("unprintable: %q", text)
	}
	return ""
}

func never(string) bool  { return false }
func always(string) bool { return true }

// valid makes a grammar of a noun's own rule.
func valid(rule func(string) error) func(string) bool {
	return func(s string) bool { return rule(s) == nil }
}

func oneOf(words ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(words, s) }
}

// jsonText writes a text as TOML and JSON both take it.
func jsonText(s string) string {
	b, _ := json.Marshal(s) // texts always encode
	return strings.ReplaceAll(string(b), "\x7f", `\u007f`)
}

func isType(s string) bool { return cluster.ProcessType(s).Validate() == nil }

// isCommand: free text that a container gets as its arguments, or its own shell.
func isCommand(s string) bool {
	return s != "" && len(s) <= maxCommandBytes && !strings.ContainsRune(s, 0)
}
