package builder

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"regexp"
	"strings"

	"paas/cluster"
)

// nodeApp is a Node app's way to an image.
type nodeApp struct {
	version string // major that the app asks for, "" for the default
	manager packageManager
	install bool // it has dependencies that are not in the tree
	vendor  bool // node_modules is in the tree
	build   bool // it has a build script
	start   []string
	remarks []string
}

// packageManager is one way to fetch dependencies.
type packageManager struct {
	lock    string // "" when nothing is locked
	install string // everything, development included
	prune   string // down to what runs
	cache   string
	setup   string
}

var packageManagers = []packageManager{
	{"package-lock.json", "npm ci --include=dev", "npm prune --omit=dev", "/root/.npm", ""},
	{"npm-shrinkwrap.json", "npm ci --include=dev", "npm prune --omit=dev", "/root/.npm", ""},
	{"pnpm-lock.yaml", "pnpm install --frozen-lockfile --prod=false", "pnpm prune --prod", "/root/.local/share/pnpm/store", "corepack enable"},
	{"yarn.lock", "yarn install --frozen-lockfile --production=false", "yarn install --frozen-lockfile --production --prefer-offline", "/usr/local/share/.cache/yarn", ""},
	{"", "npm install --include=dev", "npm prune --omit=dev", "/root/.npm", ""},
}

// defaultNode is the fallback base image.
const defaultNode = "20"

// packageJSON is what of a package.json matters.
type packageJSON struct {
	Main            string            `json:"main"`
	Scripts         map[string]string `json:"scripts"`
	Dependencies    map[string]any    `json:"dependencies"`
	DevDependencies map[string]any    `json:"devDependencies"`
	Optional        map[string]any    `json:"optionalDependencies"`
	Engines         json.RawMessage   `json:"engines"`
}

var (
	nodeMajorRE = regexp.MustCompile(`^[^0-9]*([1-9][0-9]?)\b`)
	nodeFileRE  = regexp.MustCompile(`^node\s+(\S+)$`)
)

func (s settings) planNode(fsys fs.FS) (recipe, error) {
	data, ok, err := readSmall(fsys, "package.json")
	if err != nil {
		return nil, err
	}
	var p packageJSON
	if !ok {
		return nil, failed("node", "there is no package.json").WithHint("run: npm init")
	}
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &p); err != nil {
		return nil, failed("node", "package.json is not valid").Because("%s", err).Wrap(err).
			WithHint("see where: python3 -m json.tool package.json\nmend it, commit, and push again")
	}
	n := &nodeApp{version: nodeVersion(fsys, p), vendor: isDir(fsys, "node_modules"), build: p.Scripts["build"] != ""}
	dependencies := len(p.Dependencies) + len(p.DevDependencies) + len(p.Optional)
	n.install = dependencies > 0 && !n.vendor
	for _, n.manager = range packageManagers {
		if n.manager.lock == "" || exists(fsys, n.manager.lock) {
			break
		}
	}
	switch {
	case n.vendor:
		n.remarks = append(n.remarks, "node_modules is in the source tree and is used as it is")
	case !n.install:
		n.remarks = append(n.remarks, "no dependencies: nothing is installed")
	case n.manager.lock == "":
		n.remarks = append(n.remarks, "there is no lock file: versions may differ from one build to the next")
	}
	if !s.commandFor(cluster.ProcessWeb) {
		if n.start = nodeStart(fsys, p); n.start == nil {
			return nil, failed("node", "nothing says how the app is started").
				Because("package.json has neither a start script nor a main file, and there is no server.js, index.js or app.js").
				WithHint(`add "start" to the scripts of package.json, or a Procfile with the line "web: node server.js"`)
		}
	}
	return n, nil
}

// nodeVersion is the major version that .nvmrc or engines.node ask for.
func nodeVersion(fsys fs.FS, p packageJSON) string {
	wanted := ""
	if data, ok, err := readSmall(fsys, ".nvmrc"); err == nil && ok {
		wanted = strings.TrimSpace(string(data))
	} else {
		var engines struct {
			Node string `json:"node"`
		}
		if json.Unmarshal(p.Engines, &engines) == nil {
			wanted = engines.Node
		}
	}
	// An upper bound alone names no version; neither does "lts/iron".
	if strings.HasPrefix(wanted, "<") || strings.HasPrefix(wanted, "lts") {
		return ""
	}
	if m := nodeMajorRE.FindStringSubmatch(wanted); m != nil {
		return m[1]
	}
	return ""
}

// nodeStart is how the app is started, without npm in between where that is
// possible: npm does not pass SIGTERM on reliably.
func nodeStart(fsys fs.FS, p packageJSON) []string {
	script := strings.TrimSpace(p.Scripts["start"])
	if script != "" {
		if m := nodeFileRE.FindStringSubmatch(script); m == nil && p.Scripts["prestart"]+p.Scripts["poststart"] != "" {
			return []string{"npm", "start"}
		}
		return argv(script)
	}
	if p.Main != "" && exists(fsys, strings.TrimPrefix(p.Main, "./")) {
		return []string{"node", p.Main}
	}
	for _, f := range []string{"server.js", "index.js", "app.js", "server.mjs", "index.mjs"} {
		if exists(fsys, f) {
			return []string{"node", f}
		}
	}
	return nil
}

func (n *nodeApp) notes() []string { return n.remarks }

func (n *nodeApp) bases() []string {
	fallback := "node:" + defaultNode + "-slim"
	if n.version == "" || n.version == defaultNode {
		return []string{fallback}
	}
	return []string{"node:" + n.version + "-slim", fallback}
}

func (n *nodeApp) dockerfile(e Engine, base string) string {
	d := newDockerText(e)
	if n.install || n.build {
		n.buildStage(d, base)
	}
	d.line("FROM %s", base)
	d.run(ownFolder)
	d.line("WORKDIR /app")
	d.line("ENV NODE_ENV=production HOME=/app PATH=/app/node_modules/.bin:$PATH")
	if n.install || n.build {
		d.line("COPY --from=build --chown=1000:1000 /app ./")
	} else {
		d.line("COPY --chown=1000:1000 . .")
	}
	d.line("USER 1000:1000")
	d.start(n.start)
	return d.String()
}

// buildStage installs with development dependencies, builds, and drops them.
func (n *nodeApp) buildStage(d *dockerText, base string) {
	d.line("FROM %s AS build", base)
	d.line("WORKDIR /app")
	if n.install {
		if n.manager.setup != "" {
			d.run(n.manager.setup)
		}
		d.line("COPY %s ./", strings.TrimSpace("package.json "+n.manager.lock))
		d.run(n.manager.install, n.manager.cache)
	}
	d.line("COPY . .")
	if n.build {
		d.run("npm run build")
	}
	if n.install {
		d.run(n.manager.prune, n.manager.cache)
	}
	d.line("")
}
