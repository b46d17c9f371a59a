package builder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"paas/cluster"
)

const (
	// checkedFor is how long content that was read and found true is believed to be:
	// a burst of readers costs one look. What rots meanwhile its readers find out, and
	// come again.
	checkedFor = time.Minute
	// checkFirst is the largest content that is read before it is sent; the rest is
	// checked on its way.
	checkFirst = 16 << 20
)

// contents are the registry's bytes by digest. What is no more what it was is dropped,
// never served, so that it is fetched again. They are safe for concurrent use.
type contents struct {
	root string // of the files, on disk
	// rotten is told what was dropped.
	rotten func(cluster.Content, error)
	checks singleflight.Group

	mu      sync.Mutex
	checked map[string]time.Time // by digest; guarded by mu
}

func newContents(root string, rotten func(cluster.Content, error)) *contents {
	return &contents{root: root, rotten: rotten, checked: map[string]time.Time{}}
}

// blobPath is where the registry's library keeps a blob, below its root.
func blobPath(digest string) string {
	hex := digest[len("sha256:"):]
	return "/docker/registry/v2/blobs/sha256/" + hex[:2] + "/" + hex
}

// layerPath and revisionPath are where a repository says that a blob or a manifest is
// its own: files that hold the digest.
func layerPath(c cluster.Content) string {
	return "/docker/registry/v2/repositories/" + c.Repository + "/_layers/sha256/" + c.Digest[len("sha256:"):] + "/link"
}

func revisionPath(c cluster.Content) string {
	return "/docker/registry/v2/repositories/" + c.Repository + "/_manifests/revisions/sha256/" + c.Digest[len("sha256:"):] + "/link"
}

func (s *contents) file(c cluster.Content) string {
	return filepath.Join(s.root, blobPath(c.Digest), "data")
}

// open returns content and its size; fs.ErrNotExist if it is not here. A manifest is
// only here if its repository says so: one whose image is being copied is not.
func (s *contents) open(c cluster.Content) (*os.File, int64, error) {
	if c.Kind == cluster.ContentManifest {
		if _, err := os.Stat(filepath.Join(s.root, revisionPath(c))); err != nil {
			return nil, 0, err
		}
	}
	f, err := os.Open(s.file(c))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// believed reports whether content was found true a moment ago.
func (s *contents) believed(c cluster.Content) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.checked[c.Digest]) < checkedFor
}

func (s *contents) believe(c cluster.Content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, at := range s.checked {
		if time.Since(at) >= checkedFor {
			delete(s.checked, d)
		}
	}
	s.checked[c.Digest] = time.Now()
}

// check reads content, unless that was done a moment ago, and drops it if it is not
// what it should be; it is fs.ErrNotExist then.
func (s *contents) check(c cluster.Content) error {
	if s.believed(c) {
		return nil
	}
	_, err, _ := s.checks.Do(c.Digest, func() (any, error) {
		f, size, err := s.open(c)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		_, err = io.Copy(io.Discard, c.Verified(f, size))
		return nil, s.judge(c, err)
	})
	return err
}

// judge takes how reading content ended.
func (s *contents) judge(c cluster.Content, err error) error {
	var wrong *cluster.DigestError
	switch {
	case err == nil:
		s.believe(c)
		return nil
	case !errors.As(err, &wrong):
		return err // a disk that cannot be read now may be later
	}
	if gone := os.RemoveAll(filepath.Dir(s.file(c))); gone != nil {
		return errors.Join(err, gone)
	}
	s.rotten(c, wrong)
	return fmt.Errorf("%w: it was damaged: %w", fs.ErrNotExist, wrong)
}

// read returns all of a manifest.
func (s *contents) read(c cluster.Content) ([]byte, error) {
	if err := s.check(c); err != nil {
		return nil, err
	}
	f, size, err := s.open(c)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > cluster.MaxManifestBytes {
		return nil, fmt.Errorf("manifest %s has %d bytes", c, size)
	}
	data, err := io.ReadAll(c.Verified(f, size))
	return data, s.judge(c, err)
}

// ServeHTTP serves what is here, for GET and HEAD of the registry's protocol.
func (s *contents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, ok := cluster.ParseContent(r.URL.Path)
	if !ok {
		unknown(w, c)
		return
	}
	s.serve(w, r, c)
}

// serve answers with content. A reader of false content gets less than all of it, and a
// broken connection.
func (s *contents) serve(w http.ResponseWriter, r *http.Request, c cluster.Content) {
	if s.small(c) && s.check(c) != nil {
		unknown(w, c)
		return
	}
	f, size, err := s.open(c)
	if errors.Is(err, fs.ErrNotExist) {
		unknown(w, c)
		return
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "the disk cannot be read")
		return
	}
	defer f.Close()
	kind := "application/octet-stream"
	if c.Kind == cluster.ContentManifest {
		if kind, err = manifestTypeOf(f); err != nil {
			refuse(w, http.StatusInternalServerError, "UNKNOWN", "the disk cannot be read")
			return
		}
	}
	h := w.Header()
	h.Set("Docker-Distribution-API-Version", "registry/2.0")
	h.Set("Docker-Content-Digest", c.Digest)
	h.Set("Content-Type", kind)
	h.Set("ETag", `"`+c.Digest+`"`)
	if r.Method == http.MethodGet && r.Header.Get("Range") == "" && !s.believed(c) {
		h.Set("Content-Length", strconv.FormatInt(size, 10))
		h.Set("Accept-Ranges", "bytes")
		if _, err := io.Copy(w, c.Verified(f, size)); s.judge(c, err) != nil {
			panic(http.ErrAbortHandler) // the reader has to learn that this is not all
		}
		return
	}
	http.ServeContent(w, r, "", time.Time{}, f)
}

// manifestTypeOf reads the media type of a manifest and goes back to its start.
func manifestTypeOf(f io.ReadSeeker) (string, error) {
	data, err := io.ReadAll(io.LimitReader(f, cluster.MaxManifestBytes))
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return cluster.ManifestType(data), err
}

// refuse answers with an error of the protocol.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message) // a reader that left asks again
}

// unknown is the protocol's word for what is not here.
func unknown(w http.ResponseWriter, c cluster.Content) {
	if c.Kind == cluster.ContentManifest {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
		return
	}
	refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
}

// linked reports whether a blob belongs to its repository: only such ones may be named
// by a manifest there.
func (s *contents) linked(c cluster.Content) bool {
	_, err := os.Stat(filepath.Join(s.root, layerPath(c)))
	return err == nil
}

// whole reports whether content of a known size is here, by its size alone.
func (s *contents) whole(c cluster.Content, size int64) bool {
	info, err := os.Stat(s.file(c))
	return err == nil && info.Size() == size
}

// small reports whether content is here and read before it is sent.
func (s *contents) small(c cluster.Content) bool {
	info, err := os.Stat(s.file(c))
	return err == nil && info.Size() <= checkFirst
}

// missing reports whether content has to be fetched. Large content is only looked at
// on its way out: who meets a false one comes again.
func (s *contents) missing(c cluster.Content) bool {
	f, _, err := s.open(c)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	_ = f.Close() // it was only looked for
	return s.small(c) && errors.Is(s.check(c), fs.ErrNotExist)
}
