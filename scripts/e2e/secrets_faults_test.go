//go:build e2e && faults

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// keyFiles hold a secret by design, readable by their owner alone: the sealing
// key, this host's key, the registry's password, the edge's key and, in the
// command line's home, the credentials.
var keyFiles = []string{"seal.key", "node/", "registry/password", "credentials.toml", "pass"}

// planted is a secret and where it may be.
type planted struct{ name, text string }

// forms are the spellings that a search must find: as it is, in hex, and in
// base64 at each of the three alignments.
func (p planted) forms() []string {
	out := []string{p.text, hex.EncodeToString([]byte(p.text)), strings.ToUpper(hex.EncodeToString([]byte(p.text)))}
	for shift := range 3 {
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			coded := enc.EncodeToString(append(make([]byte, shift), p.text...))
			out = append(out, coded[4:len(coded)-4]) // without what neighbours change
		}
	}
	return out
}

// TestFaultSecretsStaySecret plants secrets everywhere that one can be given or is
// made, and searches everywhere that somebody else looks.
func TestFaultSecretsStaySecret(t *testing.T) {
	h := newHost(t)
	h.logLevel = "debug"
	h.signal(syscall.SIGTERM)
	h.start()
	dir, other := h.repo("probe"), h.repo("probe")
	h.write(dir, "app.json", `{"env": {"MADE": {"generator": "secret"}}}`)
	h.commit(dir, "Made secret")
	h.must(dir, "apps", "create", "keeper")
	h.must(other, "apps", "create", "neighbour")
	h.push(dir)
	h.push(other)
	secrets, reader := plant(t, h, dir)
	outside := []planted{}
	for _, s := range secrets {
		if len(s.text) < 16 {
			t.Fatalf("%s is too short to search for: %d bytes", s.name, len(s.text))
		}
		for _, coded := range []string{hex.EncodeToString([]byte(s.text)), base64.StdEncoding.EncodeToString([]byte("a" + s.text + "b"))} {
			if !slices.ContainsFunc(s.forms(), func(f string) bool { return strings.Contains(coded, f) }) {
				t.Fatalf("the search would not find %s", s.name)
			}
		}
		outside = append(outside, s)
	}
	if len(outside) < 12 {
		t.Fatalf("%d secrets planted, want 12", len(outside))
	}
	h.paas(dir, "deploy", "--image", "no/such:image") // an error, for its text
	h.must(dir, "restart")

	files := 0
	found := search(t, outside, func(look func(where string, data []byte)) {
		for name, data := range h.said(t, dir, reader) {
			look(name, data)
		}
		look("process arguments", arguments(t))
		ids, _, _ := h.run(h.home, "", "docker", "ps", "-aq", "--filter", "label=paas.app=neighbour", "--filter", "label=paas.cluster="+h.cluster())
		out, _, _ := h.run(h.home, "", "docker", append([]string{"inspect"}, strings.Fields(ids)...)...)
		look("another app's containers", []byte(out))
		out, _, _ = h.run(h.home, "", "docker", "network", "ls", "--format", "{{json .}}")
		look("networks", []byte(out))
		look("log", h.log.Bytes())
		h.signal(syscall.SIGTERM) // a clean stop; the log and a snapshot, if any, are on disk
		look("log at the end", h.log.Bytes())
		files = everyFile(t, h, look)
	})
	if found > 0 {
		t.Errorf("%d finds", found)
	}
	t.Logf("%d secrets, %d files of the data directory and home", len(outside), files)
	h.logLevel = ""
	h.start() // so that it is purged
}

