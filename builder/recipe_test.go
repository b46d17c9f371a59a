package builder

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file of testdata, or writes it.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s: %s", path, diff)
	}
}

// trees are source trees by the name of their golden Dockerfile.
var trees = map[string]map[string]string{
	"go":            {"go.mod": "module example.com/hello\n\ngo 1.26\n", "main.go": "package main\n"},
	"go-modules":    {"go.mod": "module example.com/hello/v2\n\nrequire example.com/x v1.0.0\n", "go.sum": "x", "main.go": "package main\n", "templates/a.html": "x", "config/a.go": "package config\n"},
	"go-vendor":     {"go.mod": "module hello\n\nrequire (\n\texample.com/x v1.0.0\n)\n", "vendor/modules.txt": "x", "main.go": "package main\n"},
	"go-cmd":        {"go.mod": "module example.com/shop\n", "cmd/shop/main.go": "package main\n", "cmd/worker/main.go": "package main\n", "lib.go": "package shop\n", "cmd/shop/main_test.go": "package main\n"},
	"go-procfile":   {"go.mod": "module example.com/x\n", "cmd/a/main.go": "package main\n", "cmd/b/main.go": "package main\n", "Procfile": "web: b\n"},
	"node":          {"package.json": `{"scripts": {"start": "node server.js"}}`},
	"node-build":    {"package.json": `{"scripts": {"start": "next start -p $PORT", "build": "next build"}, "dependencies": {"next": "1"}}`, "package-lock.json": "{}"},
	"node-yarn":     {"package.json": `{"main": "server.js", "dependencies": {"x": "1"}}`, "yarn.lock": "", "server.js": ""},
	"node-pnpm":     {"package.json": `{"dependencies": {"x": "1"}}`, "pnpm-lock.yaml": "", "index.js": ""},
	"node-nolock":   {"package.json": `{"devDependencies": {"x": "1"}, "engines": {"node": ">=22.1"}}`, "app.js": ""},
	"node-hooks":    {"package.json": `{"scripts": {"prestart": "x", "start": "y"}}`},
	"python":        {"requirements.txt": "# nothing\n", "app.py": "print()\n"},
	"python-local":  {"requirements.txt": "-r more.txt\n", "more.txt": "flask\n", "app.py": ""},
	"python-flask":  {"requirements.txt": "Flask==3\ngunicorn\n", "app.py": "from flask import Flask\napp = Flask(__name__)\n", ".python-version": "3.12.1\n"},
	"python-django": {"requirements.txt": "django\nGunicorn\n", "manage.py": "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"},
	"python-api":    {"pyproject.toml": "[project]\nname = \"x\"\ndependencies = [\"fastapi\", \"uvicorn\"]\n", "main.py": "api: FastAPI = FastAPI()\n"},
	"python-pipenv": {"Pipfile": "[packages]\nflask = \"*\"\n", "Pipfile.lock": "{}", "Procfile": "web: python app.py\n"},
}

func TestGeneratedDockerfiles(t *testing.T) {
	for name, files := range trees {
		t.Run(name, func(t *testing.T) {
			r := plan(t, files)
			golden(t, "dockerfiles/"+name+".golden", r.dockerfile(EngineBuildKit, r.bases()[0]))
		})
	}
	r := plan(t, trees["go-modules"])
	golden(t, "dockerfiles/go-modules-classic.golden", r.dockerfile(EngineClassic, r.bases()[0]))
}

// plan detects a tree and plans its Dockerfile.
func plan(t *testing.T, files map[string]string) recipe {
	t.Helper()
	r, err := planTree(files)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func planTree(files map[string]string) (recipe, error) {
	fsys := mapFS(files)
	s, err := readSettings(fsys)
	if err != nil {
		return nil, err
	}
	d, err := s.detect(fsys)
	if err != nil {
		return nil, err
	}
	return s.recipeFor(fsys, "shop", d)
}

func TestPlanRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"go without module":    {map[string]string{"go.mod": "go 1.26\n"}, []string{"go mod init"}},
		"go without main":      {map[string]string{"go.mod": "module x\n", "x.go": "package x\n"}, []string{"no main package"}},
		"go ignored main":      {map[string]string{"go.mod": "module x\n", "x.go": "//go:build ignore\n\npackage main\n"}, []string{"no main package"}},
		"go ambiguous":         {map[string]string{"go.mod": "module x\n", "cmd/a/m.go": "package main\n", "cmd/b/m.go": "package main\n"}, []string{"a, b", "Procfile"}},
		"node invalid":         {map[string]string{"package.json": "{"}, []string{"package.json"}},
		"node without start":   {map[string]string{"package.json": "{}"}, []string{"start script", "Procfile"}},
		"python without start": {map[string]string{"requirements.txt": ""}, []string{"how the app is started", "gunicorn"}},
		"python bad project":   {map[string]string{"pyproject.toml": "[", "app.py": ""}, []string{"pyproject.toml"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := planTree(c.files)
			refusal(t, err, c.want...)
		})
	}
}

func TestBasesFollowTheVersion(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"engines":           {map[string]string{"package.json": `{"main":"a.js","engines":{"node":"^22.0.0"}}`, "a.js": ""}, []string{"node:22-slim", "node:20-slim"}},
		"nvmrc":             {map[string]string{"package.json": `{"main":"a.js"}`, "a.js": "", ".nvmrc": "v18.2\n"}, []string{"node:18-slim", "node:20-slim"}},
		"default":           {map[string]string{"package.json": `{"main":"a.js","engines":{"node":"20.x"}}`, "a.js": ""}, []string{"node:20-slim"}},
		"codename":          {map[string]string{"package.json": `{"main":"a.js"}`, "a.js": "", ".nvmrc": "lts/iron\n"}, []string{"node:20-slim"}},
		"bound":             {map[string]string{"package.json": `{"main":"a.js","engines":{"node":"<21"}}`, "a.js": ""}, []string{"node:20-slim"}},
		"engines as a list": {map[string]string{"package.json": `{"main":"a.js","engines":["node"]}`, "a.js": ""}, []string{"node:20-slim"}},
		"runtime.txt":       {map[string]string{"requirements.txt": "", "app.py": "", "runtime.txt": "python-3.11.4"}, []string{"python:3.11-slim", "python:3-slim"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, plan(t, c.files).bases()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
