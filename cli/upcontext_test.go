package cli

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"paas/cluster"
)

// state makes a data directory that counts as one.
func stateIn(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "cluster.cbor", "x")
	return dir
}

func TestEveryDataDirectoryHasItsOwnContext(t *testing.T) {
	top := t.TempDir()
	files := settings{filepath.Join(top, "home")}
	clone, usual := stateIn(t, filepath.Join(top, "clone")), stateIn(t, filepath.Join(top, "usual"))
	for _, step := range []struct{ dir, server, name, before string }{
		{clone, "https://127.0.0.1:1", "dev", ""},
		{usual, "https://127.0.0.1:2", "dev-2", "dev"},
		{clone, "https://127.0.0.1:3", "dev", "dev-2"}, // again, on another port
		{clone, "https://127.0.0.1:3", "dev", ""},
	} {
		at := &target{server: step.server, data: step.dir, token: "paas_x", ca: "CA of " + step.dir}
		before, err := files.claim(at)
		if err != nil || at.name != step.name || before != step.before {
			t.Fatalf("%s: context %q before %q, want %q before %q; %v", step.dir, at.name, before, step.name, step.before, err)
		}
		if now, err := files.lookup(""); err != nil || now.name != step.name || now.server != step.server || now.ca != at.ca {
			t.Fatalf("%s: the current context is %+v, %v", step.dir, now, err)
		}
	}
	if other, err := files.lookup("dev-2"); err != nil || other.server != "https://127.0.0.1:2" {
		t.Fatalf("the other cluster's context: %+v, %v", other, err)
	}
}

