package builder

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"paas/cluster"
)

// AppJSON is what of an app.json is used. Other keys belong to other platforms
// and are left alone; those that people expect to work are in Warnings.
type AppJSON struct {
	Env       map[string]EnvSpec
	Formation map[cluster.ProcessType]int
	Checks    map[cluster.ProcessType]cluster.Check
	// Warnings are for the pusher: what the file asks for and does not get.
	Warnings []string
}

// EnvSpec describes one config variable.
type EnvSpec struct {
	Value    cluster.Redacted
	Required bool // true unless the file says otherwise
	Generate bool // a random secret of 64 hex digits
	hasValue bool
}

// appJSONFields is the file as it is written.
type appJSONFields struct {
	Env       map[string]json.RawMessage `json:"env"`
	Formation map[string]struct {
		Quantity *int `json:"quantity"`
	} `json:"formation"`
	HealthChecks map[string][]healthCheck `json:"healthchecks"`
	Scripts      struct {
		PostDeploy string `json:"postdeploy"`
		Dokku      struct {
			PreDeploy  string `json:"predeploy"`
			PostDeploy string `json:"postdeploy"`
		} `json:"dokku"`
	} `json:"scripts"`
	Buildpacks json.RawMessage `json:"buildpacks"`
	Cron       []struct{}      `json:"cron"`
}

// healthCheck is one entry of healthchecks.TYPE; times are in seconds.
type healthCheck struct {
	Type         string          `json:"type"`
	Name         string          `json:"name"`
	Path         string          `json:"path"`
	Port         json.RawMessage `json:"port"`
	Command      []string        `json:"command"`
	Content      string          `json:"content"`
	HTTPHeaders  json.RawMessage `json:"httpHeaders"`
	Scheme       string          `json:"scheme"`
	Listening    bool            `json:"listening"`
	Uptime       int             `json:"uptime"`
	InitialDelay int             `json:"initialDelay"`
	Timeout      int             `json:"timeout"`
	Wait         int             `json:"wait"`
	Attempts     int             `json:"attempts"`
}

// maxBoot is the most that paas.toml can ask for, too.
const maxBoot = time.Hour

// ParseAppJSON reads an app.json. Errors are of KindBuildFailed and name the
// line where JSON itself is broken.
func ParseAppJSON(data []byte) (*AppJSON, error) {
	var f appJSONFields
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &f); err != nil {
		return nil, jsonError(data, err)
	}
	a := &AppJSON{}
	if err := a.readEnv(f.Env); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(f.Formation)) {
		t, q := cluster.ProcessType(key), f.Formation[key].Quantity
		if err := validType(t); err != nil {
			return nil, failedAt(appJSONFile, 0, "formation: %s", err.Message).Because("%s", err.Reason).WithHint(cmp.Or(err.Hint, typeHint))
		}
		if q == nil {
			continue
		}
		if *q < 0 || *q > cluster.MaxReplicas {
			return nil, failedAt(appJSONFile, 0, "formation.%s.quantity has to be from 0 to %d", t, cluster.MaxReplicas)
		}
		if a.Formation == nil {
			a.Formation = map[cluster.ProcessType]int{}
		}
		a.Formation[t] = *q
	}
	if err := a.readChecks(f.HealthChecks); err != nil {
		return nil, err
	}
	a.warnScripts(f)
	return a, nil
}

func jsonError(data []byte, err error) error {
	line := 0
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		line = 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
		return failedAt(appJSONFile, line, "%s", syntax).Wrap(err)
	case errors.As(err, &kind):
		line = 1 + bytes.Count(data[:min(int(kind.Offset), len(data))], []byte("\n"))
		if kind.Field == "" {
			return failedAt(appJSONFile, line, "the file is an object, not a %s", shorten(kind.Value)).Wrap(err)
		}
		return failedAt(appJSONFile, line, "%s cannot be a %s", shorten(kind.Field), shorten(kind.Value)).Wrap(err)
	}
	return failedAt(appJSONFile, 0, "this is not JSON").Wrap(err)
}

func (a *AppJSON) readEnv(env map[string]json.RawMessage) error {
	for _, key := range slices.Sorted(maps.Keys(env)) {
		if err := cluster.ValidateConfigKey(key); err != nil {
			if key == "PORT" || strings.HasPrefix(key, "PAAS_") {
				a.Warnings = append(a.Warnings, fmt.Sprintf("app.json: env %s is ignored, the platform sets it", key))
				continue
			}
			return failedAt(appJSONFile, 0, "env: %s", err)
		}
		spec, err := readEnvSpec(key, env[key])
		if err != nil {
			return err
		}
		if a.Env == nil {
			a.Env = map[string]EnvSpec{}
		}
		a.Env[key] = spec
	}
	return nil
}

func readEnvSpec(key string, raw json.RawMessage) (EnvSpec, error) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return EnvSpec{}, jsonError(raw, err)
	}
	spec := EnvSpec{Required: true}
	if object, ok := v.(map[string]any); ok {
		if err := spec.readWishes(key, object); err != nil {
			return spec, err
		}
		v = object["value"]
	}
	switch v := v.(type) {
	case nil:
	case string:
		spec.Value, spec.hasValue = cluster.Redacted(v), true
	case bool, float64:
		spec.Value, spec.hasValue = cluster.Redacted(bytes.TrimSpace(plainScalar(v))), true
	default:
		return spec, failedAt(appJSONFile, 0, "env.%s has to be a string", key)
	}
	if err := cluster.ValidateConfigValue(key, spec.Value.Reveal()); err != nil {
		return spec, failedAt(appJSONFile, 0, "env: %s", err)
	}
	return spec, nil
}

