package builder

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"paas/cluster"
)

func TestProcfile(t *testing.T) {
	got, err := ParseProcfile([]byte("\ufeff# comment\r\nweb: bundle exec puma -C config/puma.rb\r\n\r\n// more\n  worker:  bin/work --a:b  \nrelease : bin/migrate"))
	if err != nil {
		t.Fatal(err)
	}
	want := Procfile{"web": "bundle exec puma -C config/puma.rb", "worker": "bin/work --a:b", "release": "bin/migrate"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestProcfileRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":        {"", []string{"names no process"}},
		"comments":     {"# web: x\n\n", []string{"names no process"}},
		"merge marker": {"web: x\n<<<<<<< HEAD\nworker: y\n", []string{"line 2", "<<<<<<< HEAD"}},
		"no colon":     {"web ./server\n", []string{"line 1"}},
		"no command":   {"web:\n", []string{"line 1", "no command"}},
		"twice":        {"web: a\nworker: b\nweb: c\n", []string{"line 3", "line 1"}},
		"upper case":   {"Web: a\n", []string{"line 1", "did you mean web?"}},
		"underscore":   {"my_worker: a\n", []string{"did you mean my-worker?"}},
		"digit":        {"1web: a\n", []string{"starts with a letter"}},
		"NUL":          {"web: a\x00b\n", []string{"NUL"}},
		"not UTF-8":    {"web: a\nworker: b\xff\n", []string{"line 2", "not UTF-8", "save the file as UTF-8"}},
		"5,000 types":  {manyTypes(5_000), []string{"line 51", "too many process types", "50"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := ParseProcfile([]byte(c.text))
			if err == nil {
				t.Fatalf("accepted: %v", p)
			}
			refusal(t, err, c.want...)
		})
	}
}

func manyTypes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "p%d: x\n", i)
	}
	return b.String()
}

func TestProcfileMayHaveFiftyTypes(t *testing.T) {
	if p, err := ParseProcfile([]byte(manyTypes(50))); err != nil || len(p) != 50 {
		t.Errorf("%d types, %v", len(p), err)
	}
}

func FuzzParseProcfile(f *testing.F) {
	for _, s := range []string{"web: a\nworker: b", "<<<<", "a:b:c", "web:\x00", "# x\r\nweb: y\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseProcfile(data)
		if err != nil {
			if cluster.KindOf(err) != cluster.KindBuildFailed {
				t.Fatalf("error %v", err)
			}
			return
		}
		for typ, command := range p {
			if typ.Validate() != nil || command == "" || len(argv(command)) == 0 {
				t.Fatalf("%q: %q", typ, command)
			}
		}
	})
}
