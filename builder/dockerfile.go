package builder

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"paas/cluster"
)

// dockerfileRules are what a Dockerfile may ask for beyond its own steps. The
// engine serves some instructions by itself, with the host's network and the
// host's images, and would do so for everybody who may push.
type dockerfileRules struct {
	file string            // its name, for errors
	args map[string]string // build arguments
	// hostNetwork is set where the operator lent builds the host's own network:
	// what the engine fetches is then nothing that a step could not.
	hostNetwork bool
	// modern is set for engines whose own frontend knows here-documents.
	modern bool
	// ours reports whether an image is one of the product's.
	ours func(ref string) bool
}

// dockerfileUse is the images that a Dockerfile names.
type dockerfileUse struct {
	bases []string // FROM: their ONBUILD instructions run, too
	other []string // COPY --from and RUN --mount
}

// dockerfileReader checks one Dockerfile.
type dockerfileReader struct {
	dockerfileRules
	dockerfileUse
	lex    *shell.Lex
	args   map[string]string // known to FROM
	stages map[string]bool
	line   int
	begun  bool // a FROM was read
}

// dockerfileLimit bounds a Dockerfile; real ones have a few kilobytes.
const dockerfileLimit = 1 << 20

// readDockerfile returns the tree's own Dockerfile.
func readDockerfile(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, failed("dockerfile", "cannot read %s", name).Wrap(err)
	}
	if info.Size() > dockerfileLimit {
		return nil, failed("dockerfile", "%s is larger than %s", name, humanBytes(dockerfileLimit))
	}
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, failed("dockerfile", "cannot read %s", name).Wrap(err)
	}
	return text, nil
}

// check reads a Dockerfile as its build will. It refuses what asks the engine to
// reach where the build's own steps cannot. A here-document is refused where it
// is not known: its text would be instructions that were not checked.
func (r dockerfileRules) check(text []byte) (dockerfileUse, error) {
	named, err := r.syntax(text)
	if err != nil {
		return dockerfileUse{}, err
	}
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return dockerfileUse{}, failed("dockerfile", "%s cannot be read", r.file).Because("%s", cleanLine(err.Error())).Wrap(err)
	}
	d := &dockerfileReader{dockerfileRules: r, lex: shell.NewLex(parsed.EscapeToken), args: platformArgs(), stages: map[string]bool{}}
	for _, n := range parsed.AST.Children {
		d.line = n.StartLine
		if err := d.instruction(n); err != nil {
			return dockerfileUse{}, err
		}
		if len(n.Heredocs) > 0 && !r.heredocs(named) {
			return dockerfileUse{}, d.refuse("here-documents are not known to this engine").WithHint("begin the file with: # syntax=docker/dockerfile:1")
		}
	}
	return d.dockerfileUse, nil
}

// checkTriggers reads the ONBUILD instructions of a base image.
func (r dockerfileRules) checkTriggers(base string, triggers []string) (dockerfileUse, error) {
	r.file = "an ONBUILD of image " + base
	var use dockerfileUse
	for _, t := range triggers {
		one, err := r.check([]byte(t))
		if err != nil {
			return use, err
		}
		use.other = append(use.other, one.other...)
	}
	return use, nil
}

func platformArgs() map[string]string {
	p := "linux/" + runtime.GOARCH
	return map[string]string{
		"BUILDPLATFORM": p, "BUILDOS": "linux", "BUILDARCH": runtime.GOARCH, "BUILDVARIANT": "",
		"TARGETPLATFORM": p, "TARGETOS": "linux", "TARGETARCH": runtime.GOARCH, "TARGETVARIANT": "",
	}
}

// syntaxRE finds every spelling of the directive that some engine honours.
var syntaxRE = regexp.MustCompile(`(?i)^[\s\x{feff}]*(?:#|//)\s*syntax\s*=\s*(\S+)`)

// frontendRE is the Dockerfile frontend's own images.
var frontendRE = regexp.MustCompile(`^(docker\.io/)?docker/dockerfile(-upstream)?([:@][a-zA-Z0-9._:-]+)?$`)

