package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"paas/cluster"
	"paas/identity"
)

// serverDialTime bounds a connection to a server that may have an image.
const serverDialTime = 2 * time.Second

// imageSource is the one thing that a mirror needs of the cluster; *api.ImageSource has it.
type imageSource interface {
	Fetch(ctx context.Context, c cluster.Content, take func(body io.Reader, size int64) error) error
}

// mirror is the registry of a host without a server: this host's engine reads from it
// what any server has. It keeps nothing, takes no writes, and has never sent all of
// content that is false.
type mirror struct {
	listener net.Listener
	endpoint cluster.RegistryEndpoint
	source   imageSource
	log      *slog.Logger
}

// openMirror listens where the mirror listened before, which is what images in the
// engine are named after; kept is nil the first time. The listener is the mirror's: run
// closes it.
func openMirror(kept *cluster.RegistryEndpoint, source imageSource, log *slog.Logger) (*mirror, error) {
	m := &mirror{source: source, log: log}
	if kept != nil {
		m.endpoint = *kept
	} else {
		m.endpoint = cluster.RegistryEndpoint{Address: "127.0.0.1:0", Username: "paas", Password: identity.NewSecret()}
	}
	var err error
	if m.listener, err = net.Listen("tcp", m.endpoint.Address); err != nil && kept != nil {
		log.Warn("port of the image mirror is taken, choosing another", "address", m.endpoint.Address, "err", err)
		m.listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("open image mirror: %w", err)
	}
	m.endpoint.Address = m.listener.Addr().String()
	return m, nil
}

// run serves until ctx ends.
func (m *mirror) run(ctx context.Context) error {
	srv := &http.Server{Handler: m, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelDebug)}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := srv.Serve(m.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve image mirror: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return srv.Close() // the engine comes again
	})
	return g.Wait()
}

// ServeHTTP is what of the registry's protocol a pull by digest needs.
func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	user, password, _ := r.BasicAuth()
	c, ok := cluster.ParseContent(r.URL.Path)
	switch {
	case !m.endpoint.Admits(user, password):
		w.Header().Set("WWW-Authenticate", `Basic realm="paas"`)
		deny(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		deny(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "images are only read here")
	case r.URL.Path == "/v2/":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}") // an engine that left asks again
	case !ok:
		deny(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown: only digests are known here")
	case c.Kind == cluster.ContentManifest:
		m.manifest(w, r, c)
	default:
		m.blob(w, r, c)
	}
}

// deny answers with an error of the protocol.
func deny(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message) // an engine that left asks again
}

// fail answers for content that could not be had.
func (m *mirror) fail(w http.ResponseWriter, c cluster.Content, err error) {
	switch {
	case cluster.KindOf(err) != cluster.KindNotFound:
		deny(w, http.StatusServiceUnavailable, "UNAVAILABLE", err.Error())
	case c.Kind == cluster.ContentManifest:
		deny(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
	default:
		deny(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
	}
}

// manifest serves one, whole.
func (m *mirror) manifest(w http.ResponseWriter, r *http.Request, c cluster.Content) {
	var data []byte
	err := m.source.Fetch(r.Context(), c, func(body io.Reader, size int64) (err error) {
		if size > cluster.MaxManifestBytes {
			return fmt.Errorf("manifest %s has %d bytes", c, size)
		}
		data, err = io.ReadAll(body)
		return err
	})
	if err != nil {
		m.fail(w, c, err)
		return
	}
	w.Header().Set("Content-Type", cluster.ManifestType(data))
	w.Header().Set("Docker-Content-Digest", c.Digest)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// errBegun ends a fetch whose answer has begun, and cannot begin again.
var errBegun = errors.New("the answer has begun")

// blob passes one on as it comes. Whoever asks for its end only, after a broken pull,
// gets that; all of it is read and checked even so.
func (m *mirror) blob(w http.ResponseWriter, r *http.Request, c cluster.Content) {
	begun := false
	err := m.source.Fetch(r.Context(), c, func(body io.Reader, size int64) error {
		if begun {
			return errBegun
		}
		skip := begins(r.Header.Get("Range"), size)
		if _, err := io.CopyN(io.Discard, body, skip); err != nil {
			return err
		}
		begun = true
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Docker-Content-Digest", c.Digest)
		h.Set("Accept-Ranges", "bytes")
		h.Set("Content-Length", strconv.FormatInt(size-skip, 10))
		if skip > 0 {
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", skip, size-1, size))
			w.WriteHeader(http.StatusPartialContent)
		}
		if r.Method == http.MethodHead {
			return errBegun
		}
		_, err := io.Copy(w, body)
		return err
	})
	switch {
	case err == nil || r.Method == http.MethodHead && begun:
	case begun:
		panic(http.ErrAbortHandler) // the engine has to learn that this is not all, and comes again
	default:
		m.fail(w, c, err)
	}
}

// begins is where an answer begins, by a Range header such as "bytes=100-". Other
// ranges are not understood, and get everything.
func begins(header string, size int64) int64 {
	from, ok := strings.CutPrefix(header, "bytes=")
	from, open := strings.CutSuffix(from, "-")
	at, err := strconv.ParseInt(from, 10, 64)
	if !ok || !open || err != nil || at < 0 || at >= size {
		return 0
	}
	return at
}
