package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/server"
)

// bench is a person at a terminal: a cluster, a home, and a work tree.
type bench struct {
	t      *testing.T
	client *api.Client
	env    map[string]string
	top    string // of everything that commands could write to
	export string // the last that was asked for
	known  string // the same without what time alone changes
	files  string
}

// newBench runs a real server without an engine, and logs in to it.
func newBench(t *testing.T) *bench {
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	top := t.TempDir()
	b := &bench{t: t, top: filepath.Join(top, "person"), env: map[string]string{"HOME": filepath.Join(top, "person"),
		"PAAS_HOME": filepath.Join(top, "person", "paas"), "PAAS_APP": "blog", "LANG": "C.UTF-8", "USER": "maria", "PATH": os.Getenv("PATH")}}
	for k, v := range map[string]string{"HOME": b.env["HOME"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CEILING_DIRECTORIES": top} {
		t.Setenv(k, v)
	}
	s := runServerIn(t, filepath.Join(top, "data"))
	token, err := s.NewAdminToken(t.Context(), "maria")
	if err != nil {
		t.Fatal(err)
	}
	at := &target{name: "test", server: "https://" + s.Addr().String(), token: cluster.Redacted(token), ca: s.CAPEM()}
	if err := (settings{b.env["PAAS_HOME"]}).put(at, makeCurrent); err != nil {
		t.Fatal(err)
	}
	if b.client, err = api.NewClient(api.ClientConfig{URL: at.server, Token: at.token, TLS: identity.PinnedConfig(at.ca), Version: "test"}); err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(b.top, "tree")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(tree)
	run(t, tree, "git", "init", "-q", "--template=")
	writeFile(t, tree, ".env", "LEVEL=info\n")
	for _, line := range []string{"apps create blog", "apps create shop --no-remote", "config set SECRET=hunter2", "domains add shop.example.com",
		"volumes create data", "volumes attach data /data", "volumes create spare"} {
		if code, out := b.run(strings.Fields(line)); code != 0 {
			t.Fatalf("paas %s: %d %s", line, code, out)
		}
	}
	b.known, b.files = b.state(), b.fingerprint()
	return b
}

func runServerIn(t *testing.T, dir string) *server.Server {
	s, err := server.New(server.Config{Dir: dir, Listen: "127.0.0.1:0", Name: "node-1", Version: version, PublicHTTPS: 8443})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.Ready():
	case <-time.After(time.Minute):
		t.Fatal("the server does not become ready")
	}
	return s
}

// run runs one command line, as Main does.
func (b *bench) run(words []string) (int, string) {
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	env := func(k string) string { return b.env[k] }
	p := &program{stdin: strings.NewReader(""), out: newOutput(&out, &errs, env), env: env, root: verbs()}
	err := p.run(ctx, words)
	p.out.show(err)
	return exitCode(err), errs.String()
}

