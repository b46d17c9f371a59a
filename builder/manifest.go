package builder

import (
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"paas/cluster"
)

// Manifest is a paas.toml. Zero fields were not set; see the package's example
// for the whole file.
type Manifest struct {
	// App is the app's name, for the command line in that folder.
	App          cluster.AppName
	DeployBranch string
	Build        BuildSettings
	Rollout      cluster.Rollout
	// Env holds defaults for config variables, set only while the app has none.
	Env       map[string]string
	Processes map[cluster.ProcessType]ProcessSettings
}

// Method is a way from source to image.
type Method string

// The ways, in no order; the zero Method is to detect one.
const (
	MethodAuto       Method = ""
	MethodDockerfile Method = "dockerfile"
	MethodGo         Method = "go"
	MethodNode       Method = "node"
	MethodPython     Method = "python"
	MethodStatic     Method = "static"
	MethodImage      Method = "image"
)

// methods are what paas.toml may name.
var methods = []string{"auto", "dockerfile", "go", "node", "python", "static", "image"}

// BuildSettings is [build].
type BuildSettings struct {
	Method     Method
	Dockerfile string // path in the tree
	Target     string // stage of the Dockerfile
	Args       map[string]string
	StaticDir  string // folder that holds a static site
	Image      string // prebuilt image
}

// ProcessSettings is one entry of [processes] or [process.TYPE].
type ProcessSettings struct {
	Command     string
	Entrypoint  Entrypoint
	Port        int
	MemoryBytes int64
	CPUMilli    int64
	StopGrace   time.Duration
	Check       *cluster.Check
	Constraints []cluster.Constraint
	line        int
}

// bare reports whether p says nothing but its command.
func (p *ProcessSettings) bare() bool {
	return p.Entrypoint == "" && p.Port == 0 && p.MemoryBytes == 0 && p.CPUMilli == 0 && p.StopGrace == 0 && p.Check == nil && p.Constraints == nil
}

// Entrypoint says what becomes of an image's ENTRYPOINT when a process has a
// command of its own.
type Entrypoint string

const (
	// EntrypointDefault keeps the entrypoint of Dockerfiles and prebuilt images.
	EntrypointDefault Entrypoint = ""
	// EntrypointKeep passes the command to the entrypoint as its arguments.
	EntrypointKeep Entrypoint = "keep"
	// EntrypointReplace runs the command instead of the entrypoint.
	EntrypointReplace Entrypoint = "replace"
)

// ParseManifest reads a paas.toml. It is strict: unknown keys are errors with a
// proposal. Errors are of KindBuildFailed and name the line.
func ParseManifest(data []byte) (*Manifest, error) {
	root, err := readTOML(string(data))
	if err != nil {
		return nil, err
	}
	root.only("app", "deploy_branch", "build", "deploy", "env", "processes", "process")
	m := &Manifest{App: cluster.AppName(root.text("app")), DeployBranch: root.text("deploy_branch")}
	if m.App != "" {
		root.check("app", m.App.Validate())
	}
	if m.DeployBranch != "" {
		root.check("deploy_branch", cluster.ValidateBranch(m.DeployBranch))
	}
	m.Build = readBuild(root.table("build"))
	m.Env = readEnv(root)
	m.Processes = readProcesses(root)
	readDeploy(root.table("deploy"), m)
	if root.r.err != nil {
		return nil, root.r.err
	}
	return m, nil
}

// ManifestApp reads nothing of a paas.toml but the app's name; "" if it has none.
// What is wrong elsewhere is for the build to say.
func ManifestApp(data []byte) (cluster.AppName, error) {
	root, err := readTOML(string(data))
	if err != nil {
		return "", err
	}
	name := cluster.AppName(root.text("app"))
	if name != "" {
		root.check("app", name.Validate())
	}
	if root.r.err != nil {
		return "", root.r.err
	}
	return name, nil
}

// check records a noun's own complaint about key.
func (t tomlTable) check(key string, err error) {
	if err == nil {
		return
	}
	e, ok := err.(*cluster.Error)
	if !ok {
		t.fail(key, "%s", err)
		return
	}
	if t.r.err == nil {
		t.r.err = t.fail(key, "%s", e.Message).Because("%s", e.Reason)
		if e.Hint != "" {
			t.r.err = t.r.err.WithHint(e.Hint)
		}
	}
}

