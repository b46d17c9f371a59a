package builder

import (
	"fmt"
	"io/fs"
	"strings"

	"paas/cluster"
)

// A recipe writes the Dockerfile of one kind of app.
type recipe interface {
	// bases are the images that the Dockerfile may begin with, the best first; the
	// last is the one to fall back to.
	bases() []string
	// dockerfile is the text for one of the engine's builders, on base.
	dockerfile(e Engine, base string) string
	// notes tell the pusher what was decided or ignored.
	notes() []string
}

// recipeFor plans a tree that has no Dockerfile of its own.
func (s settings) recipeFor(fsys fs.FS, app cluster.AppName, d Detection) (recipe, error) {
	switch d.Method {
	case MethodGo:
		return s.planGo(fsys, app)
	case MethodNode:
		return s.planNode(fsys)
	case MethodPython:
		return s.planPython(fsys)
	}
	return nil, fmt.Errorf("no recipe for method %q", d.Method)
}

// headline announces a method to the pusher.
func (d Detection) headline() string {
	switch d.Method {
	case MethodDockerfile:
		return fmt.Sprintf("Building with %s (%s)", d.Dockerfile, d.Reason)
	case MethodImage:
		return fmt.Sprintf("Using a prebuilt image (%s)", d.Reason)
	case MethodStatic:
		return fmt.Sprintf("Static site detected (%s)", d.Reason)
	}
	return fmt.Sprintf("%s app detected (%s)", languages[d.Method], d.Reason)
}

var languages = map[Method]string{MethodGo: "Go", MethodNode: "Node", MethodPython: "Python"}

// dockerText writes a Dockerfile.
type dockerText struct {
	b      strings.Builder
	mounts bool // BuildKit: cache mounts
}

func newDockerText(e Engine) *dockerText { return &dockerText{mounts: e == EngineBuildKit} }

// line writes instructions, one per line; an empty one separates stages.
func (d *dockerText) line(format string, args ...any) {
	fmt.Fprintf(&d.b, format+"\n", args...)
}

// run writes a RUN with the given cache folders.
func (d *dockerText) run(command string, caches ...string) {
	d.b.WriteString("RUN ")
	if d.mounts {
		for _, c := range caches {
			fmt.Fprintf(&d.b, "--mount=type=cache,target=%s \\\n    ", c)
		}
	}
	d.b.WriteString(command + "\n")
}

// ownFolder lets the app's user write into the app's folder; WORKDIR alone would
// make it root's.
const ownFolder = "install -d -o 1000 -g 1000 /app"

// start writes what every generated image ends with.
func (d *dockerText) start(command []string) {
	d.line("ENV PORT=%d", cluster.DefaultPort)
	d.line("EXPOSE %d", cluster.DefaultPort)
	if len(command) > 0 {
		d.line("CMD %s", jsonArray(command))
	}
}

// String is the Dockerfile.
func (d *dockerText) String() string { return d.b.String() }

// jsonArray writes a vector as Dockerfiles want it.
func jsonArray(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + `"`
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
