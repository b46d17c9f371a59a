package builder

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"paas/cluster"
)

// peers are other servers: what each answers, in the order in which they are asked.
type peers []http.Handler

// Fetch implements Sources.
func (p peers) Fetch(_ context.Context, c cluster.Content, take func(io.Reader, int64) error) error {
	err := error(cluster.NotFound("image_content", "no server has %s", c))
	for _, h := range p {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, c.Path(), nil))
		if rec.Code != http.StatusOK {
			continue
		}
		if err = take(c.Verified(bytes.NewReader(rec.Body.Bytes()), int64(rec.Body.Len())), int64(rec.Body.Len())); err == nil {
			return nil
		}
	}
	return err
}

// changed is a handler whose answers f changes.
func changed(h http.Handler, f func([]byte) []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		w.WriteHeader(rec.Code)
		_, _ = w.Write(f(rec.Body.Bytes()))
	})
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1
	return b
}

// copier is a builder without an engine: its registry and what copies images.
func copier(t *testing.T, from Sources) *Builder {
	t.Helper()
	b := &Builder{logger: slog.New(slog.DiscardHandler), sources: from, flights: make(chan *flight), wanting: make(chan struct{}, 1), told: make(chan struct{}),
		fresh: map[imageKey]time.Time{}, flying: map[imageKey]*flight{}}
	b.registry, _ = openRegistry(t, t.TempDir(), RegistryConfig{})
	b.registry.contents.rotten = b.rotten
	b.registry.fetch = b.pull
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.flyAll(ctx) })
	running.Go(func() { b.catchUp(ctx) })
	running.Go(func() { b.scrub(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return b
}

func TestEnsureCopiesAnImage(t *testing.T) {
	origin, _ := openRegistry(t, t.TempDir(), RegistryConfig{})
	image := origin.put(t, "apps/blog", "layer")
	lacks, _ := openRegistry(t, t.TempDir(), RegistryConfig{})
	for name, from := range map[string]peers{
		"from one":                 {origin.contents},
		"not from who lacks it":    {lacks.contents, origin.contents},
		"false bytes are refused":  {changed(origin.contents, flipped), origin.contents},
		"less than all is refused": {changed(origin.contents, func(b []byte) []byte { return b[:len(b)-1] }), origin.contents},
		"more than all is refused": {changed(origin.contents, func(b []byte) []byte { return append(bytes.Clone(b), b...) }), origin.contents},
		"nothing is refused":       {changed(origin.contents, func([]byte) []byte { return nil }), origin.contents},
	} {
		t.Run(name, func(t *testing.T) {
			b := copier(t, from)
			if err := b.Ensure(t.Context(), image); err != nil {
				t.Fatal(err)
			}
			if !b.Has(t.Context(), image) {
				t.Error("the image is not there")
			}
			for _, path := range []string{image.Manifest().Path(), "/v2/apps/blog/blobs/" + digestOf([]byte("layer"))} {
				if resp := b.registry.ask(t, http.MethodGet, path, "", nil); resp.StatusCode != http.StatusOK {
					t.Errorf("%s: %s", path, resp.Status)
				}
			}
			if n, err := b.registry.drop(t.Context(), map[imageKey]bool{keyOf(image): true}); n != 0 || err != nil || !b.Has(t.Context(), image) {
				t.Errorf("a collection: %d %v", n, err)
			}
		})
	}
}

// TestFalseContentIsNeverStored has no peer that is right.
func TestFalseContentIsNeverStored(t *testing.T) {
	origin, _ := openRegistry(t, t.TempDir(), RegistryConfig{})
	image := origin.put(t, "apps/blog", "layer")
	layer := digestOf([]byte("layer"))
	b := copier(t, peers{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, _ := cluster.ParseContent(r.URL.Path); c.Digest == layer {
			_, _ = w.Write([]byte("liar!"))
			return
		}
		origin.contents.ServeHTTP(w, r)
	})})
	var wrong *cluster.DigestError
	if err := b.Ensure(t.Context(), image); !errors.As(err, &wrong) {
		t.Errorf("%v", err)
	}
	if b.Has(t.Context(), image) {
		t.Error("the image is said to be there")
	}
	for _, path := range []string{image.Manifest().Path(), "/v2/apps/blog/blobs/" + layer} {
		if resp := b.registry.ask(t, http.MethodHead, path, "", nil); resp.StatusCode == http.StatusOK {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

func TestEnsureSharesLayers(t *testing.T) {
	origin, _ := openRegistry(t, t.TempDir(), RegistryConfig{})
	a, b := origin.put(t, "apps/a", "shared"), origin.put(t, "apps/b", "shared")
	var asked atomic.Int32
	to := copier(t, peers{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, _ := cluster.ParseContent(r.URL.Path); c.Digest == digestOf([]byte("shared")) {
			asked.Add(1)
		}
		origin.contents.ServeHTTP(w, r)
	})})
	for _, image := range []cluster.Image{a, b} {
		if err := to.Ensure(t.Context(), image); err != nil || !to.Has(t.Context(), image) {
			t.Fatal(err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("the layer came %d times", asked.Load())
	}
}

// TestEnsureOnceAtATime lets many ask for one image.
func TestEnsureOnceAtATime(t *testing.T) {
	origin, _ := openRegistry(t, t.TempDir(), RegistryConfig{})
	image := origin.put(t, "apps/blog", "layer")
	var asked atomic.Int32
	gate := make(chan struct{})
	b := copier(t, peers{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-gate
		asked.Add(1)
		origin.contents.ServeHTTP(w, r)
	})})
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := b.Ensure(gone, image); !errors.Is(err, context.Canceled) {
		t.Errorf("who left is told %v", err)
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if err := b.Ensure(t.Context(), image); err != nil {
				t.Error(err)
			}
		})
	}
	close(gate)
	all.Wait()
	if n := asked.Load(); n != 3 { // manifest, configuration, layer
		t.Errorf("%d requests", n)
	}
}

