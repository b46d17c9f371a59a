package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/distribution/reference"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"paas/cluster"
	"paas/identity"
)

// registryUser is the only one there is.
const registryUser = "paas"

// blobStore is the embedded OCI registry: blobs on disk, served to the local
// engine on a loopback port behind a password.
type blobStore struct {
	endpoint cluster.RegistryEndpoint
	listener net.Listener
	app      *handlers.App
	handler  http.Handler
	driver   driver.StorageDriver
	names    distribution.Namespace
	contents *contents
	// fetch gets content from other servers that this host's engine asks for and that
	// is not here; pulled is told which manifest it asked for. Both are set before run.
	fetch  func(context.Context, cluster.Content) error
	pulled func(cluster.Content)
	logger *slog.Logger

	// gate keeps garbage collection and pushes apart: a push holds one part of it
	// from its first byte to its last, a collection all of it. A blob that no
	// manifest names yet would otherwise be swept away.
	gate *semaphore.Weighted
	// pushes counts those under way; the registry takes writes only meanwhile.
	pushes atomic.Int32
}

// wholeGate is what a collection takes of the gate.
const wholeGate = 1 << 20

// beginPush waits for a collection to end; end must be called.
func (r *blobStore) beginPush(ctx context.Context) (end func(), err error) {
	if err := r.gate.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for the registry: %w", err)
	}
	r.pushes.Add(1)
	return func() {
		r.pushes.Add(-1)
		r.gate.Release(1)
	}, nil
}

// beginCollection waits for pushes to end and keeps new ones waiting until end.
func (r *blobStore) beginCollection(ctx context.Context) (end func(), err error) {
	if err := r.gate.Acquire(ctx, wholeGate); err != nil {
		return nil, fmt.Errorf("wait for pushes: %w", err)
	}
	return func() { r.gate.Release(wholeGate) }, nil
}

// newRegistry binds the port; nothing is served before run.
// rotten is told of content that was no more what it had been, and was dropped.
func newRegistry(dir string, c RegistryConfig, rotten func(cluster.Content, error), logger *slog.Logger) (*blobStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	password, err := keptSecret(filepath.Join(dir, "password"))
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	// The library logs through a global; what matters of it reaches the log as
	// failed pushes and through serve's 5xx lines.
	logrus.SetOutput(io.Discard)
	root := filepath.Join(dir, "blobs")
	r := &blobStore{logger: logger, gate: semaphore.NewWeighted(wholeGate), contents: newContents(root, rotten),
		fetch: func(_ context.Context, c cluster.Content) error {
			return cluster.NotFound("image_content", "%s is not here", c)
		},
		pulled: func(cluster.Content) {}}
	if r.driver, err = filesystem.FromParameters(map[string]any{"rootdirectory": root}); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	if r.names, err = storage.NewRegistry(context.Background(), r.driver, storage.EnableDelete); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	if r.listener, err = listen(filepath.Join(dir, "address"), c.Addr, logger); err != nil {
		return nil, err
	}
	r.endpoint = cluster.RegistryEndpoint{Address: r.listener.Addr().String(), Username: registryUser, Password: cluster.Redacted(password)}
	r.forgetUploads(context.Background())
	r.app = handlers.NewApp(context.Background(), registryConfig(root, password))
	r.handler = r.guard(r.app)
	return r, nil
}

func registryConfig(root, secret string) *configuration.Configuration {
	c := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem":  configuration.Parameters{"rootdirectory": root},
			"delete":      configuration.Parameters{"enabled": true},
			"redirect":    configuration.Parameters{"disable": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
	}
	c.HTTP.Secret = secret
	c.HTTP.RelativeURLs = true
	c.Log.AccessLog.Disabled = true
	c.Catalog.MaxEntries = 1000
	return c
}

// keptSecret reads a password, or makes one and keeps it.
func keptSecret(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil && len(data) >= 32 {
		return string(data), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	secret := identity.NewSecret().Reveal()
	return secret, os.WriteFile(path, []byte(secret), 0o600)
}

// listen binds what the operator named, else the port chosen before, else a free
// one that is kept: images in the engine are named after it.
func listen(path, configured string, logger *slog.Logger) (net.Listener, error) {
	if configured != "" {
		host, _, err := net.SplitHostPort(configured)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return nil, cluster.Invalid("registry", "registry address %s is not on loopback", shorten(configured)).
				WithHint("it looks like 127.0.0.1:5000")
		}
		ln, err := net.Listen("tcp", configured)
		if err != nil {
			return nil, cluster.Conflict("registry", "cannot listen on registry address %s", configured).Because("%s", err).Wrap(err)
		}
		return ln, nil
	}
	if kept, err := os.ReadFile(path); err == nil && len(kept) > 0 {
		ln, err := net.Listen("tcp", string(kept))
		if err == nil {
			return ln, nil
		}
		logger.Warn("registry port is taken, choosing another", "address", string(kept), "err", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	if err := os.WriteFile(path, []byte(ln.Addr().String()), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("open registry: %w", err), ln.Close())
	}
	return ln, nil
}

// run serves until ctx ends.
func (r *blobStore) run(ctx context.Context) error {
	srv := &http.Server{
		Handler: r.handler, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute,
		ErrorLog: slog.NewLogLogger(r.logger.Handler(), slog.LevelDebug),
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := srv.Serve(r.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve registry: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			return srv.Close() // a transfer that outlasts the grace is broken off
		}
		return nil
	})
	return errors.Join(g.Wait(), r.app.Shutdown())
}