// heredocRE is the frontend's tags that know here-documents.
var heredocRE = regexp.MustCompile(`^(docker\.io/)?docker/dockerfile(-upstream)?(:(latest|labs|master|1(\.([4-9]|[1-9][0-9]+)(\.[0-9]+)?)?(-labs)?))?$`)

func (r dockerfileRules) heredocs(syntax string) bool {
	return syntax == "" && r.modern || heredocRE.MatchString(syntax)
}

// syntax returns the frontend that a Dockerfile names. It refuses programs of
// others in its place: they run inside the builder and choose freely what it does.
func (r dockerfileRules) syntax(text []byte) (string, error) {
	named, _, _, _ := parser.DetectSyntax(text)
	all := []string{named}
	for line := range strings.Lines(string(text)) {
		if m := syntaxRE.FindStringSubmatch(line); m != nil {
			all = append(all, m[1])
		} else if t := strings.TrimSpace(line); t != "" && !strings.HasPrefix(t, "#") && !strings.HasPrefix(t, "//") {
			break
		}
	}
	for _, name := range all {
		if name != "" && !frontendRE.MatchString(name) {
			return "", failed("dockerfile", "%s: syntax %s is not allowed here", r.file, shorten(name)).
				Because("a frontend runs inside the builder itself").WithHint("use docker/dockerfile, or remove the line")
		}
	}
	return named, nil
}

func (d *dockerfileReader) instruction(n *parser.Node) error {
	words := following(n)
	switch strings.ToLower(n.Value) {
	case "arg":
		d.arg(words)
	case "from":
		return d.from(words, n.Flags)
	case "add":
		if err := d.add(words); err != nil {
			return err
		}
		return d.flags(n.Flags)
	case "copy", "run":
		return d.flags(n.Flags)
	case "onbuild":
		if n.Next != nil && len(n.Next.Children) > 0 {
			return d.instruction(n.Next.Children[0])
		}
	}
	return nil
}

// following are the words after an instruction.
func following(n *parser.Node) []string {
	var words []string
	for w := n.Next; w != nil; w = w.Next {
		words = append(words, w.Value)
	}
	return words
}

// arg learns what FROM may use: only what comes before the first one.
func (d *dockerfileReader) arg(words []string) {
	if d.begun {
		return
	}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		if given, ok := d.dockerfileRules.args[name]; ok {
			value = given
		} else if expanded, err := d.expand(value); err == nil {
			value = expanded
		}
		d.args[name] = value
	}
}

func (d *dockerfileReader) expand(word string) (string, error) {
	var env []string
	for k, v := range d.args {
		env = append(env, k+"="+v)
	}
	out, _, err := d.lex.ProcessWord(word, shell.EnvsFromSlice(env))
	return out, err
}

func (d *dockerfileReader) from(words, flags []string) error {
	d.begun = true
	if len(words) == 0 {
		return nil
	}
	for _, f := range flags {
		if name, value, _ := strings.Cut(unquoted(f), "="); name == "--platform" {
			if p, err := d.expand(value); err != nil || !samePlatform(p) {
				return d.refuse("platform %s is not this host's", shorten(value)).WithHint("leave --platform out, or use --platform=$BUILDPLATFORM")
			}
		}
	}
	ref, err := d.expand(words[0])
	if err != nil {
		return d.refuse("FROM %s cannot be read", shorten(words[0])).Because("%s", cleanLine(err.Error())).Wrap(err)
	}
	if err := d.image(ref); err != nil {
		return err
	}
	if ref != "scratch" && !d.stages[strings.ToLower(ref)] {
		d.bases = append(d.bases, ref)
	}
	if len(words) == 3 && strings.EqualFold(words[1], "as") {
		d.stages[strings.ToLower(words[2])] = true
	}
	return nil
}

// samePlatform reports whether images of a platform run here without emulation.
func samePlatform(p string) bool {
	arch := map[string]string{"x86_64": "amd64", "aarch64": "arm64"}
	parts := strings.Split(strings.ToLower(p), "/")
	if a, ok := arch[parts[len(parts)-1]]; ok {
		parts[len(parts)-1] = a
	}
	switch {
	case p == "" || len(parts) == 1:
		return p == "" || parts[0] == "linux" || parts[0] == "local" || parts[0] == runtime.GOARCH
	default:
		return parts[0] == "linux" && parts[1] == runtime.GOARCH
	}
}

