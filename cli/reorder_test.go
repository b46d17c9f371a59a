package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"paas/cluster"
)

func TestFlagsMayStandAnywhere(t *testing.T) {
	for _, c := range []struct{ line, path, flags, args string }{
		{"apps", "apps", "", ""},
		{"apps create blog", "apps create", "", "blog"},
		{"scale web=3 -a blog", "scale", "--app=blog", "web=3"},
		{"scale -a blog web=3 worker+1 web-1", "scale", "--app=blog", "web=3 worker+1 web-1"},
		{"-a blog scale web=3", "scale", "--app=blog", "web=3"},
		{"--json -c dev apps list", "apps list", "--json --context=dev", ""},
		{"apps --json list", "apps list", "--json", ""},
		{"apps -c list list", "apps list", "--context=list", ""},
		{"apps destroy -a life --confirm life", "apps destroy", "--app=life --confirm=life", ""},
		{"logs -fn50 -p=web", "logs", "--follow --lines=50 --process=web", ""},
		{"logs -n 50 -f", "logs", "--lines=50 --follow", ""},
		{"logs --tail --num=5", "logs", "--follow --lines=5", ""},
		{"config set A=-1 B=--x --detach", "config set", "--detach", "A=-1 B=--x"},
		{"config set --detach=false A=1", "config set", "--detach=false", "A=1"},
		{"config set -- -A=1 --json", "config set", "", "-A=1 --json"},
		{"config set A=-", "config set", "", "A=-"},
		{"rollback v7 --yes", "rollback", "--yes", "v7"},
		{"run ls -la --json", "run", "", "ls -la --json"},
		{"run -a blog ls -a", "run", "--app=blog", "ls -a"},
		{"run -a blog -- ls -- x", "run", "--app=blog", "ls -- x"},
		{"run -- -weird", "run", "", "-weird"},
		{"run -e A=1 --env=B=2 env", "run", "--env=A=1 --env=B=2", "env"},
		{"exec web.1 ls -a", "exec", "", "web.1 ls -a"},
		{"exec web.1 -- ls -a", "exec", "", "web.1 ls -a"},
		{"exec web.1 -a blog -- ls -a", "exec", "--app=blog", "web.1 ls -a"},
		{"exec -a blog web.1 ls -- -a", "exec", "--app=blog", "web.1 ls -- -a"},
		{"releases info v1 -r paas", "releases info", "--remote=paas", "v1"},
		{"deploys watch d-1", "deployments watch", "", "d-1"},
		{"git-hook pre-receive", "git-hook", "", "pre-receive"},
		{"apps lst", "apps", "", "lst"},
		{"nosuch -a x", "", "--app=x", "nosuch"},
	} {
		t.Run(c.line, func(t *testing.T) {
			a, err := arrange(verbs(), strings.Fields(c.line))
			if c.path == "" { // the root knows no --app, and says so only where it matters
				if len(a.path) != 0 {
					t.Fatalf("path is %v", a.path)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := []string{strings.Join(a.path, " "), strings.Join(a.flags, " "), strings.Join(a.args, " ")}
			if diff := cmp.Diff([]string{c.path, c.flags, c.args}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFlagErrorsNameWhatWasMeant(t *testing.T) {
	for _, c := range []struct{ line, message, hint string }{
		{"apps --jsn", "paas apps has no flag --jsn", "did you mean: --json"},
		{"scale web=1 -app blog", "paas scale has no flag -app", ""},
		{"ps -n", "paas ps has no flag -n", "see: paas ps --help"},
		{"scale web=1 -json", "paas scale has no flag -json", "did you mean: --json"},
		{"scale web=1 -a", "flag -a needs a value", ""},
		{"logs --lines", "flag --lines needs a value", ""},
		{"run --nothing ls", "paas run has no flag --nothing", "see: paas run --help"},
		{"ps --a blog", "paas ps has no flag --a", ""},
	} {
		t.Run(c.line, func(t *testing.T) {
			_, err := arrange(verbs(), strings.Fields(c.line))
			if c.line == "scale web=1 -app blog" { // -a takes "pp": short flags carry their values
				if err != nil {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err == nil || asError(err).Message != c.message || c.hint != "" && asError(err).Hint != c.hint {
				t.Fatalf("got %q (hint %q)", err, asError(err).Hint)
			}
			if exitCode(err) != exitUsage {
				t.Fatalf("exit code %d", exitCode(err))
			}
		})
	}
}

func TestColonSpellings(t *testing.T) {
	for _, c := range [][2]string{
		{"config:set A=1", "config set A=1"}, {"-a blog config:set A=1", "-a blog config set A=1"},
		{"ps:scale web=1", "scale web=1"}, {"apps:create x", "apps create x"}, {"releases:rollback v1", "rollback v1"},
		{"apps", "apps"}, {"config:frobnicate", "config:frobnicate"}, {"run config:set", "run config:set"}, {":", ":"}, {"a:b:c", "a:b:c"},
	} {
		got, _ := withoutColon(verbs(), strings.Fields(c[0]))
		if strings.Join(got, " ") != c[1] {
			t.Errorf("%q became %q, want %q", c[0], strings.Join(got, " "), c[1])
		}
	}
}

// TestArrangedOnceIsArrangedForGood: order is canonical, and where flags stand
// does not matter.
func TestArrangedOnceIsArrangedForGood(t *testing.T) {
	root := verbs()
	words := rapid.SampledFrom([]string{"apps", "create", "scale", "web=3", "-a", "blog", "--json", "-q", "run", "exec", "web.1", "--", "ls",
		"-la", "--app=x", "config", "set", "A=-1", "-", "--context", "-fn5", "logs", "deploy", "--image", "releases", "info", "-h", "", "=", "--="})
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SliceOfN(words, 0, 8).Draw(t, "line")
		a, err := arrange(root, line)
		if err != nil {
			return
		}
		again, err := arrange(root, a.line())
		if err != nil {
			t.Fatalf("%q: its own arrangement %q is refused: %v", line, a.line(), err)
		}
		// A group that has no such sub-command keeps it as an argument; so must its arrangement.
		if !slices.Equal(a.line(), again.line()) {
			t.Fatalf("%q: %q, then %q", line, a.line(), again.line())
		}
	})
}

func FuzzArrange(f *testing.F) {
	for _, seed := range []string{"scale web=3 -a blog", "run -- ls -a", "exec web.1 -- x", "-a", "--", "logs -fn50", "config:set A=1", "-\x00"} {
		f.Add(seed)
	}
	root := verbs()
	f.Fuzz(func(t *testing.T, text string) {
		words := strings.Split(text, " ")
		words, _ = withoutColon(root, words)
		a, err := arrange(root, words)
		if err != nil {
			if cluster.KindOf(err) != cluster.KindInvalid {
				t.Fatalf("%q: %v", words, err)
			}
			return
		}
		if i := slices.Index(words, "--"); i >= 0 && a.verb.belongs == noHandover {
			tail := words[i+1:]
			if n := len(a.args) - len(tail); len(tail) > 0 && a.path != nil && (n < 0 || !slices.Equal(a.args[n:], tail)) && !slices.ContainsFunc(a.flags, func(f string) bool { return strings.HasSuffix(f, "=--") }) {
				t.Fatalf("%q: what follows -- became %q", words, a.args)
			}
		}
		if again, err := arrange(root, a.line()); err != nil || !slices.Equal(a.line(), again.line()) {
			t.Fatalf("%q: %q, then %q (%v)", words, a.line(), again.line(), err)
		}
	})
}
