package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// folder writes files into a new folder and opens it.
func folder(t testing.TB, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// names lists what a tar holds.
func names(t testing.TB, r io.Reader) []string {
	t.Helper()
	var out []string
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s has an owner", h.Name)
		}
		out = append(out, h.Name)
	}
}

// packed lists and writes a tree.
func packed(t *testing.T, root *os.Root, spec treeSpec) []string {
	t.Helper()
	tr, err := listTree(t.Context(), root, spec, Limits{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tr.writeTo(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	all := names(t, &b)
	if len(all) == 0 || all[0] != "./" {
		t.Fatalf("the tar begins with %q, want the root folder", all)
	}
	return all[1:]
}

func TestContext(t *testing.T) {
	root := folder(t, map[string]string{
		"Dockerfile": "", "a.txt": "", "log/x.log": "", "log/keep.log": "", "node_modules/m/x.js": "", "src/.env": "", "src/main.go": "",
		".dockerignore": "# nothing of\nnode_modules\n**/.env\nlog/*\n!log/keep.log\nDockerfile\n",
	})
	got := packed(t, root, treeSpec{dir: ".", keep: []string{"Dockerfile", dockerIgnoreFile}, extra: map[string][]byte{".paas.Dockerfile": []byte("FROM x")}})
	want := []string{".dockerignore", "Dockerfile", "a.txt", "log/", "log/keep.log", "src/", "src/main.go", ".paas.Dockerfile"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestContextOfAFolder(t *testing.T) {
	root := folder(t, map[string]string{"public/index.html": "", "public/.git/x": "", "public/.well-known/a": "", "public/Procfile": "", "paas.toml": "", ".dockerignore": "*"})
	got := packed(t, root, treeSpec{dir: "public", under: "site", skip: func(n string) bool { return !inSite("public", n) }})
	want := []string{"site/.well-known/", "site/.well-known/a", "site/Procfile", "site/index.html"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	root = folder(t, map[string]string{"index.html": "", "paas.toml": "", "Procfile": "", "app.json": "", "docs/Procfile": "", ".env": ""})
	got = packed(t, root, treeSpec{dir: ".", under: "site", skip: func(n string) bool { return !inSite(".", n) }})
	if diff := cmp.Diff([]string{"site/docs/", "site/docs/Procfile", "site/index.html"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestContextIsReproducible(t *testing.T) {
	files := map[string]string{"b": "2", "a/c": "1", "a/d": "3"}
	var first []byte
	for range 2 {
		root := folder(t, files)
		for name := range files {
			if err := root.Chtimes(name, time.Unix(5, 0), time.Unix(5, 7)); err != nil {
				t.Fatal(err)
			}
		}
		if err := root.Chtimes("a", time.Unix(5, 0), time.Unix(5, 0)); err != nil {
			t.Fatal(err)
		}
		tr, err := listTree(t.Context(), root, treeSpec{dir: "."}, Limits{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := tr.writeTo(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, b.Bytes()) {
			t.Error("equal trees gave different bytes")
		}
		first = b.Bytes()
	}
}

// Engines decide by the first kilobyte what they were sent.
func TestContextBeginsLikeATar(t *testing.T) {
	for _, name := range []string{"\u00c4pfel.txt", "\xff\xfe.txt", strings.Repeat("n", 200)} {
		tr, err := listTree(t.Context(), folder(t, map[string]string{name: "x", "\u00f6.txt": "y"}), treeSpec{dir: "."}, Limits{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := tr.writeTo(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if _, err := tar.NewReader(bytes.NewReader(b.Bytes()[:1024])).Next(); err != nil {
			t.Errorf("%q: the first kilobyte is no tar: %v", name, err)
		}
	}
}

func TestContextRefuses(t *testing.T) {
	spec := treeSpec{dir: "."}
	for name, c := range map[string]struct {
		link   string
		limits Limits
		ignore string
		want   string
	}{
		"leaving link":  {link: "../../etc/passwd", want: "leaves the source tree"},
		"absolute link": {link: "/etc/passwd", want: "leaves the source tree"},
		"too many":      {limits: Limits{Files: 2}, want: "more than 2 files"},
		"too large":     {limits: Limits{ContextBytes: 3}, want: "larger than"},
		"bad pattern":   {ignore: "[a-", want: ".dockerignore"},
	} {
		t.Run(name, func(t *testing.T) {
			root := folder(t, map[string]string{"a": "11", "b": "22", "c": "33"})
			if c.link != "" {
				if err := os.Symlink(c.link, filepath.Join(root.Name(), "l")); err != nil {
					t.Fatal(err)
				}
			}
			if c.ignore != "" {
				if err := root.WriteFile(dockerIgnoreFile, []byte(c.ignore), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			_, err := listTree(t.Context(), root, spec, c.limits.withDefaults())
			refusal(t, err, c.want)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := listTree(ctx, folder(t, nil), spec, Limits{}.withDefaults()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestContextFileReplacedByALink swaps a file for a link that leaves the tree
// after it was listed.
func TestContextFileReplacedByALink(t *testing.T) {
	root := folder(t, map[string]string{"a": "12345678"})
	tr, err := listTree(t.Context(), root, treeSpec{dir: "."}, Limits{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(root.Name(), "a")); err != nil {
		t.Fatal(err)
	}
	if err := tr.writeTo(t.Context(), io.Discard); err == nil {
		t.Error("a file outside the tree was sent")
	}
}

func FuzzDockerIgnore(f *testing.F) {
	for _, s := range []string{"*", "!a", "**/x\n!y/**", "[a-", "a/../b", "\\", "/a/", "# c\n \n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, patterns string) {
		root := folder(t, map[string]string{"Dockerfile": "", "a/b/c": "", "x": "", ".dockerignore": patterns})
		tr, err := listTree(t.Context(), root, treeSpec{dir: ".", keep: []string{"Dockerfile"}}, Limits{}.withDefaults())
		if err != nil {
			refusal(t, err)
			return
		}
		for _, file := range tr.files {
			if file.name == "Dockerfile" {
				return
			}
		}
		t.Fatalf("%q takes the Dockerfile away", patterns)
	})
}

func TestArchive(t *testing.T) {
	root := folder(t, map[string]string{
		"a.go": "", "b.log": "", "keep.log": "", "build/out": "", "src/build/x": "", "src/tmp/y": "", "src/sub/tmp/z": "", ".git/HEAD": "",
		"secret/k": "", "logs/d/debug.txt": "", "docs/a.txt": "", "docs/sub/b.txt": "", "space ": "", "x#y": "",
		".gitignore":     "# comment\n*.log\n!keep.log\n/build/\nlogs/**/debug.txt\ndocs/*.txt\r\n",
		"src/.gitignore": "/tmp\n", ".paasignore": "secret\n",
	})
	var b bytes.Buffer
	if err := Archive(t.Context(), root.Name(), &b); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	if err := Unpack(t.Context(), &b, out, Limits{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := filepath.WalkDir(out, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(out, path)
			got = append(got, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".gitignore", ".paasignore", "a.go", "docs/sub/b.txt", "keep.log", "space ", "src/.gitignore", "src/build/x", "src/sub/tmp/z", "x#y"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestArchiveAgreesWithGit asks git what it would take.
func TestArchiveAgreesWithGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git")
	}
	files := map[string]string{}
	for _, name := range []string{"a", "b", "a.txt", "d/a", "d/b.txt", "d/e/a", "d/e/c.txt", "e/a", "e/f/g", "foo/bar", "x/foo/bar", "!a", "#b", "q1", "q22"} {
		files[name] = ""
	}
	for _, rules := range []string{"a\n", "/a\n", "a/\n", "d/e\n", "**/a\n", "d/**\n", "*\n!*.txt\n", "*.txt\n!d/b.txt\n", "foo/*\n", "/d/*\n!/d/e\n",
		"\\!a\n", "\\#b\n", "q?\n", "[qd]*\n", "[!q]*\n", "d/**/a\n", "e/f\n!e/f/g\n", "**\n", "foo/bar\n", "*/a\n"} {
		files[".gitignore"] = rules
		root := folder(t, files)
		git := func(args ...string) string {
			cmd := exec.Command("git", args...)
			cmd.Dir = root.Name()
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			return string(out)
		}
		git("init", "-q")
		want := strings.TrimSpace(git("-c", "core.quotePath=false", "-c", "core.excludesFile=", "ls-files", "-o", "--exclude-standard"))
		tr, err := workTree(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range tr.files {
			if !f.info.IsDir() {
				got = append(got, f.name)
			}
		}
		if diff := cmp.Diff(strings.Split(want, "\n"), got); diff != "" && strings.Join(got, "\n") != want {
			t.Errorf("%q: %s", rules, diff)
		}
	}
}