func TestAContextOfAPersonsOwnIsNotTaken(t *testing.T) {
	top := t.TempDir()
	files := settings{filepath.Join(top, "home")}
	dir := stateIn(t, filepath.Join(top, "data"))
	if err := files.put(&target{name: "dev", server: "https://dev.example.com:7443"}, makeCurrent); err != nil {
		t.Fatal(err)
	}
	at := &target{server: "https://127.0.0.1:1", data: dir}
	if before, err := files.claim(at); err != nil || at.name != "dev-2" || before != "dev" {
		t.Fatalf("context %q before %q, %v", at.name, before, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	next := &target{server: "https://127.0.0.1:2", data: stateIn(t, filepath.Join(top, "next"))}
	if _, err := files.claim(next); err != nil || next.name != "dev-2" {
		t.Fatalf("the name of a state that is gone is not free: %q, %v", next.name, err)
	}
}

func TestUpOnARunningClusterWritesItsContextAnew(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "data")
	s := runServerIn(t, dir)
	files := settings{filepath.Join(top, "home")}
	r := &upRecord{Data: dir, Listen: s.Addr().String(), Context: "dev", PID: os.Getpid(), Began: beginOf(os.Getpid()), Ready: true}
	if err := errors.Join(r.write(dir), (&host{server: s}).writeContext(t.Context(), files, r)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(accessFile(dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("what the next one needs: %v, %v", info, err)
	}
	token := r.mustLookup(t, files).token
	if err := errors.Join(files.drop("dev"), files.put(&target{name: "prod", server: "https://prod.example.com:7443"}, makeCurrent)); err != nil {
		t.Fatal(err)
	}
	out, errs := &bytes.Buffer{}, &bytes.Buffer{}
	env := func(k string) string { return map[string]string{"PAAS_HOME": files.dir, "LANG": "C.UTF-8"}[k] }
	in := &invocation{program: &program{out: newOutput(out, errs, env), env: env}, Context: cli.NewContext(&cli.App{}, flag.NewFlagSet("up", flag.ContinueOnError), nil)}
	if err := in.alreadyUp(t.Context(), dir, r); err != nil {
		t.Fatal(err)
	}
	if now := r.mustLookup(t, files); now.name != "dev" || now.token != token || now.data != dir {
		t.Fatalf("the context is %+v", now)
	}
	for _, want := range []string{`context "dev" is the current one now`, "paas context use prod"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the greeting lacks %q:\n%s", want, out)
		}
	}
	if err := errors.Join(files.drop("dev"), os.Remove(accessFile(dir))); err != nil {
		t.Fatal(err)
	}
	if err := in.alreadyUp(t.Context(), dir, r); err == nil || !strings.Contains(asError(err).Hint, "paas down --data") {
		t.Fatalf("without any token: %v", err)
	}
}

func (r *upRecord) mustLookup(t *testing.T, files settings) *target {
	t.Helper()
	now, err := files.lookup("")
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func TestPurgeForgetsItsContextsAndFallsBack(t *testing.T) {
	top := t.TempDir()
	files := settings{filepath.Join(top, "home")}
	env := func(k string) string { return map[string]string{"PAAS_HOME": files.dir}[k] }
	running, other := stateIn(t, filepath.Join(top, "running")), stateIn(t, filepath.Join(top, "other"))
	me := &upRecord{PID: os.Getpid(), Began: beginOf(os.Getpid()), Listen: "127.0.0.1:1"}
	if err := me.write(running); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*target{{name: "prod", server: "https://prod:1"}, {name: "dev", server: "https://127.0.0.1:1", data: running}, {name: "dev-2", server: "https://127.0.0.1:2", data: other}} {
		if err := files.put(x, makeCurrent); err != nil {
			t.Fatal(err)
		}
	}
	in := &invocation{program: &program{env: env}}
	if who := in.holder("127.0.0.1:1"); who != `the paas of context "dev" (`+running+")" {
		t.Errorf("who listens: %s", who)
	}
	if gone, current, err := dropContext(env, other); err != nil || len(gone) != 1 || gone[0] != "dev-2" || current != "dev" {
		t.Fatalf("gone %v, current %q, %v", gone, current, err)
	}
	if err := errors.Join(files.put(&target{name: "stage", server: "https://stage:1"}, keepCurrent), files.drop("dev")); err != nil {
		t.Fatal(err)
	}
	_, err := files.lookup("")
	if exitCode(err) != exitLogin || asError(err).Hint != "choose one: paas context use prod\nchoose one: paas context use stage" {
		t.Fatalf("two that are elsewhere: %v, %q", err, asError(err).Hint)
	}
}

func TestTheGreetingsCommandsWorkWhereTheyAreRead(t *testing.T) {
	dir := t.TempDir()
	exe := filepath.Join(dir, "bin", "paas")
	if err := os.MkdirAll(filepath.Dir(exe), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Dir(exe), "paas", "x")
	writeFile(t, dir, "paas", "another")
	find := func(path string, err error) func(string) (string, error) {
		return func(string) (string, error) { return path, err }
	}
	for what, c := range map[string]struct {
		exe, found  string
		setup, name string
	}{
		"in PATH":             {exe, exe, "", "paas"},
		"not in PATH":         {exe, "", "export PATH=" + filepath.Dir(exe) + ":$PATH", "paas"},
		"another one in PATH": {exe, filepath.Join(dir, "paas"), "export PATH=" + filepath.Dir(exe) + ":$PATH", "paas"},
		"of another name":     {filepath.Join(dir, "paas-new"), "", "", filepath.Join(dir, "paas-new")},
	} {
		var none error
		if c.found == "" {
			none = os.ErrNotExist
		}
		if setup, name := callable(c.exe, find(c.found, none)); setup != c.setup || name != c.name {
			t.Errorf("%s: %q, %q", what, setup, name)
		}
	}
	got := freeSample(map[cluster.AppName]bool{"hello": true}, func(name string) bool { return name == "hello-2" })
	if got != "hello-3" {
		t.Errorf("a free sample: %s", got)
	}
}

func TestDoctorAndDownLookAtTheClusterThatIsMeant(t *testing.T) {
	top := t.TempDir()
	for k, v := range map[string]string{"HOME": top, "XDG_DATA_HOME": "", "PAAS_HOME": filepath.Join(top, "home"), "PAAS_CONTEXT": ""} {
		t.Setenv(k, v)
	}
	files, clone := settings{filepath.Join(top, "home")}, stateIn(t, filepath.Join(top, "clone"))
	if err := files.put(&target{name: "dev", server: "https://127.0.0.1:1", data: clone}, makeCurrent); err != nil {
		t.Fatal(err)
	}
	p := &program{root: verbs(), env: os.Getenv, out: newOutput(io.Discard, io.Discard, os.Getenv)}
	a, err := arrange(p.root, []string{"doctor"})
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.at(a)
	if err != nil {
		t.Fatal(err)
	}
	if dir, err := in.stateDir(); err != nil || dir != clone {
		t.Errorf("the doctor looks at %s, %v", dir, err)
	}
	me := &upRecord{PID: os.Getpid(), Began: beginOf(os.Getpid())}
	if err := me.write(clone); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := paasIn(t, "down"); code != exitOK || !strings.Contains(errs, "Nothing runs in") ||
		!strings.Contains(errs, "context dev runs; stop it: paas down --data "+clone+"\n") {
		t.Errorf("down beside another cluster that runs: exit %d\n%s", code, errs)
	}
}