func readBuild(t tomlTable) BuildSettings {
	t.only("method", "dockerfile", "target", "args", "static_dir", "image")
	b := BuildSettings{
		Method: Method(t.text("method")), Dockerfile: t.text("dockerfile"), Target: t.text("target"),
		Args: readArgs(t), StaticDir: t.text("static_dir"), Image: t.text("image"),
	}
	if b.Method != "" && !slices.Contains(methods, string(b.Method)) {
		hint := "known methods: " + strings.Join(methods, ", ")
		if near := cluster.Nearest(string(b.Method), methods); len(near) > 0 {
			hint = "did you mean " + near[0] + "?"
		}
		t.failHint("method", hint, "build method %s is not known", shorten(string(b.Method)))
	}
	if b.Method == "auto" {
		b.Method = MethodAuto
	}
	b.Dockerfile, b.StaticDir = t.local("dockerfile", b.Dockerfile), t.local("static_dir", b.StaticDir)
	if b.Image != "" {
		t.check("image", cluster.ValidateImageRef(b.Image))
	}
	if b.Target != "" && !targetRE.MatchString(b.Target) {
		t.failHint("target", "name a stage: FROM image AS stage", "target %s is no name of a stage", shorten(b.Target))
	}
	implied := []struct {
		key    string
		set    bool
		method Method
	}{
		{"image", b.Image != "", MethodImage}, {"dockerfile", b.Dockerfile != "", MethodDockerfile},
		{"target", b.Target != "", MethodDockerfile}, {"static_dir", b.StaticDir != "", MethodStatic},
	}
	for _, i := range implied {
		if i.set && b.Method == MethodAuto {
			b.Method = i.method
		}
		if i.set && b.Method != i.method {
			t.failHint(i.key, "remove one of the two", "%s goes with method %q, not with %q", i.key, i.method, b.Method)
		}
	}
	if b.Method == MethodImage && b.Image == "" {
		t.failHint("method", `add image = "…"`, "method \"image\" names no image")
	}
	return b
}

// argRE is what a Dockerfile can refer to.
var argRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// buildKitArgs begins the names of arguments that direct the builder itself:
// another frontend, another name space of caches.
const buildKitArgs = "BUILDKIT_"

// maxArgBytes bounds one argument's value: it becomes a variable of each step's
// environment, where Linux takes 128 KiB.
const maxArgBytes = 32 << 10

// targetRE is what Dockerfiles call stages, and their numbers.
var targetRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

// readArgs reads build.args. Every build gets them, with a Dockerfile or without.
func readArgs(build tomlTable) map[string]string {
	args := build.texts("args")
	t := build.table("args")
	for _, name := range slices.Sorted(maps.Keys(args)) {
		switch {
		case !argRE.MatchString(name):
			t.failHint(name, "a name is letters, digits and _, and starts with no digit", "build argument %s is not a name", shorten(name))
		case strings.HasPrefix(strings.ToUpper(name), buildKitArgs):
			t.failHint(name, "remove it from [build] args", "build argument %s is not an app's to set: names with %s direct the builder itself", shorten(name), buildKitArgs)
		case len(args[name]) > maxArgBytes || strings.ContainsRune(args[name], 0):
			t.failHint(name, "put long texts into a file of the source", "the value of build argument %s holds a NUL byte or more than %d bytes", shorten(name), maxArgBytes)
		}
	}
	return args
}

// local cleans a path and refuses one that leaves the tree.
func (t tomlTable) local(key, name string) string {
	if name == "" {
		return ""
	}
	if !filepath.IsLocal(name) || strings.ContainsAny(name, "\\\x00") {
		t.failHint(key, "paths are relative to paas.toml", "%s = %s leaves the source tree", join(t.path, key), shorten(name))
		return ""
	}
	return path.Clean(name)
}

func readEnv(root tomlTable) map[string]string {
	env := root.texts("env")
	t := root.table("env")
	for _, key := range slices.Sorted(maps.Keys(env)) {
		t.check(key, cluster.ValidateConfigKey(key))
		t.check(key, cluster.ValidateConfigValue(key, env[key]))
	}
	return env
}

