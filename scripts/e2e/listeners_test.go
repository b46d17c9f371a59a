//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestListeners compares what the kernel says with the README's table.
func TestListeners(t *testing.T) {
	t.Run("up", func(t *testing.T) {
		h := newHost(t)
		onlyDocumented(t, h)
		dir := h.repo("probe")
		h.must(dir, "apps", "create", "open")
		h.push(dir)
		onlyDocumented(t, h)
		strangers(t, h)
	})
	t.Run("server", func(t *testing.T) {
		h := placeHost(t)
		t.Cleanup(h.purge)
		h.log = &bytes.Buffer{}
		h.cmd = h.command(context.Background(), h.bin, "server", "--data", h.data, "--http", h.httpAddr, "--https", h.httpsAddr, "--listen", h.listen)
		h.cmd.Env, h.cmd.Stdout, h.cmd.Stderr = h.env(), h.log, h.log
		h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := h.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		h.exited = make(chan struct{})
		go func() { _ = h.cmd.Wait(); close(h.exited) }()
		onlyDocumented(t, h)
	})
}

// documented are the addresses of the README's table, as the host was told them.
func documented(t *testing.T, h *host) []string {
	t.Helper()
	registry, _ := os.ReadFile(filepath.Join(h.data, "registry", "address")) // absent while it starts
	known := map[string]string{"--listen": "tcp " + h.listen, "--http": "tcp " + h.httpAddr, "--https": "tcp " + h.httpsAddr,
		"--registry": "tcp " + strings.TrimSpace(string(registry)), "DATA/hook.sock": "unix hook.sock",
		"@paas/cluster/ID": "unix @paas/cluster/ID"}
	const calls = "--listen/udp" // not here: these hosts are on loopback, where nobody calls
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## What listens")
	section, _, _ = strings.Cut(section, "\n## ")
	var out []string
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cell, _, _ := strings.Cut(line[1:], "|")
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			if name[1] == calls {
				continue
			}
			if known[name[1]] == "" {
				t.Errorf("the README names a listener that this test does not know: %s", name[1])
			}
			out = append(out, known[name[1]])
		}
	}
	if len(out) != len(known) {
		t.Errorf("the README names %d listeners, want %d", len(out), len(known))
	}
	slices.Sort(out)
	return out
}

func onlyDocumented(t *testing.T, h *host) {
	t.Helper()
	h.t = t
	h.await("exactly the documented listeners", 30*time.Second, func() string {
		got, want := listening(t, h.cmd.Process.Pid), documented(t, h)
		if !slices.Equal(got, want) {
			return fmt.Sprintf("got  %q\nwant %q", got, want)
		}
		return ""
	})
}

// listening are the sockets of a process that take connections or datagrams from
// anybody: "tcp 127.0.0.1:80", "unix hook.sock", "unix @paas/cluster/ID".
func listening(t *testing.T, pid int) []string {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", pid)
	fds, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	for _, fd := range fds {
		to, _ := os.Readlink(proc + "fd/" + fd.Name()) // it may be closed by now
		if inode, ok := strings.CutPrefix(to, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var out []string
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6", "unix"} {
		text, _ := os.ReadFile(proc + "net/" + table) // no IPv6, no table
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			switch {
			case table == "unix":
				if len(f) > 7 && own[f[6]] && f[3] == "00010000" { // SO_ACCEPTCON
					out = append(out, "unix "+unixName(f[7]))
				}
			case len(f) > 9 && own[f[9]] && f[3] == map[string]string{"tcp": "0A", "udp": "07"}[table[:3]]:
				out = append(out, table[:3]+" "+socketAddress(f[1]))
			}
		}
	}
	slices.Sort(out)
	return out
}

// unixName is how the README calls a Unix socket.
func unixName(path string) string {
	if strings.HasPrefix(path, "@paas/cluster/") {
		return "@paas/cluster/ID"
	}
	return filepath.Base(path)
}

// socketAddress reads "0100007F:1F90": words in the host's order.
func socketAddress(s string) string {
	address, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(address)
	if err != nil {
		return s
	}
	for i := 0; i+4 <= len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	var n int
	_, _ = fmt.Sscanf(port, "%X", &n) // the kernel's own
	return net.JoinHostPort(net.IP(b).String(), fmt.Sprint(n))
}

