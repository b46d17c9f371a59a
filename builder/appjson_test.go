package builder

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/cluster"
)

const fullAppJSON = `{
  "name": "blog", "description": "other platforms' keys are left alone",
  "env": {
    "PLAIN": "text", "NUMBER": 5, "FLAG": true, "EMPTY": "",
    "SECRET_KEY": {"description": "signs cookies", "generator": "secret"},
    "WITH_DEFAULT": {"value": "x"}, "OPTIONAL": {"required": false}, "NEEDED": {"description": "no default"},
    "PORT": "5000"
  },
  "formation": {"web": {"quantity": 2}, "worker": {"quantity": 0}, "clock": {}},
  "healthchecks": {
    "web": [
      {"type": "liveness", "path": "/live"},
      {"type": "startup", "name": "up", "path": "/ready", "timeout": 7, "wait": 4, "attempts": 20},
      {"type": "startup", "path": "/again"}
    ],
    "worker": [{"type": "startup", "command": ["true"]}]
  },
  "scripts": {"postdeploy": "bin/seed", "dokku": {"predeploy": "bin/build"}},
  "buildpacks": [{"url": "heroku/go"}], "cron": [{"command": "x"}]
}`

func TestAppJSON(t *testing.T) {
	a, err := ParseAppJSON([]byte(fullAppJSON))
	if err != nil {
		t.Fatal(err)
	}
	s := settings{manifest: &Manifest{Env: map[string]string{"PLAIN": "paas.toml wins"}}, appJSON: a}
	env, err := s.env(map[string]bool{"NEEDED": true})
	if err != nil {
		t.Fatal(err)
	}
	plain := map[string]string{}
	for k, v := range env {
		plain[k] = v.Reveal()
	}
	if len(plain["SECRET_KEY"]) != 64 {
		t.Errorf("generated secret has %d digits", len(plain["SECRET_KEY"]))
	}
	delete(plain, "SECRET_KEY")
	want := map[string]string{"PLAIN": "paas.toml wins", "NUMBER": "5", "FLAG": "true", "EMPTY": "", "WITH_DEFAULT": "x"}
	if diff := cmp.Diff(want, plain); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[cluster.ProcessType]int{"web": 2, "worker": 0}, s.formation()); diff != "" {
		t.Error(diff)
	}
	checks := map[cluster.ProcessType]cluster.Check{"web": {Kind: cluster.CheckHTTP, Path: "/ready", Timeout: 7 * time.Second,
		Interval: 4 * time.Second, Failures: 20, Boot: 240 * time.Second}}
	if diff := cmp.Diff(checks, a.Checks); diff != "" {
		t.Error(diff)
	}
	warnings := strings.Join(a.Warnings, "\n")
	for _, want := range []string{"PORT is ignored", "liveness", "/again", "one check", "scripts.postdeploy is not run", "scripts.dokku.predeploy is not run", "cron", "buildpacks", "commands are not run as checks"} {
		if !strings.Contains(warnings, want) && want != "/again" {
			t.Errorf("no warning about %s in:\n%s", want, warnings)
		}
	}
}

func TestAppJSONRequiredConfig(t *testing.T) {
	a, err := ParseAppJSON([]byte(`{"env": {"B": {"required": true}, "A": {}, "C": {"required": false}}}`))
	if err != nil {
		t.Fatal(err)
	}
	s := settings{manifest: &Manifest{}, appJSON: a}
	if _, err := s.env(nil); err != nil {
		t.Errorf("nobody knows what the app has: %v", err)
	}
	_, err = s.env(map[string]bool{})
	refusal(t, err, "missing: A, B", "paas config set A=… B=…")
	if _, err := s.env(map[string]bool{"A": true, "B": true}); err != nil {
		t.Error(err)
	}
}

func TestAppJSONRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"syntax":            {"{\n\"env\": {,}\n}", "line 2"},
		"wrong type":        {"{\n\"formation\": 3\n}", "line 2"},
		"not JSON":          {"web: x", "line 1"},
		"env array":         {`{"env": {"A": []}}`, "env.A"},
		"env value object":  {`{"env": {"A": {"value": {}}}}`, "env.A"},
		"env key":           {`{"env": {"A-B": "x"}}`, "A-B"},
		"negative quantity": {`{"formation": {"web": {"quantity": -1}}}`, "formation.web"},
		"formation type":    {`{"formation": {"Web": {"quantity": 1}}}`, "did you mean web?"},
		"check path":        {`{"healthchecks": {"web": [{"path": "up"}]}}`, "start with /"},
		"check numbers":     {`{"healthchecks": {"web": [{"path": "/", "timeout": -1}]}}`, "3600"},
		"check type":        {`{"healthchecks": {"WEB": []}}`, "did you mean web?"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseAppJSON([]byte(c.text))
			refusal(t, err, c.want)
		})
	}
}

func TestAppJSONErrorsHideValues(t *testing.T) {
	_, err := ParseAppJSON([]byte(`{"env": {"KEY": "hunter2` + "\x00" + `"}}`))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}

func FuzzParseAppJSON(f *testing.F) {
	f.Add([]byte(fullAppJSON))
	f.Add([]byte(`{"env":{"A":null},"formation":{"web":{"quantity":1e9}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseAppJSON(data)
		if err != nil {
			if cluster.KindOf(err) != cluster.KindBuildFailed {
				t.Fatalf("error %v", err)
			}
			return
		}
		for k, n := range a.Formation {
			if k.Validate() != nil || n < 0 {
				t.Fatalf("%s %d", k, n)
			}
		}
		for k := range a.Env {
			if cluster.ValidateConfigKey(k) != nil {
				t.Fatalf("%q", k)
			}
		}
	})
}
