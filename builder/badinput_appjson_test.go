package builder

import (
	"reflect"
	"strings"
	"testing"

	"paas/cluster"
)

// wrongJSON are values of all types.
var wrongJSON = []string{"null", "true", "0", "-1", "1.5", "1e309", "-9223372036854775808", "9223372036854775807", "99999999999999999999", `""`,
	"[]", "{}", "[[]]", `{"a":1}`, `["a",1,null]`, "[{}]", `[["a"]]`, "[null]", `"\ud800"`, "nul", `"open`, "{", strings.Repeat("9", 10_000),
	strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000), strings.Repeat("[", 90_000), strings.Repeat(`{"a":`, 9_000) + "1" + strings.Repeat("}", 9_000)}

// anyJSON is for what is not used: whatever JSON stands there is left alone.
var anyJSON = []string{"null", "true", "0", "-1", "1.5", "1e309", "-9223372036854775808", "9223372036854775807", "99999999999999999999", `""`,
	"[]", "{}", "[[]]", `{"a":1}`, `["a",1,null]`, "[{}]", `[["a"]]`, "[null]", `"\ud800"`, strings.Repeat("9", 10_000),
	strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000), strings.Repeat(`{"a":`, 9_000) + "1" + strings.Repeat("}", 9_000)}

// envJSON is what a variable may be written as beside a text; null is no value.
var envJSON = []string{"null", "true", "0", "-1", "1.5", "-9223372036854775808", "9223372036854775807", "99999999999999999999", `""`, `"\ud800"`}

func envOf(a any) any { return a.(*AppJSON).Env["A"].Value.Reveal() }

func check(field string, may func(string) bool, raw ...string) column {
	return text(`{"healthchecks":{"web":[{"path":"/","`+field+`":%s}]}}`, may, nil, append(raw, "null")...)
}

// Texts of what is not used here are told of in a warning, or are nobody's business.
var appJSONColumns = map[string]column{
	"Env key":                   text(`{"env":{%s:"x"}}`, func(s string) bool { return cluster.ValidateConfigKey(s) == nil }, nil),
	"Env":                       text(`{"env":{"A":%s}}`, isConfig, envOf, append(envJSON, "{}", `{"a":1}`, wrongJSON[len(wrongJSON)-1])...),
	"EnvSpec.Value":             text(`{"env":{"A":{"value":%s}}}`, isConfig, envOf, envJSON...),
	"EnvSpec.Required":          text(`{"env":{"A":{"required":%s}}}`, never, nil, "null", "true"),
	"EnvSpec.Generate":          text(`{"env":{"A":{"generator":%s}}}`, never, nil, "null"),
	"Formation key":             text(`{"formation":{%s:{"quantity":1}}}`, isType, nil),
	"Formation.Quantity":        text(`{"formation":{"web":{"quantity":%s}}}`, never, nil, "null", "0"),
	"HealthChecks key":          text(`{"healthchecks":{%s:[{"path":"/"}]}}`, isType, nil),
	"HealthChecks.Type":         check("type", always, `""`, `"\ud800"`),
	"HealthChecks.Name":         check("name", always, `""`, `"\ud800"`),
	"HealthChecks.Path":         text(`{"healthchecks":{"web":[{"path":%s}]}}`, func(s string) bool { return s == "" || cluster.ValidateCheckPath(s) == nil }, nil, "null", `""`),
	"HealthChecks.Port":         check("port", always, anyJSON...),
	"HealthChecks.Command":      check("command", never, "[]", "[null]"),
	"HealthChecks.Content":      check("content", always, `""`, `"\ud800"`),
	"HealthChecks.HTTPHeaders":  check("httpHeaders", always, anyJSON...),
	"HealthChecks.Scheme":       check("scheme", always, `""`, `"\ud800"`),
	"HealthChecks.Listening":    check("listening", never, "true"),
	"HealthChecks.Uptime":       check("uptime", never, "0"),
	"HealthChecks.InitialDelay": check("initialDelay", never, "0"),
	"HealthChecks.Timeout":      check("timeout", never, "0"),
	"HealthChecks.Wait":         check("wait", never, "0"),
	"HealthChecks.Attempts":     check("attempts", never, "0"),

	"Scripts.PostDeploy":       text(`{"scripts":{"postdeploy":%s}}`, always, nil, "null", `""`, `"\ud800"`),
	"Scripts.Dokku.PreDeploy":  text(`{"scripts":{"dokku":{"predeploy":%s}}}`, always, nil, "null", `""`, `"\ud800"`),
	"Scripts.Dokku.PostDeploy": text(`{"scripts":{"dokku":{"postdeploy":%s}}}`, always, nil, "null", `""`, `"\ud800"`),
	"Buildpacks":               text(`{"buildpacks":%s}`, always, nil, anyJSON...),
	"Cron":                     text(`{"cron":%s}`, never, nil, "null", "[]", "[{}]", "[null]"),
}

func TestBadInputOfEveryAppJSONField(t *testing.T) {
	fields := append(fieldsOf(reflect.TypeFor[appJSONFields](), ""), fieldsOf(reflect.TypeFor[EnvSpec](), "EnvSpec")...)
	tried(t, appJSONFile, fields, appJSONColumns, wrongJSON, func(data []byte) (any, error) {
		a, err := ParseAppJSON(data)
		if err == nil {
			releasable(t, settings{manifest: &Manifest{}, appJSON: a})
		}
		return a, err
	})
	for _, text := range []string{"", "[]", "null x", "\x00", "\xff", `{"env":[]}`, `{"healthchecks":{"web":{}}}`,
		`{"healthchecks":{"web":[{"path":"/","attempts":3600,"timeout":3600,"wait":3600}]}}`} {
		_, err := ParseAppJSON([]byte(text))
		if err == nil {
			t.Errorf("%q was taken", text)
		} else if wrong := unclear(err, appJSONFile); wrong != "" {
			t.Errorf("%q: %s", text, wrong)
		}
	}
}

// releasable demands that the cluster takes what a file was read as.
func releasable(t *testing.T, s settings) {
	t.Helper()
	table, err := s.processes(MethodDockerfile, imageFacts{Command: []string{"x"}})
	if err != nil {
		return
	}
	if err := cluster.ValidateProcesses(table); err != nil {
		t.Errorf("what was read is refused later: %v", err)
	}
	if err := s.manifest.Rollout.Validate(); err != nil {
		t.Errorf("what was read is refused later: %v", err)
	}
}

func TestBadInputOfEveryProcfileField(t *testing.T) {
	plain := func(s string) string { return s }
	isLine := func(s string) bool { return isCommand(strings.TrimSpace(s)) && !strings.Contains(s, "\n") }
	isKey := func(s string) bool { // the first colon ends it, and a comment is none
		key, _, _ := strings.Cut(s, ":")
		return isType(key) || strings.HasPrefix(s, "//")
	}
	columns := map[string]column{
		"Procfile key": {file: "web: y\n%s: x\n", quote: plain, may: isKey},
		"Procfile":     {file: "web: %s\n", quote: plain, may: isLine},
	}
	raws := []string{"", "bad\xff\xfe", "\xed\xa0\x80", "x\nweb: y", "x\nrest", "x\n<<<<<<< HEAD", "x\n: y", "x\nWEB: y", "x\nweb"}
	tried(t, procFile, fieldsOf(reflect.TypeFor[Procfile](), "Procfile"), columns, raws, func(data []byte) (any, error) {
		p, err := ParseProcfile(data)
		if err == nil {
			releasable(t, settings{manifest: &Manifest{}, procfile: p})
		}
		return p, err
	})
}