// remoteStarts begin the sources that ADD fetches.
var remoteStarts = []string{"http://", "https://", "git://", "ssh://", "git@", "github.com/"}

// remoteRE is every URL and git's user@host:path.
var remoteRE = regexp.MustCompile(`^([a-z0-9+.-]+://|[a-z0-9_.-]+@[a-z0-9_.-]+:)`)

// add refuses sources that the engine would fetch, over the host's network: its
// loopback services and the cloud's metadata answer there, and a redirect leads
// there from anywhere. A variable may hold what a base image says, so a source
// that begins with one can be anything.
func (d *dockerfileReader) add(words []string) error {
	if d.hostNetwork || len(words) == 0 {
		return nil
	}
	for _, source := range words[:len(words)-1] {
		known, _, variable := strings.Cut(strings.ToLower(unquoted(source)), "$")
		if remoteRE.MatchString(known) || slices.ContainsFunc(remoteStarts, func(s string) bool { return strings.HasPrefix(known, s) }) {
			return d.refuse("ADD of %s is not allowed here", shorten(source)).
				Because("the engine would fetch it from the host's own network, not from the build's").
				WithHint("fetch it in a step, RUN curl -fsSLO …, or put the file into the repository")
		}
		if variable && slices.ContainsFunc(remoteStarts, func(s string) bool { return strings.HasPrefix(s, known) }) {
			return d.refuse("ADD of %s is not allowed here", shorten(source)).
				Because("the variable may hold a URL, which the engine would fetch from the host's own network").
				WithHint("begin a file's name with ./")
		}
	}
	return nil
}

// unquoted is a word without quotes and escapes, for comparing with names that
// have none.
func unquoted(word string) string {
	return strings.NewReplacer(`"`, "", `'`, "", `\`, "", "`", "").Replace(word)
}

// flags refuses what a step may not ask for.
func (d *dockerfileReader) flags(flags []string) error {
	for _, f := range flags {
		name, value, _ := strings.Cut(unquoted(f), "=")
		switch name = strings.ToLower(name); {
		case name == "--from":
			if err := d.source(value); err != nil {
				return err
			}
		case name == "--mount":
			for _, field := range strings.Split(value, ",") {
				if key, from, _ := strings.Cut(strings.TrimSpace(field), "="); strings.EqualFold(strings.TrimSpace(key), "from") {
					if err := d.source(strings.TrimSpace(from)); err != nil {
						return err
					}
				}
			}
		case name == "--network" && !strings.EqualFold(value, "none") && !strings.EqualFold(value, "default") && !d.hostNetwork,
			name == "--security" && !strings.EqualFold(value, "sandbox"), name == "--device":
			return d.refuse("%s is not allowed here", shorten(f)).Because("a build has no rights on its host").WithHint("remove it")
		}
	}
	return nil
}

// source is a stage or image to copy from.
func (d *dockerfileReader) source(ref string) error {
	if strings.Contains(ref, "$") {
		return d.refuse("from %s cannot be read", shorten(ref)).Because("a variable cannot name what to copy from").
			WithHint("give the image a stage of its own: FROM … AS name")
	}
	if err := d.image(ref); err != nil {
		return err
	}
	if _, err := strconv.Atoi(ref); err != nil && !d.stages[strings.ToLower(ref)] {
		d.other = append(d.other, ref)
	}
	return nil
}

// image refuses the product's own images: the engine has all apps' of them and
// asks for no password.
func (d *dockerfileReader) image(ref string) error {
	if !d.ours(ref) {
		return nil
	}
	return d.refuse("image %s is not yours to build on", shorten(ref)).Because("%s", ownedElsewhere).WithHint(publishHint)
}

// Said of images of this cluster's registry.
const (
	ownedElsewhere = "images of this cluster's registry belong to its apps"
	publishHint    = "publish what apps share in a registry of your own"
)

func (d *dockerfileReader) refuse(format string, args ...any) *cluster.Error {
	return failed("dockerfile", "%s line %d: %s", d.file, d.line, fmt.Sprintf(format, args...))
}
