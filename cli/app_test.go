package cli

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"paas/cluster"
)

// inferIn runs the inference in dir with the given flags and environment.
func inferIn(t *testing.T, dir string, flags []string, env map[string]string) (inferred, error) {
	t.Helper()
	t.Chdir(dir)
	p := &program{root: verbs(), env: func(k string) string { return env[k] }, out: newOutput(io.Discard, io.Discard, func(string) string { return "" })}
	in, err := p.ps(flags)
	if err != nil {
		t.Fatal(err)
	}
	in.target = &target{name: "dev", server: "https://127.0.0.1:7443"}
	return in.inferApp(context.Background())
}

// ps is an invocation of "ps" with flags.
func (p *program) ps(flags []string) (*invocation, error) {
	a, err := arrange(p.root, append([]string{"ps"}, flags...))
	if err != nil {
		return nil, err
	}
	return p.at(a)
}

func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

func TestAppIsFoundInOrder(t *testing.T) {
	top := t.TempDir()
	repo := filepath.Join(top, "repo")
	sub := filepath.Join(repo, "a", "b")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, repo, "git", "init", "-q")
	run(t, repo, "git", "remote", "add", "paas", "https://127.0.0.1:7443/git/from-remote.git")
	run(t, repo, "git", "remote", "add", "origin", "git@github.com:x/y.git")
	run(t, repo, "git", "remote", "add", "staging", "https://192.0.2.1:7443/git/elsewhere.git")
	none := map[string]string{}
	steps := []struct {
		name   string
		do     func()
		flags  []string
		env    map[string]string
		want   cluster.AppName
		source string
	}{
		{name: "git remote", env: none, want: "from-remote", source: `git remote "paas"`},
		{name: "paas.toml of the root", do: func() { writeFile(t, repo, "paas.toml", "app = \"from-toml\"\n") }, env: none, want: "from-toml", source: "paas.toml"},
		{name: "paas.toml nearer by without a name", do: func() { writeFile(t, sub, "paas.toml", "") }, env: none, want: "from-toml", source: "paas.toml"},
		{name: "PAAS_APP", env: map[string]string{"PAAS_APP": "from-env"}, want: "from-env", source: "PAAS_APP"},
		{name: "--remote", flags: []string{"-r", "paas"}, env: map[string]string{"PAAS_APP": "from-env"}, want: "from-remote", source: `git remote "paas"`},
		{name: "--app", flags: []string{"-a", "from-flag", "-r", "paas"}, env: map[string]string{"PAAS_APP": "from-env"}, want: "from-flag", source: "--app"},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			if s.do != nil {
				s.do()
			}
			got, err := inferIn(t, sub, s.flags, s.env)
			if err != nil || got.app != s.want || got.source != s.source {
				t.Fatalf("got %+v, %v", got, err)
			}
		})
	}
}

func TestTwoAppsAreNamedBoth(t *testing.T) {
	repo := t.TempDir()
	run(t, repo, "git", "init", "-q")
	run(t, repo, "git", "remote", "add", "paas", "https://127.0.0.1:7443/git/blog.git")
	run(t, repo, "git", "remote", "add", "copy", "https://127.0.0.1:7443/git/blog.git")
	if got, err := inferIn(t, repo, nil, nil); err != nil || got.app != "blog" {
		t.Fatalf("two remotes of one app: %+v, %v", got, err)
	}
	run(t, repo, "git", "remote", "add", "staging", "https://127.0.0.1:7443/git/blog-staging.git")
	_, err := inferIn(t, repo, nil, nil)
	if exitCode(err) != exitUsage || !strings.Contains(asError(err).Hint, "-a blog\n") || !strings.Contains(asError(err).Hint, "-a blog-staging") {
		t.Fatalf("got %v (%s)", err, asError(err).Hint)
	}
}

func TestAppInferenceErrors(t *testing.T) {
	repo := t.TempDir()
	run(t, repo, "git", "init", "-q")
	if got, err := inferIn(t, repo, nil, nil); err != nil || got.app != "" {
		t.Fatalf("nothing to find: %+v, %v", got, err)
	}
	run(t, repo, "git", "remote", "add", "origin", "https://user:secret@example.com/x.git")
	if _, err := inferIn(t, repo, []string{"-r", "nosuch"}, nil); exitCode(err) != exitNotFound {
		t.Fatalf("unknown remote: %v", err)
	}
	if _, err := inferIn(t, repo, []string{"-r", "origin"}, nil); exitCode(err) != exitUsage || strings.Contains(err.Error(), "secret") {
		t.Fatalf("foreign remote: %v", err)
	}
	// What only a build needs does not stop other commands.
	writeFile(t, repo, "paas.toml", "app = \"blog\"\n[buid]\nx = 1\n")
	if got, err := inferIn(t, repo, nil, nil); err != nil || got.app != "blog" {
		t.Fatalf("paas.toml that does not build: %+v, %v", got, err)
	}
	writeFile(t, repo, "paas.toml", "app = \"blog\n")
	if _, err := inferIn(t, repo, nil, nil); exitCode(err) != exitUsage || !strings.Contains(asError(err).Message, "paas.toml") {
		t.Fatalf("broken paas.toml: %v", err)
	}
	// A paas.toml above a folder that is in no repository belongs to somebody else.
	outside := t.TempDir()
	inner := filepath.Join(outside, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, outside, "paas.toml", "app = \"above\"\n")
	if got, err := inferIn(t, inner, nil, nil); err != nil || got.app != "" {
		t.Fatalf("outside a repository: %+v, %v", got, err)
	}
}

func writeFile(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A paas.toml that cannot be read keeps nobody from looking at an app that the work
// tree's remote names.
func TestABrokenManifestStopsNobodyWhomARemoteLeads(t *testing.T) {
	repo := t.TempDir()
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	run(t, repo, "git", "init", "-q", "--template=")
	writeFile(t, repo, "paas.toml", "app = \"blog\n")
	_, err := inferIn(t, repo, nil, nil)
	if e := asError(err); e.Message != "the app's name was not read from paas.toml" || !strings.Contains(e.Reason, "line 1") || !strings.Contains(e.Hint, "-a NAME") {
		t.Fatalf("without a remote: %+v", e)
	}
	run(t, repo, "git", "remote", "add", "paas", "https://127.0.0.1:7443/git/shop.git")
	if got, err := inferIn(t, repo, nil, nil); err != nil || got.app != "shop" {
		t.Fatalf("with one: %+v, %v", got, err)
	}
}