// readWishes reads what is said about a variable beside its value.
func (s *EnvSpec) readWishes(key string, object map[string]any) error {
	switch required := object["required"].(type) {
	case nil:
	case bool:
		s.Required = required
	default:
		return failedAt(appJSONFile, 0, "env.%s.required has to be true or false", key)
	}
	switch object["generator"] {
	case nil:
	case "secret":
		s.Generate = true
	default:
		return failedAt(appJSONFile, 0, "env.%s.generator is not known", key).WithHint(`the one there is: "generator": "secret"`)
	}
	return nil
}

// plainScalar writes a JSON number or bool as JSON does.
func plainScalar(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return nil // numbers that were just decoded always encode
	}
	return b
}

func (a *AppJSON) warnScripts(f appJSONFields) {
	warn := func(format string, args ...any) { a.Warnings = append(a.Warnings, fmt.Sprintf(format, args...)) }
	for name, script := range map[string]string{
		"dokku.predeploy": f.Scripts.Dokku.PreDeploy, "dokku.postdeploy": f.Scripts.Dokku.PostDeploy, "postdeploy": f.Scripts.PostDeploy,
	} {
		if script != "" {
			warn("app.json: scripts.%s is not run; use a release process for what runs before a deploy", name)
		}
	}
	slices.Sort(a.Warnings)
	if len(f.Cron) > 0 {
		warn("app.json: cron is not run")
	}
	if len(f.Buildpacks) > 2 && string(f.Buildpacks) != "null" {
		warn("app.json: buildpacks are not used")
	}
}

// readChecks takes the startup or readiness check of each type.
func (a *AppJSON) readChecks(checks map[string][]healthCheck) error {
	for _, key := range slices.Sorted(maps.Keys(checks)) {
		t := cluster.ProcessType(key)
		if err := validType(t); err != nil {
			return failedAt(appJSONFile, 0, "healthchecks: %s", err.Message).Because("%s", err.Reason).WithHint(cmp.Or(err.Hint, typeHint))
		}
		for _, h := range checks[key] {
			if why := h.unusable(); why != "" {
				a.Warnings = append(a.Warnings, fmt.Sprintf("app.json: healthchecks.%s %s is ignored: %s", t, h.label(), why))
				continue
			}
			if _, taken := a.Checks[t]; taken {
				a.Warnings = append(a.Warnings, fmt.Sprintf("app.json: healthchecks.%s %s is ignored: a type has one check", t, h.label()))
				continue
			}
			c, err := h.check(t)
			if err != nil {
				return err
			}
			if a.Checks == nil {
				a.Checks = map[cluster.ProcessType]cluster.Check{}
			}
			a.Checks[t] = c
		}
	}
	return nil
}

func (h healthCheck) label() string {
	if h.Name != "" {
		return shorten(h.Name)
	}
	return shorten(h.Type)
}

// unusable says why a check has no counterpart here; "" when it has one.
func (h healthCheck) unusable() string {
	switch {
	case h.Type != "" && h.Type != "startup" && h.Type != "readiness":
		return "only startup and readiness checks exist"
	case len(h.Command) > 0:
		return "commands are not run as checks"
	case h.Uptime > 0 && h.Path == "" && !h.Listening:
		return "use min_healthy in paas.toml for a minimum uptime"
	case h.Content != "" || len(h.HTTPHeaders) > 0 || strings.EqualFold(h.Scheme, "https"):
		return "content, httpHeaders and https are not supported"
	case len(h.Port) > 0:
		return "checks go to $PORT"
	}
	return ""
}

func (h healthCheck) check(t cluster.ProcessType) (cluster.Check, error) {
	for _, n := range []int{h.InitialDelay, h.Timeout, h.Wait, h.Attempts, h.Uptime} {
		if n < 0 || n > 3600 {
			return cluster.Check{}, failedAt(appJSONFile, 0, "healthchecks.%s: numbers have to be from 0 to 3600", t)
		}
	}
	c := cluster.Check{
		Kind: cluster.CheckHTTP, Path: h.Path, Timeout: time.Duration(h.Timeout) * time.Second,
		Interval: time.Duration(h.Wait) * time.Second, Failures: h.Attempts,
	}
	if h.Listening {
		c.Kind, c.Path = cluster.CheckTCP, ""
	} else if c.Path == "" {
		c.Path = "/"
	}
	if c.Path != "" && cluster.ValidateCheckPath(c.Path) != nil {
		return c, failedAt(appJSONFile, 0, "healthchecks.%s: path %s has to start with / and to hold no spaces", t, shorten(c.Path))
	}
	// Dokku waits initialDelay, then tries "attempts" times; here a replica has
	// that long to its first success, and never less than the default.
	if boot := time.Duration(h.InitialDelay+max(h.Attempts, 3)*(max(h.Timeout, 5)+max(h.Wait, 5))) * time.Second; boot > cluster.DefaultBootLimit {
		c.Boot = boot
	}
	if c.Boot > maxBoot {
		return c, failedAt(appJSONFile, 0, "healthchecks.%s: a replica would have %s to boot, and %s is the most", t, c.Boot, maxBoot).
			WithHint("make initialDelay, attempts, timeout or wait smaller")
	}
	return c, nil
}
