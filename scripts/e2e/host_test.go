//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// host is one `paas up` with its own data, ports and command-line home.
type host struct {
	t                           testing.TB
	bin, home, data             string
	httpAddr, httpsAddr, listen string
	cmd                         *exec.Cmd
	log                         *bytes.Buffer
	client                      *http.Client
	exited                      chan struct{}
	// on leads every command to another machine, and dial connects to its addresses;
	// nil means this one.
	on       []string
	dial     func(ctx context.Context, addr string) (net.Conn, error)
	logLevel string   // "" is the default
	flags    []string // of paas up, about builds; nil lends them the host's network
}

// newHost starts a host and purges it when the test ends.
func newHost(t testing.TB) *host {
	t.Helper()
	h := placeHost(t)
	t.Cleanup(h.purge)
	h.start()
	return h
}

// placeHost gives a host its folders and ports.
func placeHost(t testing.TB) *host {
	t.Helper()
	bin := os.Getenv("PAAS_BINARY")
	if bin == "" {
		t.Fatal("PAAS_BINARY names no binary; run: make e2e")
	}
	dir := t.TempDir()
	h := &host{t: t, bin: bin, home: filepath.Join(dir, "home"), data: filepath.Join(dir, "data"),
		httpAddr: freeAddr(t), httpsAddr: freeAddr(t), listen: freeAddr(t)}
	if err := os.MkdirAll(h.home, 0o700); err != nil {
		t.Fatal(err)
	}
	return h
}

// command is a program on the host.
func (h *host) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	full := append(append(slices.Clone(h.on), name), args...)
	return exec.CommandContext(ctx, full[0], full[1:]...)
}

// start runs `paas up` in the foreground and waits until it answers.
func (h *host) start() {
	h.t.Helper()
	h.log = &bytes.Buffer{}
	h.cmd = h.command(context.Background(), h.bin, "up", "--data", h.data, "--http", h.httpAddr, "--https", h.httpsAddr,
		"--listen", h.listen)
	if h.flags == nil {
		h.flags = []string{"--build-network", "host"} // packages may be reached from there only
	}
	h.cmd.Args = append(h.cmd.Args, h.flags...)
	if h.logLevel != "" {
		h.cmd.Args = append(h.cmd.Args, "--log-level", h.logLevel)
	}
	h.cmd.Env, h.cmd.Stdout, h.cmd.Stderr = h.env(), h.log, h.log
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	began := time.Now()
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.exited = make(chan struct{})
	go func() { _ = h.cmd.Wait(); close(h.exited) }()
	h.await("paas up answers", 30*time.Second, func() string {
		out, errs, code := h.paas(h.home, "status", "--json")
		if code != 0 {
			return out + errs
		}
		return h.trust(out)
	})
	h.t.Logf("paas up answered after %v", time.Since(began).Round(time.Millisecond))
}

// trust makes the HTTPS client from the status; it returns what is wrong with it.
func (h *host) trust(status string) string {
	var s struct {
		EdgeCA string `json:"edge_ca"`
	}
	pool := x509.NewCertPool()
	if err := json.Unmarshal([]byte(status), &s); err != nil || !pool.AppendCertsFromPEM([]byte(s.EdgeCA)) {
		return "no edge CA in " + status
	}
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
		to := h.httpsAddr
		if strings.HasSuffix(addr, ":80") {
			to = h.httpAddr
		}
		if h.dial != nil {
			return h.dial(ctx, to)
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", to)
	}
	h.client = &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{
		DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return ""
}

// signal sends s to `paas up` and waits for its end.
func (h *host) signal(s syscall.Signal) {
	h.t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		h.t.Fatal(err)
	}
	select {
	case <-h.exited:
	case <-time.After(60 * time.Second):
		h.t.Fatalf("paas up still runs 60 s after %v\n%s", s, h.log)
	}
}

func (h *host) purge() {
	if h.t.Failed() && h.log != nil {
		h.t.Logf("paas up said:\n%s", tail(h.log.String(), 60))
	}
	if h.cmd != nil && h.cmd.ProcessState == nil {
		_ = h.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-h.exited:
		case <-time.After(60 * time.Second):
			_ = h.cmd.Process.Kill()
			h.t.Error("paas up did not end 60 s after SIGTERM")
		}
	}
	if _, err := os.Stat(h.data); err == nil {
		if out, errs, code := h.paas(h.home, "down", "--purge", "--yes", "--data", h.data); code != 0 {
			h.t.Errorf("purge: exit %d\n%s%s", code, out, errs)
		}
	}
}

