package cli

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"paas/cluster"
)

// dotenvForms are the ways in which a file says a value; each returns false for
// texts that it cannot say.
var dotenvForms = map[string]func(string) (string, bool){
	"plain": func(v string) (string, bool) {
		return v, strings.TrimSpace(v) == v && !strings.ContainsAny(v, "\r\n") && !strings.HasPrefix(v, "'") && !strings.HasPrefix(v, `"`) &&
			!strings.HasPrefix(v, "#") && !strings.Contains(v, " #")
	},
	"single": func(v string) (string, bool) { return "'" + v + "'", !strings.ContainsAny(v, "'\r") },
	"double": func(v string) (string, bool) {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", `\r`).Replace(v) + `"`, true
	},
	"escaped": func(v string) (string, bool) {
		return `"` + unknownEscapes.Replace(v) + `"`, !strings.ContainsAny(v, "\\\"\r")
	},
}

// unknownEscapes stay as they are written.
var unknownEscapes = strings.NewReplacer("b", `\b`, "\u00e9", "\\\u00e9")

// What is parsed is a map from text to text: its keys and its values are the fields.
func TestBadInputOfEveryDotenvField(t *testing.T) {
	if parsed := reflect.TypeOf(parseDotenv).Out(0); parsed != reflect.TypeFor[map[string]string]() {
		t.Fatalf("a .env file has new fields, %v: add them here", parsed)
	}
	for _, key := range slices.Concat(hostile, []string{"PORT", "PAAS_APP", "export", "export X", "A\tB", "a.b", "a-b", "1A", "=", "'A'", `"A"`}) {
		set, err := readDotenvText(key + "=hunter2\n")
		trimmed := strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(key, "\ufeff"), "export "))
		switch {
		case cluster.ValidateConfigKey(trimmed) != nil:
			refusedDotenv(t, "key", key, err)
		case err != nil || set[trimmed] != "hunter2" || len(set) != 1:
			t.Errorf("key %.80q: %v %v", key, set, err)
		}
	}
	sent := 0
	for _, value := range slices.Concat(hostile, []string{"caf\u00e9", "b\u00e9b\u00e9", "$HOME", "${X:-$(id)}", "a\\nb", "\\", "A=B", "#", strings.Repeat("a", 300_000)}) {
		for name, form := range dotenvForms {
			text, can := form(value)
			if !can {
				continue
			}
			sent++
			want := value
			if name == "escaped" {
				want = unknownEscapes.Replace(value)
			}
			set, err := readDotenvText("A=" + text + "\n")
			switch {
			case cluster.ValidateConfigValue("A", want) != nil:
				refusedDotenv(t, name, value, err)
			case err != nil || set["A"] != want:
				t.Errorf("%s %.80q: %.80q %v", name, value, set["A"], err)
			}
		}
	}
	for _, text := range []string{"'", `"`, "A", "A='", "A=\"\\", "A='x'y", "=", "\x00", "A=\x00", "export", "A=1\n\x1b[31m", "A=\"\xff\"", "\xff\xfeA\x00=\x00", "[A]\nb=1\n,c", "{\"A\":1}"} {
		_, err := readDotenvText(text)
		refusedDotenv(t, "file", text, err)
	}
	t.Logf("%d values", sent)
}

// readDotenvText is what config import does with a file before it asks the cluster.
func readDotenvText(text string) (map[string]string, error) {
	parsed, err := parseDotenv(text)
	if err != nil {
		return nil, err
	}
	for key, value := range parsed {
		if err := cluster.ValidateConfigValue(key, value); err != nil {
			return nil, err
		}
	}
	return parsed, nil
}

// refusedDotenv demands three parts, short, printable and without the value.
func refusedDotenv(t *testing.T, form, value string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s %.80q was taken", form, value)
		return
	}
	e := asError(err)
	said := fmt.Sprintf("%s\n%s\n%s", e.Message, e.Reason, e.Hint)
	switch {
	case exitCode(err) != exitUsage:
		t.Errorf("%s %.80q: exit %d", form, value, exitCode(err))
	case e.Message == "" || e.Reason == "" || e.Hint == "":
		t.Errorf("%s %.80q: a part is missing: %q", form, value, said)
	case len(said) > 1024 || !utf8.ValidString(said) || strings.ContainsFunc(said, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x202a && r <= 0x202e }):
		t.Errorf("%s %.80q: unreadable: %.200q", form, value, said)
	case strings.Contains(said, "hunter2"):
		t.Errorf("%s %.80q: it tells the value", form, value)
	}
}
