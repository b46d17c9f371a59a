package builder

import (
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

func TestManifestRefusesDepthAtOnce(t *testing.T) {
	const n = 60_000
	deep := strings.Repeat("a.", n) + "a"
	for name, text := range map[string]string{
		"dotted key": deep + " = 1\n", "table": "[" + deep + "]\n", "quoted key": strings.Repeat(`"a".`, n) + "a = 1\n",
		"spaced key": strings.Repeat("a . ", n) + "a = 1\n", "arrays": "a = " + strings.Repeat("[", n), "inline": "a = " + strings.Repeat("{a = ", n),
		"dotted inline": "a = { " + deep + " = 1 }\n", "tables of tables": strings.Repeat("[", n) + "a",
		"after two quotes": "x = \"\"\"a\"\"\"\"\"\n" + deep + " = 1\n", "after an escape": "x = \"\\\\\" # \"\n" + deep + " = 1\n",
		"after a literal": `x = '\'` + "\n" + deep + " = 1\n", "after an open string": "x = \"\n" + deep + " = 1\n",
	} {
		began := time.Now()
		_, err := ParseManifest([]byte(text))
		refusal(t, err, "paas.toml line", "nested", "paas help paas.toml")
		if took := time.Since(began); took > 5*time.Second { // it is a millisecond; the parser would need an hour
			t.Errorf("%s: %v", name, took)
		}
	}
}

func TestManifestMayHoldManyDots(t *testing.T) {
	dots := strings.Repeat(".", 100)
	text := "# " + dots + "\n[env]\nA = \"" + dots + "\\\"" + dots + "\"\nB = '" + dots + "'\nC = \"\"\"\n" + dots + "\n\"\"\" # " + dots + "\n"
	m, err := ParseManifest([]byte(text))
	if err != nil || m.Env["A"] != dots+`"`+dots || m.Env["B"] != dots || m.Env["C"] != dots+"\n" {
		t.Fatalf("%v %v", m, err)
	}
}

// A list of long words is no list of keys.
func TestLinesOfAListAreFoundAtOnce(t *testing.T) {
	text := "[env]\nA = [\n\"" + strings.Repeat("a.", 100_000) + "=\",\n]\n"
	began := time.Now()
	_, err := ParseManifest([]byte(text))
	refusal(t, err, "has to be a string")
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

// FuzzTooDeep demands that nothing deep gets to the parser.
func FuzzTooDeep(f *testing.F) {
	for _, s := range []string{"a.b = 1", "a = \"\"\"x\"\"\"\"\"\nb.c = 2", "a = '\\'\nb.c.d = '''\n'''", "[[a]]\n[a.b]", "a = [[{b.c = 1}]]", "a=\"\\\\\"#\"\n"} {
		f.Add(strings.Replace(s, "b.c", strings.Repeat("b.", 20)+"c", 1))
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 || tooDeep(text) > 0 {
			return
		}
		values := map[string]any{}
		if _, err := toml.Decode(text, &values); err == nil && depthOf(values) > 4*maxNesting {
			t.Fatalf("%d deep", depthOf(values))
		}
	})
}

// depthOf is how deep tables and lists lie in one another.
func depthOf(v any) (depth int) {
	switch v := v.(type) {
	case map[string]any:
		for _, sub := range v {
			depth = max(depth, 1+depthOf(sub))
		}
	case []map[string]any:
		for _, sub := range v {
			depth = max(depth, 1+depthOf(sub))
		}
	case []any:
		for _, sub := range v {
			depth = max(depth, 1+depthOf(sub))
		}
	}
	return depth
}
