package builder

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"paas/cluster"
)

// goApp is a Go module's way to an image: static binaries in FROM scratch.
type goApp struct {
	module   string
	download bool     // it needs modules that are not in the tree
	sum      bool     // there is a go.sum
	mains    []goMain // what is built, by folder
	web      string   // name of the binary that serves; "" when settings say
	folders  []string // files that programs expect beside them
	remarks  []string
}

// goMain is one main package.
type goMain struct{ dir, name string }

var (
	goModuleRE  = regexp.MustCompile(`(?m)^module\s+"?([^\s"]+)"?`)
	goRequireRE = regexp.MustCompile(`(?m)^require\s*(\(\s*\n\s*[^\s)/]|[^\s(])`)
	goMainRE    = regexp.MustCompile(`(?m)^package main\b`)
	goIgnoreRE  = regexp.MustCompile(`(?m)^//go:build ignore\b`)
	goMajorRE   = regexp.MustCompile(`^v[0-9]+$`)
	shellWordRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@+-]*$`)
)

// goDataDirs are folders that Go programs commonly read at run time.
var goDataDirs = []string{"assets", "config", "configs", "data", "db", "dist", "i18n", "locales", "migrations",
	"public", "static", "templates", "ui", "views", "web", "www"}

func (s settings) planGo(fsys fs.FS, app cluster.AppName) (recipe, error) {
	mod, ok, err := readSmall(fsys, "go.mod")
	if err != nil {
		return nil, err
	}
	m := goModuleRE.FindSubmatch(mod)
	if !ok || m == nil {
		return nil, failed("go", "there is no go.mod that names a module").WithHint("run: go mod init example.com/app")
	}
	g := &goApp{module: string(m[1]), sum: exists(fsys, "go.sum")}
	g.download = goRequireRE.Match(mod) && !exists(fsys, "vendor/modules.txt")
	if g.mains, err = goMains(fsys, g.base()); err != nil {
		return nil, err
	}
	if !s.commandFor(cluster.ProcessWeb) {
		if g.web, err = g.webBinary(app); err != nil {
			return nil, err
		}
	}
	for _, dir := range goDataDirs {
		if hasData(fsys, dir) {
			g.folders = append(g.folders, dir)
		}
	}
	if len(g.folders) > 0 {
		g.remarks = append(g.remarks, "copied beside the binary: "+strings.Join(g.folders, ", "))
	}
	return g, nil
}

// base is the module's own name: the last part of its path that is no version.
func (g *goApp) base() string {
	name := path.Base(g.module)
	if goMajorRE.MatchString(name) {
		name = path.Base(path.Dir(g.module))
	}
	if !shellWordRE.MatchString(name) {
		return "app"
	}
	return name
}

// goMains finds main packages: the root, cmd/*, and only if there is none of
// those, any folder at the root.
func goMains(fsys fs.FS, rootName string) ([]goMain, error) {
	var mains []goMain
	if isGoMain(fsys, ".") {
		mains = append(mains, goMain{".", rootName})
	}
	for _, pattern := range []string{"cmd/*", "*"} {
		dirs, err := fs.Glob(fsys, pattern)
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			name := path.Base(dir)
			taken := slices.ContainsFunc(mains, func(m goMain) bool { return m.name == name })
			if isDir(fsys, dir) && shellWordRE.MatchString(name) && !taken && isGoMain(fsys, dir) {
				mains = append(mains, goMain{dir, name})
			}
		}
		if len(mains) > 0 {
			return mains, nil
		}
	}
	return nil, failed("go", "there is no main package").Because("looked in the root, in cmd/* and in the folders of the root").
		WithHint("put the program into the root or into cmd/NAME, or add a Dockerfile")
}

func isGoMain(fsys fs.FS, dir string) bool {
	files, err := fs.Glob(fsys, path.Join(dir, "*.go"))
	if err != nil {
		return false
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		data, err := fs.ReadFile(fsys, f)
		if err == nil && goMainRE.Match(data) && !goIgnoreRE.Match(data) {
			return true
		}
	}
	return false
}

// webBinary chooses the program that serves: the only one, the root's, the one
// named like the app or the module, web or server.
func (g *goApp) webBinary(app cluster.AppName) (string, error) {
	if len(g.mains) == 1 || g.mains[0].dir == "." {
		return g.mains[0].name, nil
	}
	var names []string
	for _, m := range g.mains {
		names = append(names, m.name)
	}
	for _, want := range []string{string(app), g.base(), "web", "server"} {
		if slices.Contains(names, want) {
			return want, nil
		}
	}
	return "", failed("go", "there are several programs and nothing says which one serves").
		Because("main packages: %s", strings.Join(names, ", ")).
		WithHint(`add a Procfile with the line "web: ` + names[0] + `"`)
}

// hasData reports whether dir holds anything but Go source.
func hasData(fsys fs.FS, dir string) bool {
	if !isDir(fsys, dir) {
		return false
	}
	found := false
	_ = fs.WalkDir(fsys, dir, func(_ string, d fs.DirEntry, err error) error { // what cannot be read has no data
		if err == nil && !d.IsDir() && path.Ext(d.Name()) != ".go" {
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found
}

func (g *goApp) bases() []string { return []string{"golang:1-bookworm"} }
func (g *goApp) notes() []string { return g.remarks }

func (g *goApp) dockerfile(e Engine, base string) string {
	d := newDockerText(e)
	d.line("FROM %s AS build", base)
	d.line("WORKDIR /src")
	d.line("ENV CGO_ENABLED=0")
	if g.download {
		files := "go.mod"
		if g.sum {
			files += " go.sum"
		}
		d.line("COPY %s ./", files)
		d.run("go mod download", "/go/pkg/mod")
	}
	d.line("COPY . .")
	d.run(g.build(), "/go/pkg/mod", "/root/.cache/go-build")
	d.run("mkdir -p /out/etc/ssl/certs && install -d -m 1777 /out/tmp \\\n" +
		"    && if [ -f /etc/ssl/certs/ca-certificates.crt ]; then cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/; fi")
	d.line("")
	d.line("FROM scratch")
	d.line("COPY --from=build /out/ /")
	d.line("WORKDIR /app")
	for _, dir := range g.folders {
		d.line("COPY %s/ ./%s/", dir, dir)
	}
	d.line("ENV PATH=/app/bin")
	d.line("USER 65534:65534")
	var command []string
	if g.web != "" {
		command = []string{"/app/bin/" + g.web}
	}
	d.start(command)
	return d.String()
}

func (g *goApp) build() string {
	const build = "go build -trimpath -buildvcs=false -ldflags=\"-s -w\" -o /out/app/bin/"
	if len(g.mains) == 1 {
		return build + g.mains[0].name + " " + goPath(g.mains[0].dir)
	}
	command := "mkdir -p /out/app/bin"
	for _, m := range g.mains {
		command += " \\\n    && " + build + m.name + " " + goPath(m.dir)
	}
	return command
}

func goPath(dir string) string {
	if dir == "." {
		return "."
	}
	return "./" + dir
}
