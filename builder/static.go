package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"paas/cluster"
)

// stopGrace is how long requests may last once a static site is asked to stop:
// less than the agent's grace, so that it ends by itself.
const stopGrace = cluster.DefaultStopGrace - 5*time.Second

// ServeStatic serves the files below dir over HTTP until ctx ends, then finishes
// the requests under way. An empty addr means every address on $PORT, or 8080.
// Names that start with a dot do not exist (but .well-known does), folders answer
// with their index.html or not at all, and 404.html is the page for the rest.
func ServeStatic(ctx context.Context, dir, addr string, logger *slog.Logger) error {
	if addr == "" {
		port := os.Getenv("PORT")
		if port == "" {
			port = strconv.Itoa(cluster.DefaultPort)
		}
		addr = ":" + port
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("serve static files: %w", err)
	}
	return serveStatic(ctx, dir, ln, logger)
}

func serveStatic(ctx context.Context, dir string, ln net.Listener, logger *slog.Logger) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return errors.Join(fmt.Errorf("serve static files: %w", err), ln.Close())
	}
	defer root.Close()
	srv := &http.Server{
		Handler: newStaticHandler(root.FS()), ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	logger.Info("static site serving", "address", ln.Addr().String())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve static files: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		return srv.Shutdown(grace)
	})
	return g.Wait()
}

// staticHandler serves an immutable tree of files.
type staticHandler struct {
	fsys fs.FS

	mu    sync.Mutex
	etags map[string]etag // by name
}

// etag is a hash of a file's content, and what the file looked like then.
type etag struct {
	value string
	size  int64
	mtime time.Time
}

func newStaticHandler(fsys fs.FS) *staticHandler {
	return &staticHandler{fsys: fsys, etags: map[string]etag{}}
}

// ServeHTTP answers GET and HEAD with the file that the path names.
func (h *staticHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	name, ok := fileName(r.URL.Path)
	if !ok {
		h.notFound(w, r)
		return
	}
	if info, err := fs.Stat(h.fsys, name); err == nil && info.IsDir() {
		if name != "." && !strings.HasSuffix(r.URL.Path, "/") {
			toFolder(w, r)
			return
		}
		name = path.Join(name, "index.html")
	} else if strings.HasSuffix(r.URL.Path, "/") {
		h.notFound(w, r)
		return
	}
	if !h.serve(w, r, name, http.StatusOK) {
		h.notFound(w, r)
	}
}

// fileName is the file that a URL path names; ok is false for hidden ones.
func fileName(urlPath string) (string, bool) {
	name := strings.TrimPrefix(path.Clean("/"+urlPath), "/")
	if name == "" {
		return ".", true
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") && part != ".well-known" {
			return "", false
		}
	}
	return name, fs.ValidPath(name) && !strings.ContainsRune(name, 0)
}

// toFolder adds the slash that relative links need. The target is relative, so
// that "//host/.." cannot lead elsewhere.
func toFolder(w http.ResponseWriter, r *http.Request) {
	target := "./" + path.Base(r.URL.EscapedPath()) + "/"
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusMovedPermanently)
}

func (h *staticHandler) notFound(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache")
	plain := r.Clone(r.Context())
	for _, k := range []string{"Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range"} {
		plain.Header.Del(k)
	}
	if !h.serve(w, plain, "404.html", http.StatusNotFound) {
		http.Error(w, "404 page not found", http.StatusNotFound)
	}
}

// serve answers with a file; false when there is none.
func (h *staticHandler) serve(w http.ResponseWriter, r *http.Request, name string, status int) bool {
	v := h.variant(r, name)
	f, err := h.fsys.Open(v.file)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	content, seekable := f.(io.ReadSeeker)
	if err != nil || !info.Mode().IsRegular() || !seekable {
		return false
	}
	tag, err := h.tag(v.file, info, content)
	if err != nil {
		http.Error(w, "internal server error", http.StatusInternalServerError)
		return true
	}
	header := w.Header()
	header.Set("Content-Type", contentType(name))
	header.Set("ETag", tag)
	header.Set("Cache-Control", cacheControl(name))
	if v.several {
		header.Set("Vary", "Accept-Encoding")
	}
	if v.encoding != "" {
		header.Set("Content-Encoding", v.encoding)
	}
	if status != http.StatusOK {
		w = &statusWriter{w, status}
	}
	http.ServeContent(w, r, name, info.ModTime(), content)
	return true
}

