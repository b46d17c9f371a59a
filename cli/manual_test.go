package cli

import (
	"strings"
	"testing"

	"paas/builder"
	"paas/cluster"
)

// each calls f for every command.
func each(v *verb, f func(*verb)) {
	for _, s := range v.verbs {
		f(s)
		each(s, f)
	}
}

func TestEveryCommandHasAManualPage(t *testing.T) {
	each(verbs(), func(v *verb) {
		if v.hidden {
			return
		}
		if v.summary == "" || len(v.examples) == 0 {
			t.Errorf("paas %s has no summary or no example", v.path())
		}
		if v.parent.parent == nil && v.group == "" {
			t.Errorf("paas %s is in no group", v.path())
		}
		if v.run == nil && len(v.verbs) == 0 {
			t.Errorf("paas %s does nothing", v.path())
		}
		if (v.takes.max != 0) != (v.args != "") {
			t.Errorf("paas %s takes %v and says %q", v.path(), v.takes, v.args)
		}
	})
}

// TestEveryExampleIsACommand reads the examples as the program would.
func TestEveryExampleIsACommand(t *testing.T) {
	root := verbs()
	each(root, func(v *verb) {
		for _, example := range v.examples {
			for _, line := range commandLines(example) {
				a, err := arrange(root, line)
				if err != nil || a.stray != "" || checkArity(a) != nil {
					t.Errorf("paas %s shows %q: %v %q %v", v.path(), strings.Join(line, " "), err, a.stray, checkArity(a))
				}
			}
		}
	})
}

// commandLines are the arguments of every "paas …" in a shell line.
func commandLines(shell string) [][]string {
	for _, cut := range []string{"$(", "<("} {
		if before, inner, ok := strings.Cut(shell, cut); ok {
			inner, _, _ = strings.Cut(inner, ")")
			shell = before + " && " + inner
		}
	}
	var lines [][]string
	for part := range strings.SplitSeq(strings.NewReplacer("&&", "\n", "|", "\n", ";", "\n").Replace(shell), "\n") {
		part, _, _ = strings.Cut(part, ">")
		part, _, _ = strings.Cut(part, "< ")
		if words := strings.Fields(part); len(words) > 0 && words[0] == "paas" {
			lines = append(lines, words[1:])
		}
	}
	return lines
}

func TestNamesAndFlagsAreUnambiguous(t *testing.T) {
	each(verbs(), func(v *verb) {
		seen := map[string]bool{}
		for _, s := range v.verbs {
			for _, n := range append([]string{s.name}, s.aliases...) {
				if seen[n] {
					t.Errorf("paas %s has two commands %s", v.path(), n)
				}
				seen[n] = true
			}
		}
		flags := map[string]bool{}
		for _, f := range v.allFlags() {
			for _, n := range f.Names() {
				if flags[n] {
					t.Errorf("paas %s has two flags %s", v.path(), n)
				}
				flags[n] = true
			}
		}
	})
}

// TestEveryKindHasAnExitCode goes on until a kind has no name.
func TestEveryKindHasAnExitCode(t *testing.T) {
	want := map[cluster.Kind]int{cluster.KindInternal: 1, cluster.KindInvalid: 2, cluster.KindNotFound: 3, cluster.KindConflict: 5, cluster.KindUnauthenticated: 4,
		cluster.KindForbidden: 4, cluster.KindUnavailable: 1, cluster.KindUnplaceable: 7, cluster.KindBuildFailed: 9, cluster.KindRolloutFailed: 6}
	for k := cluster.Kind(0); !strings.HasPrefix(k.String(), "unknown("); k++ {
		code, ok := want[k]
		if !ok {
			t.Fatalf("kind %s is new: give it an exit code", k)
		}
		if got := exitCode(cluster.Errorf(k, "x", "x")); got != code {
			t.Errorf("%s is %d, want %d", k, got, code)
		}
		listed := 0
		for _, e := range kindCodes {
			if e.kind == k {
				listed++
			}
		}
		if listed != 1 {
			t.Errorf("%s is listed %d times", k, listed)
		}
	}
	for err, code := range map[error]int{nil: 0, status(42): 42, interrupted("x", ""): 130, timedOut(1, "x", ""): 8, status(exitChanges): 10} {
		if got := exitCode(err); got != code {
			t.Errorf("%v is %d, want %d", err, got, code)
		}
	}
}

// What the help shows of an app's files is what their parsers take.
func TestHelpOfFilesIsTheirForm(t *testing.T) {
	if m, err := builder.ParseManifest([]byte(topics["paas.toml"])); err != nil || m.App != "blog" || m.Processes["web"].Port != 8080 {
		t.Errorf("paas.toml: %+v, %v", m, err)
	}
	if p, err := builder.ParseProcfile([]byte(topics["procfile"])); err != nil || len(p) != 3 {
		t.Errorf("Procfile: %v, %v", p, err)
	}
	_, text, _ := strings.Cut(topics["app.json"], "\n\n")
	if a, err := builder.ParseAppJSON([]byte(text)); err != nil || len(a.Env) != 3 || len(a.Warnings) > 0 {
		t.Errorf("app.json: %+v, %v", a, err)
	}
}