// TestRotHeals damages every file of an image, one after the other.
func TestRotHeals(t *testing.T) {
	origin, _ := openRegistry(t, t.TempDir(), RegistryConfig{})
	image := origin.put(t, "apps/blog", "layer")
	b := copier(t, peers{origin.contents})
	if err := b.Ensure(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	blob := cluster.Content{Repository: "apps/blog", Digest: digestOf([]byte("layer"))}
	for _, c := range []cluster.Content{image.Manifest(), blob} {
		for name, damage := range map[string]func(path string) error{
			"flipped": func(path string) error {
				data, err := os.ReadFile(path)
				return errors.Join(err, os.WriteFile(path, flipped(data), 0o600))
			},
			"cut":   func(path string) error { return os.Truncate(path, 1) },
			"empty": func(path string) error { return os.Truncate(path, 0) },
			"gone":  os.Remove,
		} {
			if err := damage(b.registry.contents.file(c)); err != nil {
				t.Fatal(err)
			}
			b.registry.contents.checked = map[string]time.Time{} // a minute later
			rec := httptest.NewRecorder()
			b.Contents().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, c.Path(), nil))
			if _, err := io.ReadAll(c.Verified(rec.Body, int64(rec.Body.Len()))); rec.Code == http.StatusOK && err != nil {
				t.Fatalf("%s %s: false bytes are served to another host", name, c)
			}
			if resp := b.registry.ask(t, http.MethodGet, c.Path(), "", nil); resp.StatusCode != http.StatusOK {
				t.Errorf("%s %s: the engine is told %s", name, c, resp.Status)
			}
			if !b.Has(t.Context(), image) {
				t.Errorf("%s %s: it was not mended", name, c)
			}
		}
	}
}

// TestHeldImagesComeByThemselves says what to keep to a registry that has nothing, while
// its peer is away at first; and has a layer rot that nobody reads.
func TestHeldImagesComeByThemselves(t *testing.T) {
	origin, _ := openRegistry(t, t.TempDir(), RegistryConfig{})
	one, two := origin.put(t, "apps/a", "one"), origin.put(t, "apps/b", "two")
	var asked atomic.Int32
	from := peers{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= 2 {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		origin.contents.ServeHTTP(w, r)
	})}
	b := copier(t, from)
	both := map[cluster.Image]bool{one: true, two: true}
	b.Hold(both)
	await(t, "both images", func() bool { return b.Has(t.Context(), one) && b.Has(t.Context(), two) })

	again := copier(t, from) // a process later
	again.registry.contents.root = b.registry.contents.root
	blob := cluster.Content{Repository: "apps/a", Digest: digestOf([]byte("one"))}
	path := again.registry.contents.file(blob)
	if err := os.WriteFile(path, []byte("0ne"), 0o600); err != nil {
		t.Fatal(err)
	}
	again.registry.driver = b.registry.driver
	again.registry.names = b.registry.names
	again.Hold(both)
	await(t, "the layer is whole", func() bool {
		data, err := os.ReadFile(path)
		return err == nil && string(data) == "one"
	})
}

// await waits until cond holds.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
