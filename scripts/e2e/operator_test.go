//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// secret is a config value that may be seen by who asks for it and nowhere else.
const secret = "s3cr3t-1b0a7f"

// TestOperator is what the operator of a host does beside deploying: tokens and
// contexts, export, completion, backup, and a restore on an empty directory.
func TestOperator(t *testing.T) {
	h := newHost(t)
	dir := h.repo("probe")
	h.must(dir, "apps", "create", "ops")
	h.push(dir)
	h.must(dir, "config", "set", "GREETING="+secret)
	t.Run("tokens and contexts", func(t *testing.T) { h.t = t; tokens(t, h) })
	t.Run("export", func(t *testing.T) { h.t = t; export(t, h) })
	t.Run("completion", func(t *testing.T) { h.t = t; completion(t, h) })
	t.Run("terminals", func(t *testing.T) { h.t = t; terminals(t, h, dir) })
	t.Run("detach", func(t *testing.T) { h.t = t; detach(t, h, dir) })
	h.t = t
	restore(t, h, dir)
}

// tokens gives a machine the right to read, takes it back, and finds the other
// context as it was.
func tokens(t *testing.T, h *host) {
	var made struct {
		ID    string `json:"id"`
		Token string `json:"text"`
	}
	h.into(&made, h.home, "token", "create", "--name", "pager", "--scope", "read", "--ttl", "1h")
	ca := filepath.Join(h.home, "ca", "dev.pem")
	if out, errs, code := h.run(h.home, made.Token, h.bin, "context", "add", "pager", "--server", "https://"+h.listen, "--ca", ca, "--token", "-"); code != 0 {
		t.Fatalf("context add: exit %d\n%s%s", code, out, errs)
	}
	h.must(h.home, "ps", "-a", "ops", "-c", "pager")
	for _, refused := range [][]string{
		{"config", "set", "A=b", "-a", "ops", "-c", "pager"},
		{"config", "get", "GREETING", "-a", "ops", "-c", "pager"},
		{"apps", "destroy", "-a", "ops", "--confirm", "ops", "-c", "pager"},
		{"token", "create", "--name", "more", "-c", "pager"},
	} {
		if out, errs, code := h.paas(h.home, refused...); code != 4 || strings.Contains(out+errs, secret) {
			t.Errorf("a read token may paas %v: exit %d, want 4\n%s%s", refused, code, out, errs)
		}
	}
	contains(t, "token list", h.must(h.home, "token", "list"), "pager")
	if list := h.must(h.home, "token", "list", "--json"); strings.Contains(list, made.Token) {
		t.Error("token list shows a token's text")
	}
	h.must(h.home, "token", "revoke", made.ID)
	if _, _, code := h.paas(h.home, "ps", "-a", "ops", "-c", "pager"); code != 4 {
		t.Errorf("a revoked token: exit %d, want 4", code)
	}
	contains(t, "context list", h.must(h.home, "context", "list"), "dev", "pager")
	h.must(h.home, "context", "use", "pager")
	h.must(h.home, "context", "use", "dev")
	h.must(h.home, "context", "remove", "pager")
	h.must(h.home, "ps", "-a", "ops")
}

// export is canonical: two of the same index are equal, and hold no secret.
func export(t *testing.T, h *host) {
	var first, again string
	h.await("two exports of one index", 10*time.Second, func() string {
		first, again = h.must(h.home, "cluster", "export"), h.must(h.home, "cluster", "export")
		if first != again {
			return "two exports differ"
		}
		return ""
	})
	if !json.Valid([]byte(first)) || !strings.Contains(first, `"ops"`) {
		t.Fatalf("export: %.300s", first)
	}
	if strings.Contains(first, secret) {
		t.Fatal("the export shows a config value")
	}
}

// completion sources the script into the real shell and asks for names.
func completion(t *testing.T, h *host) {
	for _, ask := range []struct{ words, want string }{{"paas conf", "config"}, {"paas ps -a o", "ops"}, {"paas scale -a ops w", "web="}} {
		script := `PATH=` + filepath.Dir(h.bin) + `:$PATH; source <(paas completion bash)
			COMP_WORDS=(` + ask.words + `); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _paas; printf '%s\n' "${COMPREPLY[@]}"`
		out, errs, code := h.run(h.home, "", "bash", "-c", script)
		if code != 0 || !strings.Contains(out, ask.want) {
			t.Errorf("completing %q: exit %d, %q, want %q %s", ask.words, code, out, ask.want, errs)
		}
	}
	for _, shell := range []string{"zsh", "fish"} {
		contains(t, shell, h.must(h.home, "completion", shell), "__complete")
	}
}

