package cluster

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"
)

// hostile are texts that no validator of a name may let through: options, paths,
// control characters, shell and terminal sequences, unlikely Unicode.
var hostile = []string{
	"", " ", "-x", "--privileged", "..", "../etc/passwd", "a/../b", "a//b", "/a", "a/", "a b", "a\nb", "a\x00b", "a\r", "$(reboot)", "`id`",
	"a;b", "a|b", "a&b", "a'b", "a\"b", "a\\b", "\x1b[31m", "%2e%2e", "a\u202eb", "ａ", "é", "a\xffb", "<b>", "{{.}}", strings.Repeat("a", 5000),
}

func TestNoValidatorLetsHostileTextThrough(t *testing.T) {
	for what, validate := range map[string]func(string) error{
		"app name":     func(s string) error { return AppName(s).Validate() },
		"process type": func(s string) error { return ProcessType(s).Validate() },
		"host name":    func(s string) error { return Hostname(s).Validate() },
		"host prefix":  func(s string) error { return Hostname(s + ".example.com").Validate() },
		"config key":   ValidateConfigKey,
		"label":        func(s string) error { return ValidateLabel("label", s) },
		"image":        ValidateImageRef,
		"branch":       ValidateBranch,
		"node ID":      func(s string) error { return NodeID(s).Validate() },
		"cluster ID":   func(s string) error { return ClusterID(s).Validate() },
		"token ID":     func(s string) error { return TokenID(s).Validate() },
		"repository":   func(s string) error { return Image{Repository: s, Digest: testDigest}.Validate() },
		"digest":       func(s string) error { return Image{Repository: "a", Digest: s}.Validate() },
		"domain":       func(s string) error { return ValidateDomain(Hostname(s)) },
		"version":      func(s string) error { _, err := ParseReleaseVersion(s); return err },
	} {
		for _, s := range hostile {
			err := validate(s)
			var e *Error
			if !errors.As(err, &e) || e.Kind != KindInvalid || e.Code == "" || e.Message == "" {
				t.Errorf("%s %.40q: got %v, want KindInvalid with code and message", what, s, err)
				continue
			}
			if len(e.Error()) > 500 || strings.ContainsFunc(e.Error(), unicode.IsControl) {
				t.Errorf("%s %.40q: the error is not fit for a terminal: %.100q", what, s, e.Error())
			}
		}
	}
}

const testDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestValidatorsTakeWhatPeopleUse(t *testing.T) {
	for what, err := range map[string]error{
		"app":              AppName("my-app2").Validate(),
		"app of 40":        AppName(strings.Repeat("a", 40)).Validate(),
		"one letter":       AppName("a").Validate(),
		"type":             ProcessType("web").Validate(),
		"host":             Hostname("shop.example.com").Validate(),
		"punycode":         Hostname("xn--bcher-kva.example").Validate(),
		"key":              ValidateConfigKey("DATABASE_URL"),
		"lower key":        ValidateConfigKey("_x1"),
		"label":            ValidateLabel("zone", "eu-west-1a"),
		"image":            ValidateImageRef("debian:bookworm-slim"),
		"image host":       ValidateImageRef("registry.example.com:5000/team/app:1.2"),
		"image digest":     ValidateImageRef("team/app@" + testDigest),
		"upper-case tag":   ValidateImageRef("app:v1.0-RC1"),
		"underscores":      ValidateImageRef("my__app/the_other"),
		"branch":           ValidateBranch("feature/JIRA-12_x.y"),
		"localhost":        ValidateDomain("localhost"),
		"domain":           ValidateDomain("apps.example.com"),
		"commit":           ValidateCommit("4f2c9e1"),
		"no commit":        ValidateCommit(""),
		"line":             ValidateLine("description", "Deploy “größer” 4f2c9e1"),
		"file key":         ValidateFileKey("certificates/acme-v02.api.letsencrypt.org-directory/a.example.com/a.example.com.crt"),
		"repository":       Image{Repository: "apps/blog", Digest: testDigest}.Validate(),
		"value with lines": ValidateConfigValue("KEY", "-----BEGIN\nKEY-----\n"),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestValidatorsRefuse(t *testing.T) {
	for what, err := range map[string]error{
		"app of 41":         AppName(strings.Repeat("a", 41)).Validate(),
		"app upper":         AppName("Blog").Validate(),
		"app digit first":   AppName("1blog").Validate(),
		"app dash last":     AppName("blog-").Validate(),
		"reserved app":      AppName("dashboard").Validate(),
		"host without dot":  Hostname("localhost").Validate(),
		"IPv4":              Hostname("10.0.0.1").Validate(),
		"wildcard":          Hostname("*.example.com").Validate(),
		"trailing dot":      Hostname("example.com.").Validate(),
		"long label":        Hostname(strings.Repeat("a", 64) + ".com").Validate(),
		"port":              ValidateConfigKey("PORT"),
		"platform's key":    ValidateConfigKey("PAAS_APP"),
		"key digit first":   ValidateConfigKey("1A"),
		"upper-case image":  ValidateImageRef("Team/app"),
		"image of nothing":  ValidateImageRef(":tag"),
		"short digest":      ValidateImageRef("app@sha256:abc"),
		"branch with lock":  ValidateBranch("main.lock"),
		"inner lock":        ValidateBranch("a.lock/b"),
		"dot part":          ValidateBranch("a/.b"),
		"branch dot last":   ValidateBranch("main."),
		"ref spec":          ValidateBranch("a:b"),
		"reflog":            ValidateBranch("a@{1}"),
		"domain too long":   ValidateDomain(Hostname(strings.Repeat("a.", 110) + "com")),
		"commit":            ValidateCommit("HEAD"),
		"empty line":        ValidateLine("name", ""),
		"two lines":         ValidateLine("name", "a\nb"),
		"file above":        ValidateFileKey("a/../../b"),
		"absolute file":     ValidateFileKey("/a"),
		"backslash":         ValidateFileKey(`a\b`),
		"version of zero":   second(ParseReleaseVersion("v0")),
		"negative version":  second(ParseReleaseVersion("-1")),
		"plus":              second(ParseReleaseVersion("v+7")),
		"huge version":      second(ParseReleaseVersion("v9999999999")),
		"address":           second(ParseAddress("listen", "localhost")),
		"NUL value":         ValidateConfigValue("KEY", "a\x00b"),
		"value of bytes":    ValidateConfigValue("KEY", "caf\xe9"),
		"lone surrogate":    ValidateConfigValue("KEY", "\xed\xa0\x80"),
		"large value":       ValidateConfigValue("KEY", strings.Repeat("x", MaxConfigValueBytes+1)),
		"negative image":    Image{Repository: "a", Digest: testDigest, SizeBytes: -1}.Validate(),
		"negative surge":    Rollout{Surge: -1}.Validate(),
		"endless rollout":   Rollout{Drain: 1000 * time.Hour}.Validate(),
		"node without name": (&Node{ID: "0123456789abcdef", Zone: "a"}).Validate(),
		"node label":        (&Node{ID: "0123456789abcdef", Name: "a", Zone: "a", Labels: map[string]string{"a": "--x"}}).Validate(),
		"node size":         (&Node{ID: "0123456789abcdef", Name: "a", Zone: "a", MemoryBytes: -1}).Validate(),
	} {
		if KindOf(err) != KindInvalid {
			t.Errorf("%s: got %v, want KindInvalid", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestErrorsNeverRepeatAConfigValue(t *testing.T) {
	for _, value := range []string{"hunter2\x00", strings.Repeat("hunter2", MaxConfigValueBytes)} {
		if err := ValidateConfigValue("KEY", value); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
	}
}

func TestProcessTable(t *testing.T) {
	ok := Process{Port: 8080, MemoryBytes: DefaultMemoryBytes, CPUMilli: DefaultCPUMilli, Check: Check{Kind: CheckHTTP, Path: "/healthz"}}
	if err := ValidateProcesses(map[ProcessType]Process{"web": ok}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Process){
		"port":           func(p *Process) { p.Port = 70000 },
		"memory":         func(p *Process) { p.MemoryBytes = 1 << 20 },
		"memory too big": func(p *Process) { p.MemoryBytes = 1 << 60 },
		"CPU":            func(p *Process) { p.CPUMilli = -1 },
		"grace":          func(p *Process) { p.StopGrace = -time.Second },
		"NUL":            func(p *Process) { p.Command = []string{"a\x00"} },
		"no port":        func(p *Process) { p.Port = 0 },
		"path":           func(p *Process) { p.Check.Path = "healthz" },
		"path with CRLF": func(p *Process) { p.Check.Path = "/a\r\nHost: b" },
		"path of TCP":    func(p *Process) { p.Check.Kind = CheckTCP },
		"check kind":     func(p *Process) { p.Check = Check{Kind: 9} },
		"boot":           func(p *Process) { p.Check.Boot = -1 },
		"failures":       func(p *Process) { p.Check.Failures = -1 },
	} {
		p := ok
		change(&p)
		if err := ValidateProcesses(map[ProcessType]Process{"web": p}); KindOf(err) != KindInvalid || !strings.Contains(err.Error(), "web") {
			t.Errorf("%s: got %v, want KindInvalid that names web", name, err)
		}
	}
	if err := ValidateProcesses(nil); KindOf(err) != KindInvalid {
		t.Errorf("no process: got %v", err)
	}
}

func TestToken(t *testing.T) {
	ok := Token{ID: "0123456789ab", Name: "ci", Hash: make([]byte, 32), Scope: ScopeDeploy, Apps: []AppName{"blog"}}
	if err := ok.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Token){
		"ID": func(t *Token) { t.ID = "x" }, "name": func(t *Token) { t.Name = "" }, "hash": func(t *Token) { t.Hash = nil },
		"no scope": func(t *Token) { t.Scope = ScopeNone }, "unknown scope": func(t *Token) { t.Scope = scopesEnd }, "app": func(t *Token) { t.Apps = []AppName{"A"} },
	} {
		bad := ok
		change(&bad)
		if err := bad.Validate(); KindOf(err) != KindInvalid {
			t.Errorf("%s: got %v, want KindInvalid", name, err)
		}
	}
}

func TestPrivateHosts(t *testing.T) {
	for host, want := range map[Hostname]bool{
		"blog.localhost": true, "localhost": true, "a.b.test": true, "nas.home.arpa": true, "printer.local": true, "single": true,
		"example.com": false, "localhost.com": false, "notlocalhost.org": false, "a.example": true,
	} {
		if got := host.Private(); got != want {
			t.Errorf("%s: private is %v, want %v", host, got, want)
		}
	}
}

func TestReleaseVersionRoundTrips(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := ReleaseVersion(rapid.IntRange(1, 1<<30).Draw(rt, "version"))
		for _, s := range []string{v.String(), fmt.Sprint(int(v))} {
			if got, err := ParseReleaseVersion(s); err != nil || got != v {
				rt.Fatalf("%s parsed as %s, %v", s, got, err)
			}
		}
	})
}

func TestNearest(t *testing.T) {
	names := []string{"blog", "blog-staging", "shop", "web", "worker", "x"}
	for s, want := range map[string][]string{
		"blgo": {"blog"}, "blo": {"blog", "blog-staging"}, "blog": {"blog", "blog-staging"}, "wokrer": {"worker"}, "wbe": {"web"}, "zzzzzz": nil, "": nil, "shpo": {"shop"},
	} {
		if got := Nearest(s, names); !slices.Equal(got, want) {
			t.Errorf("Nearest(%q) = %v, want %v", s, got, want)
		}
	}
	if got := Nearest("ab", []string{"ab1", "ab2", "ab3", "ab4"}); len(got) != 3 {
		t.Errorf("%v: want at most three", got)
	}
}

func TestDistanceIsAMetricOfEdits(t *testing.T) {
	word := rapid.StringMatching(`[a-d]{0,8}`)
	rapid.Check(t, func(rt *rapid.T) {
		a, b := word.Draw(rt, "a"), word.Draw(rt, "b")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) || d < max(len(a), len(b))-min(len(a), len(b)) {
			rt.Fatalf("distance(%q, %q) = %d", a, b, d)
		}
		i := rapid.IntRange(0, len(a)).Draw(rt, "at")
		if one := distance(a, a[:i]+"z"+a[i:]); one != 1 {
			rt.Fatalf("one insertion is %d edits", one)
		}
	})
}

func FuzzParseReleaseVersion(f *testing.F) {
	for _, s := range []string{"v7", "7", "v0", "+1", "v1073741824", "v007"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseReleaseVersion(s)
		if err == nil && (v < 1 || strings.TrimPrefix(v.String(), "v") != strings.TrimPrefix(s, "v")) {
			t.Errorf("%q parsed as %s", s, v)
		}
	})
}

func FuzzNearest(f *testing.F) {
	f.Add("blgo", "blog,shop")
	f.Fuzz(func(t *testing.T, s, names string) {
		all := strings.Split(names, ",")
		got := Nearest(s, all)
		if len(got) > 3 {
			t.Errorf("%d names", len(got))
		}
		for _, n := range got {
			if !slices.Contains(all, n) {
				t.Errorf("%q is none of the names", n)
			}
		}
	})
}

// FuzzValidators: what passes is harmless as an argument, a path element, a line
// of a terminal and a label.
func FuzzValidators(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Add("registry.example.com:5000/team/app:1.2-RC1")
	f.Add("release/2.0")
	harmless := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:@/-]*$`)
	f.Fuzz(func(t *testing.T, s string) {
		for what, err := range map[string]error{
			"app": AppName(s).Validate(), "type": ProcessType(s).Validate(), "host": Hostname(s).Validate(), "key": ValidateConfigKey(s),
			"label": ValidateLabel("l", s), "image": ValidateImageRef(s), "branch": ValidateBranch(s), "domain": ValidateDomain(Hostname(s)),
			"repository": Image{Repository: s, Digest: testDigest}.Validate(),
		} {
			if err == nil && (!harmless.MatchString(s) || strings.Contains(s, "..") || strings.Contains(s, "//")) {
				t.Errorf("%s %q passed", what, s)
			}
		}
		if ValidateFileKey(s) == nil && (strings.HasPrefix(s, "/") || slices.Contains(strings.Split(s, "/"), "..")) {
			t.Errorf("file key %q passed", s)
		}
	})
}