func (h *host) env() []string {
	return append(withoutCA(os.Environ()), "PAAS_HOME="+h.home, "HOME="+h.home, "NO_COLOR=1", "PAAS_APP=", "PAAS_CONTEXT=",
		"GIT_AUTHOR_NAME=Test", "GIT_AUTHOR_EMAIL=test@example.com", "GIT_COMMITTER_NAME=Test",
		"GIT_COMMITTER_EMAIL=test@example.com", "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1")
}

// run runs a program in dir and returns what it said and its exit code.
func (h *host) run(dir, stdin, name string, args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := h.command(ctx, name, args...)
	var o, e bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, h.env(), strings.NewReader(stdin), &o, &e
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		h.t.Fatalf("%s %v: %v", name, args, err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

func (h *host) paas(dir string, args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	return h.run(dir, "", h.bin, args...)
}

// must runs paas and demands exit code 0; it returns stdout.
func (h *host) must(dir string, args ...string) string {
	h.t.Helper()
	out, errs, code := h.paas(dir, args...)
	if code != 0 {
		h.t.Fatalf("paas %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// into decodes the JSON of a command.
func (h *host) into(v any, dir string, args ...string) {
	h.t.Helper()
	out := h.must(dir, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		h.t.Fatalf("paas %s --json: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// git runs git and returns both outputs and the exit code.
func (h *host) git(dir string, args ...string) (string, int) {
	h.t.Helper()
	out, errs, code := h.run(dir, "", "git", args...)
	return out + errs, code
}

func (h *host) commit(dir, message string) {
	h.t.Helper()
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "--allow-empty", "-m", message}} {
		if out, code := h.git(dir, args...); code != 0 {
			h.t.Fatalf("git %v: %s", args, out)
		}
	}
}

// push pushes main and demands success; it returns what the pusher saw.
func (h *host) push(dir string) string {
	h.t.Helper()
	out, code := h.git(dir, "push", "paas", "main")
	if code != 0 {
		h.t.Fatalf("git push: exit %d\n%s", code, out)
	}
	return out
}

// repo makes a git work tree of a sample.
func (h *host) repo(sample string) string {
	h.t.Helper()
	dir := filepath.Join(h.t.TempDir(), sample)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "samples", sample))); err != nil {
		h.t.Fatal(err)
	}
	if sample == "probe" {
		h.buildProbe(dir, "v1")
	}
	if out, code := h.git(dir, "init", "-q", "-b", "main"); code != 0 {
		h.t.Fatalf("git init: %s", out)
	}
	h.commit(dir, "First")
	return dir
}

// buildProbe links the probe app with a version of its own.
func (h *host) buildProbe(dir, version string) {
	h.t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.Version="+version, "-o", filepath.Join(dir, "probe"), ".")
	cmd.Dir = filepath.Join("..", "samples", "probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("build probe: %v\n%s", err, out)
	}
	for _, source := range []string{"main.go", "spy.go", "hostile.go", "go.mod"} {
		_ = os.Remove(filepath.Join(dir, source))
	}
}

func (h *host) write(dir, name, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// get asks for a URL through the router.
func (h *host) get(url string) (int, string) {
	h.t.Helper()
	res, err := h.client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(body)
}

// serves demands that url answers 200 with want in its body, at once.
func (h *host) serves(url, want string) {
	h.t.Helper()
	if code, body := h.get(url); code != 200 || !strings.Contains(body, want) {
		h.t.Fatalf("GET %s: %d %q, want %q", url, code, body, want)
	}
}

// await polls until wrong returns "" or the time is over.
func (h *host) await(what string, within time.Duration, wrong func() string) {
	h.t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		w := wrong()
		if w == "" {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("not within %v: %s\n%s", within, what, w)
		}
		<-tick.C
	}
}

// containers lists the app's containers: "ID StartedAt", sorted by the engine.
func (h *host) containers(app string) string {
	h.t.Helper()
	ids, _, _ := h.run(h.home, "", "docker", "ps", "-aq", "--no-trunc", "--filter", "label=paas.app="+app, "--filter", "label=paas.cluster="+h.cluster())
	if strings.TrimSpace(ids) == "" {
		return ""
	}
	out, _, _ := h.run(h.home, "", "docker", append([]string{"inspect", "--format", "{{.Id}} {{.State.StartedAt}}"}, strings.Fields(ids)...)...)
	return out
}

func (h *host) cluster() string {
	h.t.Helper()
	var s struct {
		ID string `json:"id"`
	}
	h.into(&s, h.home, "status")
	return s.ID
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func contains(t testing.TB, what, text string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(text, w) {
			t.Fatalf("%s lacks %q:\n%s", what, w, text)
		}
	}
}

// withoutCA drops the variable that git prefers over a remote's own CA.
func withoutCA(env []string) []string {
	return slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "GIT_SSL_CAINFO=") })
}