func readDeploy(t tomlTable, m *Manifest) {
	t.only("release", "surge", "min_healthy", "deadline", "drain")
	m.Rollout = cluster.Rollout{
		Surge:      t.integer("surge", 1, cluster.MaxReplicas),
		MinHealthy: t.duration("min_healthy", time.Hour),
		Deadline:   t.duration("deadline", 24*time.Hour),
		Drain:      t.duration("drain", 24*time.Hour),
	}
	release := t.text("release")
	if release == "" {
		return
	}
	if m.Processes[cluster.ProcessRelease].Command != "" {
		t.failHint("release", "remove one of the two", "the release command is there twice, in [deploy] and in [processes]")
	}
	t.checkCommand("release", release)
	if m.Processes == nil {
		m.Processes = map[cluster.ProcessType]ProcessSettings{}
	}
	p := m.Processes[cluster.ProcessRelease]
	p.Command, p.line = release, lineOf(t.r.lines, "deploy.release")
	m.Processes[cluster.ProcessRelease] = p
}

func (t tomlTable) checkCommand(key, command string) {
	if len(command) > maxCommandBytes || strings.ContainsRune(command, 0) {
		t.fail(key, "%s is too long or holds a NUL byte", join(t.path, key))
	}
}

// readProcesses merges [processes], whose values are commands or tables, with
// [process.TYPE] tables.
func readProcesses(root tomlTable) map[cluster.ProcessType]ProcessSettings {
	var out map[cluster.ProcessType]ProcessSettings
	for _, section := range []string{"processes", "process"} {
		t := root.table(section)
		for _, key := range slices.Sorted(maps.Keys(t.values)) {
			if err := validType(cluster.ProcessType(key)); err != nil {
				t.check(key, err)
				continue
			}
			p := readProcess(t, key)
			if out == nil {
				out = map[cluster.ProcessType]ProcessSettings{}
			}
			if old, twice := out[cluster.ProcessType(key)]; twice {
				p = t.merge(key, old, p)
			}
			out[cluster.ProcessType(key)] = p
		}
	}
	return out
}

// merge joins a plain command of [processes] with the table of the same type.
func (t tomlTable) merge(key string, plain, table ProcessSettings) ProcessSettings {
	command := plain.Command
	if !plain.bare() || table.Command != "" {
		t.failHint(key, "remove one of the two", "process %q is described twice, in [processes] and in [process]", key)
	}
	table.Command = command
	return table
}

func readProcess(t tomlTable, key string) ProcessSettings {
	line := lineOf(t.r.lines, join(t.path, key))
	if _, isText := t.values[key].(string); isText {
		command := t.text(key)
		t.checkCommand(key, command)
		return ProcessSettings{Command: command, line: line}
	}
	s := t.table(key)
	s.only("command", "entrypoint", "port", "memory", "cpu", "stop_grace", "check", "constraints")
	p := ProcessSettings{
		Command: s.text("command"), Entrypoint: Entrypoint(s.text("entrypoint")), Port: s.integer("port", 1, 65535),
		MemoryBytes: s.bytes("memory"), CPUMilli: s.milli("cpu"), StopGrace: s.duration("stop_grace", time.Hour),
		Constraints: s.constraints("constraints"), line: line,
	}
	s.checkCommand("command", p.Command)
	if p.Entrypoint != "" && p.Entrypoint != EntrypointKeep && p.Entrypoint != EntrypointReplace {
		s.failHint("entrypoint", `write "keep" or "replace"`, "entrypoint %s is not known", shorten(string(p.Entrypoint)))
	}
	if _, there := s.values["check"]; there {
		p.Check = readCheck(s.table("check"))
	}
	return p
}

func readCheck(t tomlTable) *cluster.Check {
	t.only("kind", "path", "boot", "interval", "timeout", "failures")
	c := &cluster.Check{
		Path: t.text("path"), Boot: t.duration("boot", time.Hour), Interval: t.duration("interval", time.Hour),
		Timeout: t.duration("timeout", time.Hour), Failures: t.integer("failures", 1, 1000),
	}
	kind := t.text("kind")
	switch {
	case kind == "" && c.Path != "":
		c.Kind = cluster.CheckHTTP
	case kind == "":
		c.Kind = cluster.CheckTCP
	case c.Kind.UnmarshalText([]byte(kind)) != nil:
		t.failHint("kind", `write "http", "tcp" or "none"`, "check kind %s is not known", shorten(kind))
	}
	if c.Kind == cluster.CheckHTTP && c.Path == "" {
		c.Path = "/"
	}
	if c.Path != "" && cluster.ValidateCheckPath(c.Path) != nil {
		t.failHint("path", `write it as path = "/healthz"`, "check path %s has to start with / and to hold no spaces", shorten(c.Path))
	}
	if c.Path != "" && c.Kind != cluster.CheckHTTP {
		t.failHint("path", `write kind = "http", or remove the path`, "a %s check has no path", c.Kind)
	}
	return c
}
