package builder

import (
	"io/fs"
	"regexp"
	"strings"

	"paas/cluster"
)

// Detection is what a source tree was taken for.
type Detection struct {
	Method Method
	Reason string // "go.mod", "paas.toml"
	// Dir is the folder of a static site, "." for the root.
	Dir string
	// Dockerfile is the path of the tree's own, for MethodDockerfile.
	Dockerfile string
}

// siteDirs are where a static site's index.html is looked for.
var siteDirs = []string{".", "public", "dist", "_site"}

// Detect says how a source tree becomes an image: paas.toml [build], then a
// Dockerfile, then what the files look like. A tree that fits nothing, and one
// whose own description is broken, are errors of KindBuildFailed.
func Detect(fsys fs.FS) (Detection, error) {
	s, err := readSettings(fsys)
	if err != nil {
		return Detection{}, err
	}
	return s.detect(fsys)
}

func (s settings) detect(fsys fs.FS) (Detection, error) {
	b := s.manifest.Build
	switch {
	case b.Method == MethodImage:
		return Detection{Method: MethodImage, Reason: manifestFile + " names " + b.Image}, nil
	case b.Method == MethodStatic:
		return s.staticSite(fsys)
	case b.Method == MethodDockerfile || b.Method == MethodAuto && exists(fsys, "Dockerfile"):
		return s.ownDockerfile(fsys)
	case b.Method != MethodAuto:
		return Detection{Method: b.Method, Reason: manifestFile}, nil
	}
	for _, m := range markers {
		if exists(fsys, m.file) {
			return Detection{Method: m.method, Reason: m.file}, nil
		}
	}
	for _, command := range s.procfile {
		if pythonCommandRE.MatchString(command) {
			return Detection{Method: MethodPython, Reason: "python in the Procfile"}, nil
		}
	}
	if dir, ok := siteDir(fsys); ok {
		return Detection{Method: MethodStatic, Reason: indexIn(dir), Dir: dir}, nil
	}
	return Detection{}, undetected(fsys)
}

// markers are the files that give an app's language away, in order.
var markers = []struct {
	file   string
	method Method
}{
	{"go.mod", MethodGo}, {"package.json", MethodNode}, {"requirements.txt", MethodPython},
	{"pyproject.toml", MethodPython}, {"Pipfile", MethodPython}, {"manage.py", MethodPython},
}

var pythonCommandRE = regexp.MustCompile(`^(exec\s+)?(python[0-9.]*|gunicorn|uvicorn|hypercorn|flask)\s`)

func (s settings) ownDockerfile(fsys fs.FS) (Detection, error) {
	d := Detection{Method: MethodDockerfile, Reason: "Dockerfile", Dockerfile: "Dockerfile"}
	if s.manifest.Build.Method == MethodDockerfile {
		d.Reason = manifestFile
	}
	if s.manifest.Build.Dockerfile != "" {
		d.Dockerfile = s.manifest.Build.Dockerfile
	}
	if !exists(fsys, d.Dockerfile) {
		return d, failed("dockerfile", "there is no %s in the source tree", d.Dockerfile).Because("paas.toml asks for it")
	}
	return d, nil
}

func (s settings) staticSite(fsys fs.FS) (Detection, error) {
	d := Detection{Method: MethodStatic, Reason: manifestFile, Dir: s.manifest.Build.StaticDir}
	if d.Dir == "" {
		d.Dir, _ = siteDir(fsys)
	}
	if d.Dir == "" {
		d.Dir = "."
	}
	if !isDir(fsys, d.Dir) {
		return d, failed("static", "there is no folder %s in the source tree", d.Dir).Because("paas.toml: static_dir asks for it")
	}
	return d, nil
}

// siteDir finds the folder of a static site.
func siteDir(fsys fs.FS) (string, bool) {
	for _, dir := range siteDirs {
		if exists(fsys, indexIn(dir)) {
			return dir, true
		}
	}
	return "", false
}

func indexIn(dir string) string { return strings.TrimPrefix(dir+"/index.html", "./") }

// undetected says what was looked for and what is there.
func undetected(fsys fs.FS) error {
	looked := []string{"Dockerfile"}
	for _, m := range markers {
		looked = append(looked, m.file)
	}
	for _, dir := range siteDirs {
		looked = append(looked, indexIn(dir))
	}
	e := failed("detect", "cannot tell what kind of app this is")
	names := topNames(fsys)
	if len(names) == 0 {
		return e.Because("the source tree is empty").WithHint("add files; a push sends what is committed: git add . && git commit")
	}
	return e.Because("there is none of %s; there is %s", strings.Join(looked, ", "), strings.Join(names, ", ")).
		WithHint("add a Dockerfile, or name the method in paas.toml: [build] method = \"" + string(MethodStatic) + "\"")
}

// topNames lists a few of the names at the root.
func topNames(fsys fs.FS) []string {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if len(names) == 8 {
			return append(names, "…")
		}
		names = append(names, e.Name())
	}
	return names
}

// commandFor reports whether the settings themselves say what web runs, or that
// there is none.
func (s settings) commandFor(t cluster.ProcessType) bool {
	return s.procfile != nil || s.manifest.Processes[t].Command != ""
}