// plant gives every kind of secret and returns them with a token that reads.
func plant(t *testing.T, h *host, dir string) (all []planted, reader string) {
	t.Helper()
	add := func(name, text string) { all = append(all, planted{name, strings.TrimSpace(text)}) }
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var made struct {
		Token string `json:"text"`
	}
	for _, scope := range []string{"read", "deploy", "admin"} {
		h.into(&made, h.home, "token", "create", "--name", scope+"-planted", "--scope", scope, "--ttl", "1h")
		add(scope+" token", made.Token)
		if scope == "read" {
			reader = made.Token
		}
	}
	values := map[string]string{}
	for _, key := range []string{"PLAIN", "PASSWORD", "DATABASE_URL"} {
		values[key] = "planted-" + strings.ToLower(key) + "-7d1f0c9ab2"
		add("config "+key, values[key])
	}
	h.must(dir, "config", "set", "PLAIN="+values["PLAIN"])
	dotenv := t.TempDir()
	h.write(dotenv, "file", "PASSWORD="+values["PASSWORD"]+"\nDATABASE_URL="+values["DATABASE_URL"]+"\n")
	h.must(dir, "config", "import", filepath.Join(dotenv, "file"))
	add("made by app.json", h.must(dir, "config", "get", "MADE"))
	add("config that was replaced", "planted-replaced-55aa00ff1122")
	h.must(dir, "config", "set", "GONE=planted-replaced-55aa00ff1122")
	h.must(dir, "config", "unset", "GONE")
	add("registry password", read(filepath.Join(h.data, "registry", "password")))
	add("seal key", read(filepath.Join(h.data, "seal.key")))
	add("operator's token", between(read(filepath.Join(h.home, "credentials.toml")), `"`))
	h.write(h.home, "pass", "planted-passphrase-c0ffee00\n")
	add("backup's passphrase", "planted-passphrase-c0ffee00")
	if err := os.Chmod(filepath.Join(h.home, "pass"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.must(h.home, "backup", "create", filepath.Join(h.home, "state.backup"), "--passphrase-file", filepath.Join(h.home, "pass"))
	key := ""
	_ = filepath.WalkDir(filepath.Join(h.data, "node"), func(p string, e fs.DirEntry, _ error) error {
		if e != nil && !e.IsDir() && strings.Contains(read(p), "PRIVATE KEY") {
			key = read(p)
		}
		return nil
	})
	lines := strings.Split(key, "\n")
	if len(lines) < 3 {
		t.Fatal("no private key of the node")
	}
	add("node's private key", lines[1])
	return all, reader
}

// between is the text between the first two marks.
func between(s, mark string) string {
	parts := strings.SplitN(s, mark, 3)
	return parts[min(1, len(parts)-1)]
}

// said is what people and tokens are told.
func (h *host) said(t *testing.T, dir, reader string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	take := func(args ...string) {
		stdout, stderr, _ := h.paas(dir, args...)
		out["paas "+strings.Join(args, " ")] = []byte(stdout + stderr)
	}
	ca := filepath.Join(h.home, "ca", "dev.pem")
	if o, e, code := h.run(h.home, reader, h.bin, "context", "add", "reader", "--server", "https://"+h.listen, "--ca", ca, "--token", "-"); code != 0 {
		t.Fatalf("context add: %d\n%s%s", code, o, e)
	}
	for _, c := range []string{"dev", "reader"} {
		for _, args := range [][]string{{"apps", "--json"}, {"status", "--json"}, {"ps", "--json"}, {"releases", "--json"}, {"builds", "--json"},
			{"deployments", "--json"}, {"events", "--json"}, {"config", "list", "--json"}, {"token", "list", "--json"}, {"nodes", "--json"},
			{"domains", "--json"}, {"routes", "--json"}, {"logs", "--json"}, {"cluster", "export"}, {"doctor"}} {
			take(append(args, "-c", c)...)
		}
		var builds []struct {
			ID string `json:"id"`
		}
		h.into(&builds, dir, "builds")
		for _, b := range builds {
			take("builds", "log", b.ID, "-c", c)
		}
	}
	take("config", "get", "PLAIN", "-c", "reader")
	take("config", "set", "a bad key=planted", "-c", "reader")
	h.must(h.home, "context", "remove", "reader")
	return out
}

// arguments are the command lines of all processes but this one.
func arguments(t *testing.T) []byte {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, p := range all {
		if p == "/proc/"+strconv.Itoa(os.Getpid())+"/cmdline" {
			continue
		}
		b, _ := os.ReadFile(p) // a process may be gone
		out = append(out, bytes.ReplaceAll(append(b, '\n'), []byte{0}, []byte{' '})...)
	}
	return out
}

// everyFile looks into every file of the data directory and the command line's
// home, and at its rights. Git's objects are compressed; git reads them.
func everyFile(t *testing.T, h *host, look func(string, []byte)) (files int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Dir(h.data), func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		inside, _ := filepath.Rel(h.data, p)
		own := !strings.HasPrefix(inside, "..")
		switch mode := info.Mode(); {
		case mode&fs.ModeSymlink != 0:
		case mode.IsDir() && own && mode.Perm() != 0o700 && !reachedThroughPrivate(inside):
			t.Errorf("%s has mode %v, want 0700", inside, mode.Perm())
		case mode.IsRegular():
			files++
			if own && mode.Perm()&0o077 != 0 && !reachedThroughPrivate(inside) {
				t.Errorf("%s has mode %v, want 0600", inside, mode.Perm())
			}
			name, _ := filepath.Rel(filepath.Dir(h.data), p)
			if slices.ContainsFunc(keyFiles, func(k string) bool {
				return strings.HasPrefix(inside, k) || filepath.Dir(p) == h.home && filepath.Base(p) == k
			}) {
				if mode.Perm()&0o077 != 0 {
					t.Errorf("%s holds a secret and has mode %v", name, mode.Perm())
				}
				return nil
			}
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			look(name, data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	repos, _ := filepath.Glob(filepath.Join(h.data, "git", "*.git"))
	for _, repo := range repos {
		cmd := exec.Command("git", "--git-dir", repo, "cat-file", "--batch-all-objects", "--batch")
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("read %s: %v", repo, err)
		}
		look(repo, out)
	}
	return files
}

// reachedThroughPrivate is what git and the image library write as they like:
// the directory above it is the owner's alone.
func reachedThroughPrivate(inside string) bool {
	for _, d := range []string{"git", "registry/blobs", "registry"} {
		if strings.HasPrefix(inside, d+"/") {
			return true
		}
	}
	return false
}

// search runs looks and returns how many secrets were found where.
func search(t *testing.T, secrets []planted, looks func(look func(where string, data []byte))) (found int) {
	t.Helper()
	looks(func(where string, data []byte) {
		for _, s := range secrets {
			for _, form := range s.forms() {
				if i := bytes.Index(data, []byte(form)); i >= 0 {
					found++
					t.Errorf("%s is in %s", s.name, where)
					break
				}
			}
		}
	})
	return found
}