// encodings are the forms that a build may have left beside a file, best first.
var encodings = []struct{ name, suffix string }{{"br", ".br"}, {"gzip", ".gz"}}

// variant is the form of a file that one request gets.
type variant struct {
	file     string
	encoding string
	several  bool // other requests may get another form
}

// variant chooses the compressed file that the client takes, or name itself. A
// range is always one of the plain file.
func (h *staticHandler) variant(r *http.Request, name string) variant {
	v := variant{file: name}
	for _, e := range encodings {
		info, err := fs.Stat(h.fsys, name+e.suffix)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		v.several = true
		if v.encoding == "" && accepts(r.Header.Get("Accept-Encoding"), e.name) && r.Header.Get("Range") == "" {
			v.file, v.encoding = name+e.suffix, e.name
		}
	}
	return v
}

// accepts reads an Accept-Encoding header; a weight of zero refuses.
func accepts(header, encoding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if !strings.EqualFold(strings.TrimSpace(name), encoding) {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
		return weight == "" || err == nil && q > 0
	}
	return false
}

// tag returns a file's ETag. It is made of the content: times mean little in
// images, where an unchanged time does not prove an unchanged file.
func (h *staticHandler) tag(name string, info fs.FileInfo, content io.ReadSeeker) (string, error) {
	h.mu.Lock()
	known, ok := h.etags[name]
	h.mu.Unlock()
	if ok && known.size == info.Size() && known.mtime.Equal(info.ModTime()) {
		return known.value, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return "", err
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	known = etag{`"` + hex.EncodeToString(sum.Sum(nil)[:12]) + `"`, info.Size(), info.ModTime()}
	h.mu.Lock()
	h.etags[name] = known
	h.mu.Unlock()
	return known.value, nil
}

var (
	// hexNameRE and mixedNameRE match what bundlers name after its content:
	// app.3f2a9c1b.js, index-BkT3x9aQ.css.
	hexNameRE   = regexp.MustCompile(`[.-]([0-9a-f]{8,64})\.[a-z0-9]+$`)
	mixedNameRE = regexp.MustCompile(`-([A-Za-z0-9_-]{8})\.(js|mjs|css|woff2)$`)
)

// cacheControl lets files named after their content live for ever; the rest is
// asked for each time and mostly answered with 304.
func cacheControl(name string) string {
	base := path.Base(name)
	if m := hexNameRE.FindStringSubmatch(base); m != nil && path.Ext(base) != ".html" &&
		strings.ContainsAny(m[1], "abcdef") && strings.ContainsAny(m[1], digits) {
		return immutable
	}
	if m := mixedNameRE.FindStringSubmatch(base); m != nil && strings.ContainsAny(m[1], digits) && strings.ToLower(m[1]) != m[1] {
		return immutable
	}
	return "no-cache"
}

const (
	digits    = "0123456789"
	immutable = "public, max-age=31536000, immutable"
)

// contentTypes are those that Go does not know by itself; a FROM scratch image
// has no mime.types.
var contentTypes = map[string]string{
	".txt": "text/plain; charset=utf-8", ".md": "text/markdown; charset=utf-8", ".csv": "text/csv; charset=utf-8",
	".map": "application/json", ".webmanifest": "application/manifest+json", ".ico": "image/vnd.microsoft.icon",
	".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf", ".otf": "font/otf",
	".mp4": "video/mp4", ".webm": "video/webm", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".wav": "audio/wav",
	".zip": "application/zip", ".gz": "application/gzip", ".atom": "application/atom+xml", ".rss": "application/rss+xml",
	".yaml": "application/yaml", ".yml": "application/yaml", ".ics": "text/calendar; charset=utf-8",
}

func contentType(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if t, ok := contentTypes[ext]; ok {
		return t
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return "application/octet-stream"
}

// statusWriter replaces ServeContent's 200.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader sends the page's own status instead of 200.
func (s *statusWriter) WriteHeader(status int) {
	if status == http.StatusOK {
		status = s.status
	}
	s.ResponseWriter.WriteHeader(status)
}
