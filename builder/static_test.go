package builder

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func site(t *testing.T) (http.Handler, *os.Root) {
	t.Helper()
	root := folder(t, map[string]string{
		"index.html": "home", "404.html": "not here", "docs/index.html": "docs", "docs/a.txt": "0123456789", "empty/.keep": "",
		".env": "secret", "docs/.git/config": "secret", ".well-known/security.txt": "mail",
		"app.3f2a9c1b.js": "js", "app.3f2a9c1b.js.gz": "zipped", "app.3f2a9c1b.js.br": "brotli", "font.woff2": "font",
	})
	return newStaticHandler(root.FS()), root
}

func get(h http.Handler, path string, header ...string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
	r.URL.Path = path
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestStaticPaths(t *testing.T) {
	h, root := site(t)
	if err := os.Symlink("/etc/passwd", filepath.Join(root.Name(), "passwd")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/": "200 home", "/index.html": "200 home", "/docs/": "200 docs", "/docs": "301 ", "/docs/a.txt": "200 0123456789",
		"/nothing": "404 not here", "/empty/": "404 not here", "/docs/a.txt/": "404 not here",
		"/.env": "404 not here", "/docs/.git/config": "404 not here", "/.well-known/security.txt": "200 mail",
		"/../../etc/passwd": "404 not here", "/docs/../.env": "404 not here", "/passwd": "404 not here", "/a\x00b": "404 not here",
		"//evil.example/..": "200 home", "/docs/..": "200 home",
	} {
		resp := get(h, path)
		body, _ := io.ReadAll(resp.Body)
		if got := fmt.Sprintf("%d %s", resp.StatusCode, body); got != want {
			t.Errorf("GET %q: %q, want %q", path, got, want)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("GET %q can be sniffed", path)
		}
	}
	if resp := get(h, "/docs"); resp.Header.Get("Location") != "./docs/" {
		t.Errorf("redirect to %s", resp.Header.Get("Location"))
	}
	if resp := get(h, "//docs"); strings.HasPrefix(resp.Header.Get("Location"), "//") {
		t.Errorf("redirect to %s", resp.Header.Get("Location"))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x")))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestStaticConditions(t *testing.T) {
	h, root := site(t)
	first := get(h, "/docs/a.txt")
	tag := first.Header.Get("ETag")
	if tag == "" || first.Header.Get("Last-Modified") == "" || first.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("header %v", first.Header)
	}
	if resp := get(h, "/docs/a.txt", "If-None-Match", tag); resp.StatusCode != http.StatusNotModified {
		t.Errorf("unchanged: %s", resp.Status)
	}
	resp := get(h, "/docs/a.txt", "Range", "bytes=2-4")
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusPartialContent || string(body) != "234" {
		t.Errorf("range: %s %q", resp.Status, body)
	}
	if resp := get(h, "/nothing", "Range", "bytes=0-1", "If-None-Match", "*"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("missing with conditions: %s", resp.Status)
	}
	if err := root.WriteFile("docs/a.txt", []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if resp := get(h, "/docs/a.txt", "If-None-Match", tag); resp.StatusCode != http.StatusOK {
		t.Errorf("changed: %s", resp.Status)
	}
}

func TestStaticEncodings(t *testing.T) {
	h, _ := site(t)
	for accept, want := range map[string][3]string{
		"": {"", "js"}, "gzip": {"gzip", "zipped"}, "gzip, br": {"br", "brotli"}, "br;q=0, gzip;q=0.5": {"gzip", "zipped"}, "deflate": {"", "js"},
	} {
		resp := get(h, "/app.3f2a9c1b.js", "Accept-Encoding", accept)
		body, _ := io.ReadAll(resp.Body)
		got := [3]string{resp.Header.Get("Content-Encoding"), string(body)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", accept, diff)
		}
		if resp.Header.Get("Vary") != "Accept-Encoding" || resp.Header.Get("Cache-Control") != immutable ||
			!strings.HasPrefix(resp.Header.Get("Content-Type"), "text/javascript") {
			t.Errorf("%q: %v", accept, resp.Header)
		}
	}
	if resp := get(h, "/index.html", "Accept-Encoding", "gzip"); resp.Header.Get("Vary") != "" {
		t.Error("a file of one form varies")
	}
	if resp := get(h, "/font.woff2"); resp.Header.Get("Content-Type") != "font/woff2" {
		t.Errorf("type %s", resp.Header.Get("Content-Type"))
	}
}

func TestCacheControl(t *testing.T) {
	for name, want := range map[string]string{
		"app.3f2a9c1b.js": immutable, "index-BkT3x9aQ.css": immutable, "logo-0a1b2c3d4e5f.png": immutable,
		"index.html": "no-cache", "page-3f2a9c1b.html": "no-cache", "report-20240131.pdf": "no-cache", "annual-Report24.pdf": "no-cache",
		"jquery-min-file.js": "no-cache", "app.js": "no-cache", "my-deadbeef.js": "no-cache",
	} {
		if got := cacheControl(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestServeStaticFinishesRequests stops the server while a slow client reads.
func TestServeStaticFinishesRequests(t *testing.T) {
	dir := t.TempDir()
	big := strings.Repeat("x", 8<<20)
	if err := os.WriteFile(filepath.Join(dir, "big"), []byte(big), 0o644); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serveStatic(ctx, dir, ln, slog.New(slog.DiscardHandler)) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	in := bufio.NewReader(conn)
	if _, err := in.Peek(1); err != nil {
		t.Fatal(err)
	}
	cancel()
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || len(body) != len(big) {
		t.Errorf("%d bytes, %v", len(body), err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