// state is what the cluster knows, without what time alone changes.
func (b *bench) state() string {
	b.t.Helper()
	var out bytes.Buffer
	if err := b.client.Export(b.t.Context(), &out); err != nil {
		b.t.Fatal(err)
	}
	if out.String() == b.export {
		return b.known
	}
	b.export = out.String()
	var all map[string]any
	if err := json.Unmarshal(out.Bytes(), &all); err != nil {
		b.t.Fatal(err)
	}
	for _, k := range []string{"index", "events", "nodes"} {
		if _, ok := all[k]; !ok {
			b.t.Fatalf("the export has no %s", k)
		}
		delete(all, k)
	}
	text, err := json.Marshal(all)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// fingerprint is of every file that a command could have changed by mistake.
func (b *bench) fingerprint() string {
	b.t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(b.top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == ".lock" { // settings' own: it is made to look
			return err
		}
		sum := ""
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		_, err = fmt.Fprintf(&all, "%s %v %.12s\n", path, d.Type(), sum)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return all.String()
}

// judge says what is wrong with how a bad command line was answered; "" if it
// was refused as it has to be.
func (b *bench) judge(code int, said string) string {
	switch {
	case code == exitOK:
		b.known, b.files = b.state(), b.fingerprint()
		return "it was taken: " + said
	case code != exitUsage && code != exitNotFound && code != exitConflict:
		return fmt.Sprintf("exit %d: %s", code, said)
	case !strings.HasPrefix(said, "✗ ") && !strings.Contains(said, "\n✗ "):
		return "nothing says why: " + said
	case len(said) > 2048:
		return fmt.Sprintf("%d bytes of answer: %.300s", len(said), said)
	case strings.Contains(said, "hunter2") || strings.Contains(said, "internal") || strings.Contains(said, "goroutine"):
		return "it tells too much: " + said
	case !utf8.ValidString(said) || strings.ContainsFunc(said, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r >= 0x202a && r <= 0x202e }):
		return fmt.Sprintf("unprintable: %q", said)
	}
	if now := b.state(); now != b.known {
		b.known = now
		return "and yet the cluster changed: " + said
	}
	if now := b.fingerprint(); now != b.files {
		was := b.files
		b.files = now
		return fmt.Sprintf("and yet files changed: %s\n%s\n%s", said, was, now)
	}
	return ""
}

// The bad lines are made from the live tree of commands, so a new command, flag or
// argument is among them by itself.
func TestBadInputOfEveryCommandChangesNothing(t *testing.T) {
	b := newBench(t)
	sent, tolerated := 0, 0
	commands := map[string]bool{}
	var walk func(v *verb)
	walk = func(v *verb) {
		for _, s := range v.verbs {
			walk(s)
		}
		path := v.path()
		if v.run == nil {
			return
		}
		commands[path] = true
		t.Run(path, func(t *testing.T) {
			base, ok := goodLines[path]
			if !ok {
				t.Fatalf("paas %s has no line in goodLines: add one that would work", path)
			}
			for _, l := range badLines(v, base) {
				if tamed(l) != "" {
					tolerated++
					continue
				}
				sent++
				if wrong := b.judge(b.run(l.words)); wrong != "" {
					t.Errorf("paas %s: %s = %s\n\t%.700s", path, l.field, shown(l.value), wrong)
				}
			}
		})
	}
	walk(verbs())
	for path := range goodLines {
		if !commands[path] {
			t.Errorf("goodLines: there is no command %s", path)
		}
	}
	t.Logf("%d commands, %d bad lines; %d more are not bad", len(commands), sent, tolerated)
}

// badLines returns every bad variant of a line that would work.
func badLines(v *verb, base []string) []*badLine {
	var out []*badLine
	path := strings.Fields(v.path())
	add := func(field, value string, words ...string) {
		out = append(out, &badLine{path: v.path(), field: field, value: value, words: slices.Concat(path, words)})
	}
	if len(v.verbs) == 0 && len(base) == 0 && v.takes.max == 0 {
		for _, value := range few {
			add("argument", value, "--", value)
		}
	}
	for i, word := range base {
		if v.takes.max == 0 || strings.HasPrefix(word, "-") || i > 0 && base[i-1] == "--" && v.belongs != noHandover {
			continue
		}
		for _, put := range shapes(v.path()) {
			for _, value := range hostile {
				// "--" keeps a leading dash from being a flag; what would be one is below.
				words := slices.DeleteFunc(slices.Clone(base), func(w string) bool { return w == "--" || w == word })
				add(fmt.Sprintf("argument %d%s", i, put.name), value, append(append(flagsOf(words), "--"), append([]string{put.in(value)}, argsOf(words)...)...)...)
			}
		}
	}
	for _, word := range unknownFlags {
		add("flag", word, append([]string{word}, base...)...)
	}
	for _, f := range v.allFlags() {
		name := f.Names()[0]
		rest := slices.DeleteFunc(slices.Clone(base), func(w string) bool { return strings.HasPrefix(w, "--"+name+"=") })
		for _, put := range shapes(v.path() + " --" + name) {
			for _, value := range valuesFor(v, f) {
				add("--"+name+put.name, value, append([]string{"--" + name + "=" + put.in(value)}, rest...)...)
			}
		}
	}
	return out
}

func flagsOf(words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !strings.HasPrefix(w, "-") })
}

func argsOf(words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return strings.HasPrefix(w, "-") })
}

// valuesFor is all that is hostile for a command's own flags; what all commands
// share is tried in full on one of them.
func valuesFor(v *verb, f cli.Flag) []string {
	shared := slices.Concat(appFlags(), serverFlags(), baseFlags(), waitFlags())
	isShared := slices.ContainsFunc(shared, func(s cli.Flag) bool { return s.Names()[0] == f.Names()[0] })
	own := slices.ContainsFunc(v.flags, func(o cli.Flag) bool { return o.Names()[0] == f.Names()[0] })
	values := hostile
	if isShared && !(own && v.needs < needsApp) && v.path() != "config set" {
		values = few
	}
	if _, ok := f.(*cli.DurationFlag); ok {
		values = slices.Concat(values, []string{"-1s", "-0.5h", "9999999h", "1d", "5"})
	}
	return values
}
