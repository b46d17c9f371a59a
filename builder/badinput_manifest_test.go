package builder

import (
	"path"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"paas/cluster"
)

// wrongTOML are values of all types.
var wrongTOML = []string{"true", "0", "-1", "1.5", "-0.0", "inf", "nan", "-9223372036854775808", "9223372036854775807", "99999999999999999999",
	"[]", "{}", "[[]]", "{ a = 1 }", `["a", 1]`, "1979-05-27", "07:32:00", "nul", `"open`, "", `"\ud800"`, "'''a", "[{}]",
	strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000), strings.Repeat("{a = ", 9_000) + "1" + strings.Repeat("}", 9_000)}

// scalars are what a text may be written as without quotes.
var scalars = []string{"true", "0", "-1", "1.5", "-0.0", "inf", "nan", "-9223372036854775808", "9223372036854775807"}

func processOf(m any) ProcessSettings { return m.(*Manifest).Processes["web"] }

func buildOf(m any) BuildSettings { return m.(*Manifest).Build }

func isConfig(s string) bool { return cluster.ValidateConfigValue("A", s) == nil }

// isPath: what stays in the tree, by whatever name.
func isPath(s string) bool {
	return s != "" && !strings.ContainsAny(s, "\\\x00") && !path.IsAbs(s) && path.Clean(s) != ".." && !strings.HasPrefix(path.Clean(s), "../")
}

func text(file string, may func(string) bool, read func(any) any, raw ...string) column {
	return column{file: file, quote: jsonText, may: may, read: read, raw: raw}
}

var manifestColumns = map[string]column{
	"App":          text("app = %s\n", valid(func(s string) error { return cluster.AppName(s).Validate() }), func(m any) any { return m.(*Manifest).App }),
	"DeployBranch": text("deploy_branch = %s\n", valid(cluster.ValidateBranch), func(m any) any { return m.(*Manifest).DeployBranch }),

	"Build.Method":     text("[build]\nmethod = %s\n", oneOf(methods...), nil),
	"Build.Dockerfile": text("[build]\ndockerfile = %s\n", isPath, nil),
	"Build.Target":     text("[build]\ntarget = %s\n", isTarget, func(m any) any { return buildOf(m).Target }),
	"Build.Args key": text("[build.args]\n%s = \"x\"\n", func(s string) bool {
		return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`).MatchString(s) && !strings.HasPrefix(strings.ToUpper(s), "BUILDKIT_")
	}, nil),
	"Build.Args":      text("[build.args]\nA = %s\n", func(s string) bool { return !strings.ContainsRune(s, 0) }, func(m any) any { return buildOf(m).Args["A"] }, scalars...),
	"Build.StaticDir": text("[build]\nstatic_dir = %s\n", isPath, nil),
	"Build.Image":     text("[build]\nimage = %s\n", valid(cluster.ValidateImageRef), func(m any) any { return buildOf(m).Image }),

	"Rollout.Surge":      text("[deploy]\nsurge = %s\n", never, nil),
	"Rollout.MinHealthy": text("[deploy]\nmin_healthy = %s\n", never, nil),
	"Rollout.Deadline":   text("[deploy]\ndeadline = %s\n", never, nil),
	"Rollout.Drain":      text("[deploy]\ndrain = %s\n", never, nil),

	"Env key": text("[env]\n%s = \"x\"\n", valid(cluster.ValidateConfigKey), nil),
	"Env":     text("[env]\nA = %s\n", isConfig, func(m any) any { return m.(*Manifest).Env["A"] }, scalars...),

	"Processes key":             text("[processes]\n%s = \"x\"\n", isType, nil),
	"Processes.Command":         text("[process.web]\ncommand = %s\n", isCommand, func(m any) any { return processOf(m).Command }),
	"Processes.Entrypoint":      text("[process.web]\nentrypoint = %s\n", oneOf("keep", "replace"), nil),
	"Processes.Port":            text("[process.web]\nport = %s\n", never, nil),
	"Processes.MemoryBytes":     text("[process.web]\nmemory = %s\n", never, nil),
	"Processes.CPUMilli":        text("[process.web]\ncpu = %s\n", never, nil, "1.5"),
	"Processes.StopGrace":       text("[process.web]\nstop_grace = %s\n", never, nil),
	"Processes.Constraints.Key": text("[process.web]\nconstraints = %s\n", never, nil, "[]"),
	"Processes.Constraints.Not": text("[process.web]\nconstraints = [%s]\n", never, nil, ""),
	"Processes.Constraints.Value": {file: "[process.web]\nconstraints = [%s]\n", quote: func(s string) string { return jsonText("disk=" + s) }, raw: []string{""},
		may: func(s string) bool { return cluster.ValidateLabel("value", strings.TrimSpace(s)) == nil }},
	"Processes.Check.Kind":     text("[process.web.check]\nkind = %s\n", oneOf("http", "tcp", "none"), nil),
	"Processes.Check.Path":     text("[process.web.check]\npath = %s\n", valid(cluster.ValidateCheckPath), func(m any) any { return processOf(m).Check.Path }),
	"Processes.Check.Boot":     text("[process.web.check]\nboot = %s\n", never, nil),
	"Processes.Check.Interval": text("[process.web.check]\ninterval = %s\n", never, nil),
	"Processes.Check.Timeout":  text("[process.web.check]\ntimeout = %s\n", never, nil),
	"Processes.Check.Failures": text("[process.web.check]\nfailures = %s\n", never, nil),
}

func isTarget(s string) bool {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`).MatchString(s)
}

func TestBadInputOfEveryManifestField(t *testing.T) {
	tried(t, manifestFile, fieldsOf(reflect.TypeFor[Manifest](), ""), manifestColumns, wrongTOML, func(data []byte) (any, error) {
		m, err := ParseManifest(data)
		if err == nil {
			releasable(t, settings{manifest: m})
		}
		return m, err
	})
}

// A key that is not known is refused in every table whose keys are fixed.
func TestManifestRefusesEveryUnknownKey(t *testing.T) {
	for _, table := range []string{"", "[build]\n", "[deploy]\n", "[process.web]\n", "[process.web.check]\n"} {
		for _, key := range hostile {
			_, err := ParseManifest([]byte(table + jsonText(key) + " = 1\n"))
			if err == nil {
				t.Errorf("%s%.80q was taken", table, key)
			} else if wrong := unclear(err, manifestFile); wrong != "" {
				t.Errorf("%s%.80q: %s", table, key, wrong)
			}
		}
	}
	for _, text := range []string{"\xff\xfea\x00=\x001\x00", "app = \"\xff\"\n", "\x00", "app = \"blog\"\x00", "[build]\n[build]\n", "[[build]]\n", "[process]\nweb = 3\n", "= 1\n", "build.method.x = 1\n"} {
		_, err := ParseManifest([]byte(text))
		if err == nil {
			t.Errorf("%q was taken", text)
		} else if wrong := unclear(err, manifestFile); wrong != "" {
			t.Errorf("%q: %s", text, wrong)
		}
	}
}