// restore fills an empty directory from a backup; the host that starts there is
// the same cluster, with its apps, secrets, releases and tokens.
func restore(t *testing.T, h *host, dir string) {
	pass, file := filepath.Join(h.home, "pass"), filepath.Join(h.home, "state.backup")
	if err := os.WriteFile(pass, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.must(h.home, "backup", "create", file, "--passphrase-file", pass)
	sealed, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(sealed), secret) || strings.Contains(string(sealed), "ops") {
		t.Fatalf("the backup is readable without its passphrase (%v)", err)
	}
	id, releases := h.cluster(), h.must(dir, "releases", "--json")
	besideTheOriginal(t, h, file, pass)
	h.signal(syscall.SIGTERM)
	old := h.data
	h.data += "-restored"
	if _, _, code := h.paas(h.home, "backup", "restore", file, "--passphrase-file", file, "--data", h.data); code == 0 {
		t.Fatal("a wrong passphrase restores")
	}
	h.must(h.home, "backup", "restore", file, "--passphrase-file", pass, "--data", h.data)
	if _, _, code := h.paas(h.home, "backup", "restore", file, "--passphrase-file", pass, "--data", h.data); code == 0 {
		t.Fatal("a restore overwrote a directory that holds a cluster")
	}
	h.start()
	if now := h.cluster(); now != id {
		t.Fatalf("the restored cluster is %s, was %s", now, id)
	}
	if now := h.must(dir, "releases", "--json"); now != releases {
		t.Errorf("releases after the restore:\n%s\nwere\n%s", now, releases)
	}
	if got := strings.TrimSpace(h.must(dir, "config", "get", "GREETING")); got != secret {
		t.Errorf("config after the restore: %q", got)
	}
	h.commit(dir, "After the restore")
	h.push(dir) // a backup holds no images: the next push brings them
	h.serves("https://ops.localhost/", "greeting="+secret)
	h.must(h.home, "down", "--purge", "--yes", "--data", old)
}

// besideTheOriginal restores while the original serves: the copy does not start,
// and to purge it takes nothing from the original.
func besideTheOriginal(t *testing.T, h *host, file, pass string) {
	copied := h.data + "-beside"
	h.must(h.home, "backup", "restore", file, "--passphrase-file", pass, "--data", copied)
	_, said, code := h.paas(h.home, "up", "--data", copied, "--http", freeAddr(t), "--https", freeAddr(t), "--listen", freeAddr(t))
	if code != 5 {
		t.Fatalf("up of a copy beside the original: exit %d\n%s", code, said)
	}
	contains(t, "up of a copy", said, "is not served from "+copied, fmt.Sprintf("process %d", h.cmd.Process.Pid), "paas down --data "+h.data)
	record, err := os.ReadFile(filepath.Join(h.data, "up.json")) // as one has that was copied
	if err == nil {
		err = os.WriteFile(filepath.Join(copied, "up.json"), record, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := h.containers("ops")
	_, said, code = h.paas(h.home, "down", "--purge", "--yes", "--data", copied)
	contains(t, "purge of a copy", said, "containers, network and images stay", h.data)
	if after := h.containers("ops"); code != 0 || before == "" || after != before {
		t.Fatalf("purge of a copy: exit %d, containers were\n%s\nare\n%s", code, before, after)
	}
	if _, err := os.Stat(copied); err == nil {
		t.Error("the purged copy is still there")
	}
	h.serves("https://ops.localhost/", "greeting="+secret)
}

// detach leaves a deploy with Ctrl-C: the command says what goes on and exits
// 130, the deploy ends well without it.
func detach(t *testing.T, h *host, dir string) {
	h.write(dir, "Procfile", "web: /probe -boot 4s\n")
	cmd := exec.Command(h.bin, "deploy", dir, "-a", "ops", "--progress", "plain")
	said := &watched{want: "Rolling out", seen: make(chan struct{})}
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Dir = h.env(), said, said, dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-said.seen:
	case <-time.After(60 * time.Second):
		t.Fatalf("no rollout after a minute:\n%s", said)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Fatalf("Ctrl-C: exit %d, want 130\n%s", code, said)
	}
	contains(t, "what is said at Ctrl-C", said.String(), "goes on", "paas ")
	h.await("the deploy ends without its pusher", 30*time.Second, func() string {
		var releases []struct {
			State string `json:"state"`
		}
		h.into(&releases, dir, "releases")
		if releases[0].State != "succeeded" {
			return releases[0].State
		}
		return ""
	})
	if err := os.Remove(filepath.Join(dir, "Procfile")); err != nil {
		t.Fatal(err)
	}
}