// forgetUploads removes what pushes left unfinished. It must run before anything
// is served, or by who holds the gate.
func (r *blobStore) forgetUploads(ctx context.Context) {
	// A registry that never took a push has no such folder, and PurgeUploads hides
	// that behind an error of no type.
	if _, err := r.driver.Stat(ctx, "/docker/registry/v2/repositories"); absent(err) {
		return
	}
	_, errs := storage.PurgeUploads(ctx, r.driver, time.Now(), true)
	for _, err := range errs {
		if !absent(err) {
			r.logger.Warn("unfinished upload left in the registry", "err", err)
		}
	}
}

// guard asks for the password, lets nobody write but the builder's own pushes,
// and logs what the library could not do.
func (r *blobStore) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, password, _ := req.BasicAuth()
		if !r.endpoint.Admits(user, password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="paas"`)
			w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		if req.Method != http.MethodGet && req.Method != http.MethodHead && r.pushes.Load() == 0 {
			w.Header().Set("Retry-After", "1")
			http.Error(w, `{"errors":[{"code":"UNAVAILABLE","message":"only deploys write here"}]}`, http.StatusServiceUnavailable)
			return
		}
		rec := &statusRecorder{ResponseWriter: w}
		r.answer(rec, req, next)
		if rec.status >= http.StatusInternalServerError {
			r.logger.Error("registry request failed", "method", req.Method, "path", req.URL.Path, "status", rec.status)
		}
	})
}

// answer reads content by digest here, and leaves the rest of the protocol to next: tags,
// and what pushes say.
func (r *blobStore) answer(w http.ResponseWriter, req *http.Request, next http.Handler) {
	c, ok := cluster.ParseContent(req.URL.Path)
	read := req.Method == http.MethodGet || req.Method == http.MethodHead && c.Kind == cluster.ContentManifest
	switch {
	case !ok || !read && req.Method != http.MethodHead:
		next.ServeHTTP(w, req)
		return
	case !read && !r.contents.linked(c): // a push asks whether it has to send a blob: yes, if another repository alone has it
		unknown(w, c)
		return
	case read && r.contents.missing(c):
		err := r.fetch(req.Context(), c)
		if err != nil && cluster.KindOf(err) != cluster.KindNotFound {
			refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", cleanLine(err.Error()))
			return
		}
	}
	if c.Kind == cluster.ContentManifest {
		r.pulled(c)
	}
	r.contents.serve(w, req, c)
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the status.
func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// manifests returns a repository's manifests.
func (r *blobStore) manifests(ctx context.Context, repository string) (distribution.Repository, distribution.ManifestService, error) {
	named, err := reference.WithName(repository)
	if err != nil {
		return nil, nil, fmt.Errorf("open repository %s: %w", repository, err)
	}
	repo, err := r.names.Repository(ctx, named)
	if err != nil {
		return nil, nil, fmt.Errorf("open repository %s: %w", repository, err)
	}
	m, err := repo.Manifests(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("open repository %s: %w", repository, err)
	}
	return repo, m, nil
}

// has reports whether an image's manifest and everything it names is there, by size.
func (r *blobStore) has(ctx context.Context, image cluster.Image) bool {
	return r.complete(ctx, image.Manifest())
}

func (r *blobStore) complete(ctx context.Context, c cluster.Content) bool {
	if _, ok := cluster.ParseContent(c.Path()); !ok || ctx.Err() != nil {
		return false
	}
	data, err := r.contents.read(c)
	if err != nil {
		return false
	}
	m, _, err := distribution.UnmarshalManifest(cluster.ManifestType(data), data)
	if err != nil {
		return false
	}
	lists, listed := 0, 0
	for _, ref := range m.References() {
		part := cluster.Content{Repository: c.Repository, Digest: ref.Digest.String()}
		if isManifest(ref) { // of a list: for one platform
			part.Kind = cluster.ContentManifest
			lists++
			if r.complete(ctx, part) {
				listed++
			}
		} else if !r.contents.whole(part, ref.Size) {
			return false
		}
	}
	return lists == 0 || listed > 0
}
