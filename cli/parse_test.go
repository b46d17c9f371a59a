package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/api"
	"paas/cluster"
)

func TestParseDays(t *testing.T) {
	for s, want := range map[string]time.Duration{"90d": 90 * 24 * time.Hour, "36h": 36 * time.Hour, "1d12h": 36 * time.Hour, "2160h0m0s": 2160 * time.Hour} {
		if got, err := parseDays(s); got != want || err != nil {
			t.Errorf("%s: %v, %v, want %v", s, got, err, want)
		}
	}
	for _, bad := range []string{"", "d", "0d", "-1d", "-3h", "99999999999d", "1d-3h", "90", "1w", "0", "1d\x00"} {
		if got, err := parseDays(bad); exitCode(err) != exitUsage {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}

func TestParseScale(t *testing.T) {
	got, err := parseScale([]string{"web=3", "worker+1", "web-1", "a_b=0"})
	want := api.Scale{Changes: []api.ScaleChange{{Type: "web", Quantity: 3}, {Type: "worker", Quantity: 1, Relative: true},
		{Type: "web", Quantity: -1, Relative: true}, {Type: "a_b", Quantity: 0}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
	for _, bad := range []string{"", "web", "web=", "web=-1", "=3", "web==3", "web=3x", "web = 3", "web=9999999999", "w/eb=1", "web=1:large", "-=3"} {
		if s, err := parseScale([]string{bad}); exitCode(err) != exitUsage {
			t.Errorf("%q was read as %v (%v)", bad, s, err)
		}
	}
}

func FuzzParseScale(f *testing.F) {
	f.Add("web=3")
	f.Add("worker-1")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseScale([]string{s})
		if err != nil {
			return
		}
		c := got.Changes[0]
		op := map[bool]string{false: "=", true: "+"}[c.Relative]
		if !strings.HasPrefix(s, string(c.Type)) || !strings.ContainsAny(s, op+"-") || c.Quantity > 999_999_999 {
			t.Fatalf("%q was read as %+v", s, c)
		}
	})
}

func TestParseDotenv(t *testing.T) {
	const file = "\ufeff# comment\r\n\nA=1\nexport B = two \nC='single $x \\n # kept' # comment\nD=\"a\\nb \\\"q\\\" \\$x\"\n" +
		"E=\nF=url://host/#frag\nG=word # comment\nH=\"over\ntwo lines\"\nexport=x\nA=last\nI=#only\nJ=a=b\n"
	got, err := parseDotenv(file)
	want := map[string]string{"A": "last", "B": "two", "C": `single $x \n # kept`, "D": "a\nb \"q\" $x", "E": "", "F": "url://host/#frag",
		"G": "word", "H": "over\ntwo lines", "export": "x", "I": "", "J": "a=b"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
}

func TestDotenvErrorsNameTheLineAndNoSecret(t *testing.T) {
	for _, c := range []struct {
		text, line string
	}{
		{"A=1\nsecret-without-equals\n", "line 2"}, {"A=\"secret\nnever closed", "line 1"}, {"\n\nA='secret' tail\n", "line 3"},
		{"A=\"x\ny\" secret", "line 2"}, {"secret key=1", "line 1"}, {"PORT=secret", "line 1"}, {"=secret", "line 1"},
	} {
		_, err := parseDotenv(c.text)
		if err == nil || !strings.Contains(err.Error(), c.line) || strings.Contains(err.Error(), "secret") || exitCode(err) != exitUsage {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}

func FuzzParseDotenv(f *testing.F) {
	for _, seed := range []string{"A=1", "export A='x'\n", "A=\"\\n\"", "#", "A=\"", "A='\n'\nB=2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := parseDotenv(text)
		if err != nil {
			return
		}
		var b strings.Builder
		for _, key := range sortedKeys(set) {
			if cluster.ValidateConfigKey(key) != nil {
				t.Fatalf("key %q", key)
			}
			b.WriteString(key + "=\"" + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(set[key]) + "\"\n")
		}
		again, err := parseDotenv(b.String())
		// Line ends are the file's, not the value's.
		for k, v := range set {
			set[k] = strings.ReplaceAll(v, "\r\n", "\n")
		}
		if diff := cmp.Diff(set, again); err != nil || diff != "" {
			t.Fatalf("written and read again: %v\n%s", err, diff)
		}
	})
}

func TestParseAssignments(t *testing.T) {
	got, err := parseAssignments([]string{"A=1=2", "B=-", "C="}, strings.NewReader("from stdin\n"))
	want := map[string]cluster.Redacted{"A": "1=2", "B": "from stdin", "C": ""}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
	for _, bad := range [][]string{{"A"}, {"1A=x"}, {"PORT=1"}, {"A=1", "A=2"}, {"A=-", "B=-"}, {"A=x\x00y"}} {
		if _, err := parseAssignments(bad, strings.NewReader("")); exitCode(err) != exitUsage {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSanitised(t *testing.T) {
	for in, want := range map[string]cluster.AppName{"blog": "blog", "My Blog_2": "my-blog-2", "42-things": "things", "---": "", "ünï": "n",
		strings.Repeat("x", 60): cluster.AppName(strings.Repeat("x", 40)), "a--b.": "a-b"} {
		if got := sanitised(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestRemoteApp(t *testing.T) {
	const server = "https://127.0.0.1:7443"
	for at, want := range map[string]cluster.AppName{
		"https://127.0.0.1:7443/git/blog.git": "blog", "https://127.0.0.1:7443/git/blog.git/": "blog", "https://u:p@127.0.0.1:7443/git/blog.git": "blog",
		"https://127.0.0.1:7444/git/blog.git": "", "http://127.0.0.1:7443/git/blog.git": "", "https://127.0.0.1:7443/blog.git": "",
		"https://127.0.0.1:7443/git/Blog.git": "", "https://127.0.0.1:7443/git/a/b.git": "", "git@github.com:x/y.git": "", "": "", "https://127.0.0.1:7443/git/blog": "",
	} {
		if got := remoteApp(at, server); got != want {
			t.Errorf("%q is %q, want %q", at, got, want)
		}
	}
}

func TestServerURL(t *testing.T) {
	for in, want := range map[string]string{"paas.example.com": "https://paas.example.com:7443", "https://192.0.2.1": "https://192.0.2.1:7443",
		"https://h:1/x?y": "https://h:1", "http://127.0.0.1:8": "http://127.0.0.1:8", "[::1]": "https://[::1]:7443"} {
		if got, err := serverURL(in); err != nil || got.String() != want {
			t.Errorf("%q became %v (%v)", in, got, err)
		}
	}
	for _, bad := range []string{"", "ftp://x", "https://", "https://a b"} {
		if got, err := serverURL(bad); err == nil {
			t.Errorf("%q became %v", bad, got)
		}
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{"/a b": `'/a b'`, "it's": `'it'\''s'`, "$(x)": `'$(x)'`} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q became %s", in, got)
		}
	}
}
