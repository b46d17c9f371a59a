package builder

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"paas/cluster"
)

func TestManifestExample(t *testing.T) {
	data, err := os.ReadFile("testdata/paas.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	want := &Manifest{
		App: "blog", DeployBranch: "live",
		Build:   BuildSettings{Method: MethodDockerfile, Dockerfile: "docker/Dockerfile", Target: "production", Args: map[string]string{"VERSION": "2"}},
		Rollout: cluster.Rollout{Surge: 2, MinHealthy: time.Second, Deadline: 3 * time.Minute, Drain: 30 * time.Second},
		Env:     map[string]string{"LOG_LEVEL": "info"},
		Processes: map[cluster.ProcessType]ProcessSettings{
			"release": {Command: "bin/migrate"},
			"worker":  {Command: "bin/worker --queue default"},
			"web": {
				Command: "bin/serve --port $PORT", Entrypoint: EntrypointKeep, Port: 3000, MemoryBytes: 512 << 20, CPUMilli: 500, StopGrace: 30 * time.Second,
				Check:       &cluster.Check{Kind: cluster.CheckHTTP, Path: "/healthz", Boot: time.Minute, Interval: 5 * time.Second, Timeout: 5 * time.Second, Failures: 3},
				Constraints: []cluster.Constraint{{Key: "disk", Value: "ssd"}, {Key: "zone", Not: true, Value: "c"}},
			},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(ProcessSettings{})); diff != "" {
		t.Error(diff)
	}
}

// TestManifestExampleIsDocumented keeps the package's page and the example equal.
func TestManifestExampleIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("testdata/paas.toml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(example)) {
		want := "//\t" + strings.TrimRight(line, "\n")
		if strings.TrimSpace(line) != "" && !strings.Contains(string(doc), want+"\n") {
			t.Errorf("doc.go lacks %q", want)
		}
	}
}

// refusal is a *cluster.Error of KindBuildFailed whose texts hold all of want.
func refusal(t *testing.T, err error, want ...string) {
	t.Helper()
	var e *cluster.Error
	if !errors.As(err, &e) || e.Kind != cluster.KindBuildFailed {
		t.Fatalf("error %v, want one of KindBuildFailed", err)
	}
	text := e.Message + " | " + e.Reason + " | " + e.Hint
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q lacks %q", text, w)
		}
	}
}

func TestManifestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"unknown key":          {"app = \"blog\"\n\n[build]\nmethd = \"go\"\n", []string{"line 4", `"methd"`, "[build]", "did you mean method?"}},
		"unknown table":        {"\n[buid]\nmethod = \"go\"\n", []string{"line 2", `"buid"`, "did you mean build?"}},
		"unknown process key":  {"[process.web]\nmemry = \"1G\"\n", []string{"line 2", "memory"}},
		"unknown check key":    {"[process.web]\ncheck = { pth = \"/\" }\n", []string{"line 2", "did you mean path?"}},
		"nothing near":         {"zzzzzzzz = 1\n", []string{"line 1", "known keys"}},
		"syntax":               {"app = \n", []string{"line 1", "paas help paas.toml"}},
		"open table":           {"# x\n[build\nmethod = \"go\"\n", []string{"line 2", "end table name", "paas help paas.toml"}},
		"duplicate":            {"app = \"a\"\napp = \"b\"\n", []string{"line 2"}},
		"wrong type":           {"app = 3\n", []string{"line 1", `write it as app = "3"`}},
		"bad app":              {"app = \"Blog\"\n", []string{"line 1", "lower-case"}},
		"bad branch":           {"deploy_branch = \"--upload-pack\"\n", []string{"line 1", "branch"}},
		"bad method":           {"[build]\nmethod = \"pyton\"\n", []string{"line 2", "did you mean python?"}},
		"escaping dockerfile":  {"[build]\ndockerfile = \"../../etc/passwd\"\n", []string{"line 2", "leaves the source tree"}},
		"absolute static dir":  {"[build]\nstatic_dir = \"/etc\"\n", []string{"line 2", "leaves"}},
		"two methods":          {"[build]\nmethod = \"go\"\nstatic_dir = \"public\"\n", []string{"line 3", "static_dir"}},
		"image without name":   {"[build]\nmethod = \"image\"\n", []string{"names no image"}},
		"bad image":            {"[build]\nimage = \"--rm\"\n", []string{"line 2"}},
		"bad duration":         {"[deploy]\ndrain = 30\n", []string{"line 2", `drain = "30s"`}},
		"negative duration":    {"[deploy]\ndrain = \"-3s\"\n", []string{"line 2"}},
		"bad surge":            {"[deploy]\nsurge = 0\n", []string{"line 2", "from 1"}},
		"reserved env":         {"[env]\nPORT = \"1\"\n", []string{"line 2", "reserved"}},
		"env table":            {"[env]\nA = { b = 1 }\n", []string{"line 2", "string"}},
		"upper-case type":      {"[processes]\nWeb = \"x\"\n", []string{"line 2", "did you mean web?"}},
		"two commands":         {"[processes]\nweb = \"a\"\n[process.web]\ncommand = \"b\"\n", []string{"twice"}},
		"two release commands": {"[deploy]\nrelease = \"a\"\n[processes]\nrelease = \"b\"\n", []string{"twice"}},
		"bad port":             {"[process.web]\nport = 70000\n", []string{"line 2", "65535"}},
		"bad memory":           {"[process.web]\nmemory = \"256\"\n", []string{"line 2", `memory = "256M"`}},
		"bad constraint":       {"[process.web]\nconstraints = [\"disk\"]\n", []string{"line 2", "disk=ssd"}},
		"constraint as text":   {"[process.web]\nconstraints = \"disk=ssd\"\n", []string{"line 2", "list of"}},
		"bad cpu":              {"[process.web]\ncpu = \"half\"\n", []string{"line 2", "500m"}},
		"bad check path":       {"[process.web]\ncheck = { path = \"healthz\" }\n", []string{"line 2", "/healthz"}},
		"path of tcp check":    {"[process.web]\ncheck = { kind = \"tcp\", path = \"/\" }\n", []string{"line 2", "no path"}},
		"bad kind":             {"[process.web]\ncheck = { kind = \"grpc\" }\n", []string{"line 2", "grpc"}},
		"bad entrypoint":       {"[process.web]\nentrypoint = \"yes\"\n", []string{"line 2", "replace"}},
		"frontend by argument": {"[build]\nmethod = \"go\"\nargs = { buildkit_SYNTAX = \"evil.example/frontend\" }\n", []string{"line 3", "buildkit_SYNTAX", "not an app's"}},
		"array for table":      {"build = [1]\n", []string{"line 1", "[build]"}},
		"empty command":        {"[processes]\nweb = \"\"\n", []string{"line 2", "empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := ParseManifest([]byte(c.text))
			if err == nil {
				t.Fatalf("accepted: %+v", m)
			}
			refusal(t, err, c.want...)
		})
	}
}