// strangers ask every listener for what they may not have.
func strangers(t *testing.T, h *host) {
	registry, err := os.ReadFile(filepath.Join(h.data, "registry", "address"))
	if err != nil {
		t.Fatal(err)
	}
	api, plain, images := "https://"+h.listen, "http://"+h.httpAddr, "http://"+strings.TrimSpace(string(registry))
	c := &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	for _, tt := range []struct {
		method, url, host, header string
		want                      int
	}{
		{"GET", api + "/healthz", "", "", 200},
		{"GET", api + "/healthz", "evil.example.com", "", 421}, {"GET", api + "/healthz", "", "Origin: https://evil.example.com", 403},
		{"GET", api + "/healthz", "", "Sec-Fetch-Site: cross-site", 403},
		{"GET", api + "/", "", "", 401}, {"GET", api + "/v1/openapi.json", "", "", 401}, {"GET", api + "/v1/routes", "", "", 401},
		{"GET", api + "/v1/apps", "", "", 401}, {"POST", api + "/v1/apps", "", "", 401}, {"GET", api + "/v1/apps", "", "Authorization: Bearer guess", 401},
		{"GET", api + "/git/open.git/info/refs?service=git-upload-pack", "", "", 401},
		{"POST", api + "/git/open.git/git-receive-pack", "", "", 401}, {"GET", api + "/debug/pprof/", "", "", 401}, {"GET", api + "/metrics", "", "", 401},
		{"GET", plain + "/", "open.localhost", "", 308}, {"GET", plain + "/", "nobody.localhost", "", 404}, {"GET", plain + "/", "", "", 404},
		{"GET", plain + "/v1/apps", "localhost", "", 404}, {"GET", plain + "/debug/pprof/", "localhost", "", 404},
		{"GET", plain + "/.well-known/acme-challenge/x", "nobody.localhost", "", 404},
		{"GET", "https://" + h.httpsAddr + "/", "", "", 404}, {"GET", "https://" + h.httpsAddr + "/", "open.localhost", "", 421}, // without a name in TLS
		{"GET", images + "/v2/", "", "", 401}, {"GET", images + "/v2/_catalog", "", "", 401}, {"GET", images + "/debug/pprof/", "", "", 401},
		{"GET", images + "/v2/", "", "Authorization: Basic cGFhczpndWVzcw==", 401},
	} {
		req, err := http.NewRequest(tt.method, tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if name, value, ok := strings.Cut(tt.header, ": "); ok {
			req.Header.Set(name, value)
		}
		req.Host = tt.host
		res, err := c.Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", tt.method, tt.url, err)
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode != tt.want {
			t.Errorf("%s %s for host %q with %q: %d, want %d", tt.method, tt.url, tt.host, tt.header, res.StatusCode, tt.want)
		}
	}
	refusedHandshakes(t, h)
	if code, body := h.get("https://nobody.localhost/"); code != 404 && !strings.Contains(body, "certificate") { // clients refuse a wildcard of one label
		t.Errorf("a name that no app has: %d %s", code, body)
	}
	if info, err := os.Stat(filepath.Join(h.data, "hook.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("hook.sock: %v, %v, want 0600", info, err)
	}
	h.serves("https://open.localhost/", "version=v1")
	guess(t, c, api)
}

// refusedHandshakes: no certificate, no session; no name, no app; no TLS, nothing.
func refusedHandshakes(t *testing.T, h *host) {
	for what, tt := range map[string]struct{ addr, name, proto string }{
		"session without a certificate": {h.listen, "", "paas-session/1"},
		"Raft without a certificate":    {h.listen, "", "paas-raft/1"},
		"a stranger's name":             {h.httpsAddr, "nobody.example.com", "h2"},
		"no name":                       {h.httpsAddr, "", "http/1.1"},
	} {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", tt.addr,
			&tls.Config{InsecureSkipVerify: true, ServerName: tt.name, NextProtos: []string{tt.proto}})
		if err != nil {
			continue
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		b, err := io.ReadAll(c)
		if os.IsTimeout(err) || len(b) > 0 {
			t.Errorf("%s: %q, %v; want it closed", what, b, err)
		}
		_ = c.Close()
	}
	for _, addr := range []string{h.listen, h.httpsAddr} {
		if res, err := http.Get("http://" + addr + "/"); err == nil {
			if _ = res.Body.Close(); res.StatusCode < 400 {
				t.Errorf("%s without TLS: %d", addr, res.StatusCode)
			}
		}
	}
}

// guess tries tokens by both ways in until it is told to stop.
func guess(t *testing.T, c *http.Client, api string) {
	seen := map[int]int{}
	for i := range 30 {
		path := []string{"/v1/apps", "/git/open.git/info/refs?service=git-upload-pack"}[i%2]
		req, _ := http.NewRequest("GET", api+path, nil)
		if i%2 == 0 {
			req.Header.Set("Authorization", "Bearer guess")
		} else {
			req.SetBasicAuth("x", "guess")
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		seen[res.StatusCode]++
	}
	if seen[429] < 10 || seen[401]+seen[429] != 30 {
		t.Errorf("30 guesses: %v, want most of them 429", seen)
	}
}
