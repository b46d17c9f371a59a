package builder

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestArgv(t *testing.T) {
	sh := func(line string) []string { return []string{"/bin/sh", "-c", line} }
	for line, want := range map[string][]string{
		"./server":                       {"./server"},
		"node  server.js\t--x=1":         {"node", "server.js", "--x=1"},
		`echo 'a b' "c d"e ''`:           {"echo", "a b", "c de", ""},
		"exec ./server":                  {"./server"},
		"bin/rails s -p 3000":            {"bin/rails", "s", "-p", "3000"},
		`say it's`:                       sh("say it's"),
		"serve --port $PORT":             sh("exec serve --port $PORT"),
		"exec serve --port $PORT":        sh("exec serve --port $PORT"),
		`run "$A"`:                       sh(`exec run "$A"`),
		"A=1 B=two serve":                sh("A=1 B=two exec serve"),
		"A=$B serve":                     sh("A=$B serve"),
		"cd app && serve":                sh("cd app && serve"),
		"cd app":                         sh("cd app"),
		"a; b":                           sh("a; b"),
		"a | b":                          sh("a | b"),
		"a & b":                          sh("a & b"),
		"a '&' $X":                       sh("exec a '&' $X"),
		"ls *.js":                        sh("exec ls *.js"),
		"a > log":                        sh("exec a > log"),
		"while true; do x; done":         sh("while true; do x; done"),
		"serve $(cat port)":              sh("exec serve $(cat port)"),
		"serve $(cat port) && echo done": sh("serve $(cat port) && echo done"),
		"serve # fast":                   sh("serve # fast"),
		"serve a#b":                      {"serve", "a#b"},
		"~/bin/x":                        sh("exec ~/bin/x"),
		`a\ b c`:                         sh(`exec a\ b c`),
		"time serve":                     sh("time serve"),
		"{ a; }":                         sh("{ a; }"),
	} {
		if diff := cmp.Diff(want, argv(line)); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
}

// TestArgvMeansWhatTheShellMeans compares vectors with what a shell makes of the
// same line.
func TestArgvMeansWhatTheShellMeans(t *testing.T) {
	if _, err := exec.LookPath("/bin/sh"); err != nil {
		t.Skip("no /bin/sh")
	}
	rapid.Check(t, func(t *rapid.T) {
		line := "printf '<%s>' " + rapid.StringMatching(`[a-z ='"#~$*\\|;-]{0,12}`).Draw(t, "line")
		words := argv(line)
		if words[0] == "/bin/sh" {
			return
		}
		want, err := exec.Command("/bin/sh", "-c", line).Output()
		if err != nil {
			t.Fatalf("the shell refuses %q", line)
		}
		got := "<" + strings.Join(words[2:], "><") + ">"
		if len(words) == 2 {
			got = "<>"
		}
		if got != string(want) {
			t.Fatalf("%q: %q, the shell says %q", line, words, want)
		}
	})
}

func TestExecOnlyReplacesSimpleCommands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := "a" + rapid.StringMatching(`[ab $'"&|;()-]{0,12}`).Draw(t, "line")
		words := argv(line)
		if !slices.Contains(words, "-c") || !strings.HasPrefix(words[2], "exec ") {
			return
		}
		outside := false // of quotes, the exec'd line has no operator
		quote := byte(0)
		for i := range len(words[2]) {
			switch c := words[2][i]; {
			case quote != 0:
				if c == quote {
					quote = 0
				}
			case c == '\'' || c == '"':
				quote = c
			case c == '&' || c == '|' || c == ';':
				outside = true
			}
		}
		if outside {
			t.Fatalf("%q", words[2])
		}
	})
}