func TestManifestAppIsReadOfWhatDoesNotBuild(t *testing.T) {
	for text, want := range map[string]cluster.AppName{"": "", "app = \"blog\"\n[buid]\nx = 1\n": "blog", "[process.web]\nport = -1\n": ""} {
		if got, err := ManifestApp([]byte(text)); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	for _, bad := range []string{"app = 3\n", "app = \"-x\"\n", "app = \"\"\n", "app = \n"} {
		_, err := ManifestApp([]byte(bad))
		refusal(t, err, "line 1")
	}
}

func TestManifestMerges(t *testing.T) {
	m, err := ParseManifest([]byte("[processes]\nweb = \"serve\"\n[process.web]\nport = 99\n[build]\nstatic_dir = \"./out/\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if p := m.Processes["web"]; p.Command != "serve" || p.Port != 99 {
		t.Errorf("web: %+v", p)
	}
	if m.Build.Method != MethodStatic || m.Build.StaticDir != "out" {
		t.Errorf("build: %+v", m.Build)
	}
}

func TestParseAmounts(t *testing.T) {
	for text, want := range map[string]int64{"256M": 256 << 20, "256MiB": 256 << 20, "1G": 1 << 30, "1.5g": 3 << 29, "64mb": 64 << 20, "1024K": 1 << 20} {
		if got, ok := ParseBytes(text); !ok || got != want {
			t.Errorf("%s: %d %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "M", "12", "-1M", "1X", "1MM", "NaNM", "infG", "1e400M"} {
		if got, ok := ParseBytes(text); ok {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	example, err := os.ReadFile("testdata/paas.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, s := range []string{"", strings.Repeat("a.", 40) + "b = 1", "[build]\nmethd=1", "a.b.c = 1", "[process.\"we b\"]\n", "[[process]]", "x = \"\"\"\n[build]\n\"\"\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			if cluster.KindOf(err) != cluster.KindBuildFailed {
				t.Fatalf("error %v", err)
			}
			return
		}
		for typ, p := range m.Processes {
			if typ.Validate() != nil || p.Port < 0 || p.Port > 65535 || p.MemoryBytes < 0 || p.CPUMilli < 0 || p.StopGrace < 0 {
				t.Fatalf("%s: %+v", typ, p)
			}
		}
		if !localOrEmpty(m.Build.Dockerfile) || !localOrEmpty(m.Build.StaticDir) {
			t.Fatalf("%+v", m.Build)
		}
	})
}

func localOrEmpty(name string) bool { return name == "" || localName(name) }

// No key of any table is an option of the container runtime.
func TestManifestAsksForNoPrivileges(t *testing.T) {
	for _, wish := range []string{"privileged = true", `cap_add = ["SYS_ADMIN"]`, `devices = ["/dev/sda"]`, `volumes = ["/:/host"]`,
		`binds = ["/:/host"]`, `mounts = ["/:/host"]`, `network = "host"`, `network_mode = "host"`, `pid = "host"`, `ipc = "host"`, `userns = "host"`,
		`uts = "host"`, `security_opt = ["seccomp=unconfined"]`, `sysctls = ["kernel.core_pattern=x"]`, `runtime = "x"`,
		`cgroup_parent = "/"`, `ports = ["80:80"]`, `publish = "80:80"`, `tmpfs = "/x"`, `group_add = ["docker"]`, `ulimits = "x"`, `restart = "always"`} {
		for _, table := range []string{"", "[build]\n", "[deploy]\n", "[processes]\n", "[process.web]\n", "[process.web.check]\n"} {
			key, _, _ := strings.Cut(wish, " ")
			if table == "[processes]\n" && strings.Contains(wish, `= "`) {
				continue // there it is a process type of that name
			}
			if _, err := ParseManifest([]byte(table + wish + "\n")); err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("%s%s: %v", table, wish, err)
			}
		}
	}
}
