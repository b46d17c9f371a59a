package builder

import (
	"maps"
	"slices"
	"strings"

	"paas/cluster"
	"paas/identity"
)

// imageFacts is what of an image's own description decides how it runs.
type imageFacts struct {
	ID         string
	Command    []string // CMD
	Entrypoint []string
	Ports      []int // exposed TCP ports, sorted
	Arch       string
	SizeBytes  int64
	Labels     map[string]string
	Triggers   []string // ONBUILD
	Pulled     bool     // from a registry, or pushed to one
}

// processes makes the process table: paas.toml over Procfile over app.json over
// what the image says over the defaults.
func (s settings) processes(method Method, img imageFacts) (map[cluster.ProcessType]cluster.Process, error) {
	table := map[cluster.ProcessType]cluster.Process{}
	types := s.types(img)
	if len(types) > cluster.MaxProcessTypes {
		return nil, failed("processes", "there are too many process types").Because("it has %d; the limit is %d", len(types), cluster.MaxProcessTypes).
			WithHint("one app has a handful of process types: make several apps of this one")
	}
	for _, t := range types {
		p, err := s.process(t, method, img)
		if err != nil {
			return nil, err
		}
		table[t] = p
	}
	if len(table) == 0 {
		return nil, failed("processes", "nothing says what to run").
			Because("there is no Procfile, paas.toml names no process, and the image has no command").
			WithHint(`add CMD to the Dockerfile, or a Procfile with a line such as "web: ./server"`)
	}
	return table, nil
}

// types lists the process types. Web is one of them wherever the image has a
// command, unless there is a Procfile and it has no web: that is how an app says
// that it is a worker.
func (s settings) types(img imageFacts) []cluster.ProcessType {
	types := map[cluster.ProcessType]bool{}
	for t := range s.procfile {
		types[t] = true
	}
	for t := range s.manifest.Processes {
		types[t] = true
	}
	if s.procfile == nil && len(img.Command)+len(img.Entrypoint) > 0 {
		types[cluster.ProcessWeb] = true
	}
	return slices.Sorted(maps.Keys(types))
}

func (s settings) process(t cluster.ProcessType, method Method, img imageFacts) (cluster.Process, error) {
	set := s.manifest.Processes[t]
	p := cluster.Process{
		MemoryBytes: cluster.DefaultMemoryBytes, CPUMilli: cluster.DefaultCPUMilli,
		StopGrace: cluster.DefaultStopGrace, Port: set.Port, Constraints: set.Constraints,
	}
	if method == MethodStatic {
		p.MemoryBytes = staticMemoryBytes
	}
	if set.MemoryBytes > 0 {
		p.MemoryBytes = set.MemoryBytes
	}
	if set.CPUMilli > 0 {
		p.CPUMilli = set.CPUMilli
	}
	if set.StopGrace > 0 {
		p.StopGrace = set.StopGrace
	}
	if err := s.command(&p, t, method, img); err != nil {
		return p, err
	}
	if t == cluster.ProcessWeb {
		p.Check.Kind = cluster.CheckTCP
		if p.Port == 0 {
			p.Port = img.port()
		}
	}
	if s.appJSON != nil {
		if c, ok := s.appJSON.Checks[t]; ok {
			p.Check = c
		}
	}
	if set.Check != nil {
		p.Check = *set.Check
	}
	if p.Check.Kind != cluster.CheckNone && p.Port == 0 {
		return p, failed("processes", "process %q has a check and no port", string(t)).
			WithHint("set its port in paas.toml: [process." + string(t) + "] port = 8080")
	}
	return p, nil
}

// command sets the argument vector and what becomes of the entrypoint.
func (s settings) command(p *cluster.Process, t cluster.ProcessType, method Method, img imageFacts) error {
	set := s.manifest.Processes[t]
	line := set.Command
	if line == "" {
		line = s.procfile[t]
	}
	if line == "" {
		if t != cluster.ProcessWeb || len(img.Command)+len(img.Entrypoint) == 0 {
			return failedAt(manifestFile, set.line, "process %q has no command", string(t)).
				WithHint(`add command = "…" to it, or a line "` + string(t) + `: …" to the Procfile`)
		}
		return nil
	}
	p.Command = argv(line)
	switch set.Entrypoint {
	case EntrypointKeep:
		p.KeepEntrypoint = len(img.Entrypoint) > 0
	case EntrypointDefault:
		// Images that people wrote use ENTRYPOINT for set-up around any command;
		// those we write have none, but their base image may.
		p.KeepEntrypoint = len(img.Entrypoint) > 0 && (method == MethodDockerfile || method == MethodImage)
	}
	return nil
}

// port is the only exposed TCP port, else the default.
func (i imageFacts) port() int {
	if len(i.Ports) == 1 {
		return i.Ports[0]
	}
	return cluster.DefaultPort
}

// env returns defaults for config variables. A required variable that has
// neither a default nor a value yet fails the build; keys nil means that nobody
// knows what the app has.
func (s settings) env(keys map[string]bool) (map[string]cluster.Redacted, error) {
	env := map[string]cluster.Redacted{}
	var missing []string
	if s.appJSON != nil {
		for key, spec := range s.appJSON.Env {
			switch {
			case spec.hasValue:
				env[key] = spec.Value
			case spec.Generate:
				env[key] = identity.NewSecret() // of the form that Heroku gives
			case spec.Required && keys != nil && !keys[key] && s.manifest.Env[key] == "":
				missing = append(missing, key)
			}
		}
	}
	for key, value := range s.manifest.Env {
		env[key] = cluster.Redacted(value)
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, failed(appJSONFile, "config that app.json requires is not set").Because("missing: %s", strings.Join(missing, ", ")).
			WithHint("paas config set " + strings.Join(missing, "=… ") + "=…")
	}
	return env, nil
}

// formation returns app.json's quantities.
func (s settings) formation() map[cluster.ProcessType]int {
	if s.appJSON == nil {
		return nil
	}
	return s.appJSON.Formation
}
