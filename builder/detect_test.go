package builder

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

func mapFS(files map[string]string) fs.FS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return m
}

func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  Detection
	}{
		"dockerfile first": {map[string]string{"Dockerfile": "FROM x", "go.mod": "module a", "index.html": ""},
			Detection{Method: MethodDockerfile, Reason: "Dockerfile", Dockerfile: "Dockerfile"}},
		"paas.toml over dockerfile": {map[string]string{"Dockerfile": "FROM x", "go.mod": "module a", "paas.toml": "[build]\nmethod = \"go\"\n"},
			Detection{Method: MethodGo, Reason: "paas.toml"}},
		"named dockerfile": {map[string]string{"deploy/Dockerfile": "FROM x", "paas.toml": "[build]\ndockerfile = \"deploy/Dockerfile\"\n"},
			Detection{Method: MethodDockerfile, Reason: "paas.toml", Dockerfile: "deploy/Dockerfile"}},
		"image":            {map[string]string{"paas.toml": "[build]\nimage = \"nginx:1\"\n"}, Detection{Method: MethodImage, Reason: "paas.toml names nginx:1"}},
		"auto":             {map[string]string{"go.mod": "module a", "paas.toml": "[build]\nmethod = \"auto\"\n"}, Detection{Method: MethodGo, Reason: "go.mod"}},
		"go over node":     {map[string]string{"go.mod": "module a", "package.json": "{}"}, Detection{Method: MethodGo, Reason: "go.mod"}},
		"node over python": {map[string]string{"requirements.txt": "", "package.json": "{}"}, Detection{Method: MethodNode, Reason: "package.json"}},
		"requirements":     {map[string]string{"requirements.txt": "", "index.html": ""}, Detection{Method: MethodPython, Reason: "requirements.txt"}},
		"pyproject":        {map[string]string{"pyproject.toml": ""}, Detection{Method: MethodPython, Reason: "pyproject.toml"}},
		"python Procfile":  {map[string]string{"Procfile": "web: python app.py\n", "app.py": ""}, Detection{Method: MethodPython, Reason: "python in the Procfile"}},
		"site at root":     {map[string]string{"index.html": "", "public/index.html": ""}, Detection{Method: MethodStatic, Reason: "index.html", Dir: "."}},
		"site in public":   {map[string]string{"public/index.html": ""}, Detection{Method: MethodStatic, Reason: "public/index.html", Dir: "public"}},
		"site in _site":    {map[string]string{"_site/index.html": ""}, Detection{Method: MethodStatic, Reason: "_site/index.html", Dir: "_site"}},
		"named site":       {map[string]string{"out/a.txt": "", "index.html": "", "paas.toml": "[build]\nstatic_dir = \"out\"\n"}, Detection{Method: MethodStatic, Reason: "paas.toml", Dir: "out"}},
		"static by name":   {map[string]string{"dist/index.html": "", "package.json": "{}", "paas.toml": "[build]\nmethod = \"static\"\n"}, Detection{Method: MethodStatic, Reason: "paas.toml", Dir: "dist"}},
		"static, no index": {map[string]string{"a.txt": "", "paas.toml": "[build]\nmethod = \"static\"\n"}, Detection{Method: MethodStatic, Reason: "paas.toml", Dir: "."}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Detect(mapFS(c.files))
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if got.headline() == "" {
				t.Error("no headline")
			}
		})
	}
}

func TestDetectRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"nothing known":      {map[string]string{"README.md": "", "main.rs": ""}, []string{"none of Dockerfile, go.mod, package.json", "public/index.html", "README.md, main.rs", "paas.toml"}},
		"empty tree":         {nil, []string{"empty", "git add"}},
		"missing dockerfile": {map[string]string{"paas.toml": "[build]\ndockerfile = \"x\"\n"}, []string{"no x in the source tree"}},
		"missing site":       {map[string]string{"paas.toml": "[build]\nstatic_dir = \"x\"\n"}, []string{"no folder x"}},
		"broken Procfile":    {map[string]string{"Procfile": "", "go.mod": "module a"}, []string{"names no process"}},
		"huge Procfile":      {map[string]string{"Procfile": strings.Repeat("#\n", maxSettingsBytes)}, []string{"larger than"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Detect(mapFS(c.files))
			refusal(t, err, c.want...)
		})
	}
}
