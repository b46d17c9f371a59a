package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

// openRegistry starts a registry; stop ends it and waits.
func openRegistry(t *testing.T, dir string, c RegistryConfig) (r *blobStore, stop func()) {
	t.Helper()
	r, err := newRegistry(dir, c, func(cluster.Content, error) {}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return r, stop
}

// ask sends one request, with the password.
func (r *blobStore) ask(t *testing.T, method, path, contentType string, body []byte) *http.Response {
	t.Helper()
	url := path
	if strings.HasPrefix(path, "/") {
		url = "http://" + r.endpoint.Address + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(r.endpoint.Username, r.endpoint.Password.Reveal())
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// put pushes an image of one layer, as an engine would, and returns its name.
func (r *blobStore) put(t *testing.T, repository, layer string) cluster.Image {
	t.Helper()
	end, err := r.beginPush(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	config := []byte(`{"architecture":"amd64","os":"linux","layer":"` + layer + `"}`)
	descriptors := make([]map[string]any, 2)
	for i, blob := range [][]byte{config, []byte(layer)} {
		start := r.ask(t, http.MethodPost, "/v2/"+repository+"/blobs/uploads/", "", nil)
		at := start.Header.Get("Location")
		done := r.ask(t, http.MethodPut, at+"&digest="+digestOf(blob), "application/octet-stream", blob)
		if done.StatusCode != http.StatusCreated {
			t.Fatalf("upload: %s", done.Status)
		}
		kind := []string{"application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"}[i]
		descriptors[i] = map[string]any{"mediaType": kind, "size": len(blob), "digest": digestOf(blob)}
	}
	const kind = "application/vnd.docker.distribution.manifest.v2+json"
	manifest, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": kind, "config": descriptors[0], "layers": descriptors[1:]})
	if err != nil {
		t.Fatal(err)
	}
	if resp := r.ask(t, http.MethodPut, "/v2/"+repository+"/manifests/tag-"+digestOf(manifest)[7:15], kind, manifest); resp.StatusCode != http.StatusCreated {
		t.Fatalf("manifest: %s", resp.Status)
	}
	return cluster.Image{Repository: repository, Digest: digestOf(manifest)}
}

func TestRegistryDrop(t *testing.T) {
	r, _ := openRegistry(t, t.TempDir(), RegistryConfig{})
	if n, err := r.drop(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("an empty registry: %d %v", n, err)
	}
	a, b, other := r.put(t, "apps/blog", "one"), r.put(t, "apps/blog", "two"), r.put(t, "apps/shop", "one")
	for range 2 { // the second pass finds nothing to do
		if _, err := r.drop(t.Context(), map[imageKey]bool{keyOf(b): true}); err != nil {
			t.Fatal(err)
		}
		if r.has(t.Context(), a) || r.has(t.Context(), other) || !r.has(t.Context(), b) {
			t.Fatal("wrong images dropped")
		}
	}
	for layer, want := range map[string]int{"one": http.StatusNotFound, "two": http.StatusOK} {
		if resp := r.ask(t, http.MethodHead, "/v2/apps/blog/blobs/"+digestOf([]byte(layer)), "", nil); resp.StatusCode != want {
			t.Errorf("layer %s: %s", layer, resp.Status)
		}
	}
	if names, err := r.repositories(t.Context()); err != nil || len(names) != 1 || names[0] != "apps/blog" {
		t.Errorf("repositories %v %v", names, err)
	}
	if again := r.put(t, "apps/shop", "one"); again != other || !r.has(t.Context(), again) {
		t.Errorf("a dropped image does not come back: %v", again)
	}
}

// TestRegistryKeepsSharedLayers drops one of two images with the same layer.
func TestRegistryKeepsSharedLayers(t *testing.T) {
	r, _ := openRegistry(t, t.TempDir(), RegistryConfig{})
	a, b := r.put(t, "apps/a", "shared"), r.put(t, "apps/b", "shared")
	if _, err := r.drop(t.Context(), map[imageKey]bool{keyOf(a): true}); err != nil {
		t.Fatal(err)
	}
	if !r.has(t.Context(), a) || r.has(t.Context(), b) {
		t.Error("wrong image dropped")
	}
}

func TestRegistryHasWholeImagesOnly(t *testing.T) {
	dir := t.TempDir()
	r, _ := openRegistry(t, dir, RegistryConfig{})
	image := r.put(t, "apps/blog", "layer")
	layer := strings.TrimPrefix(digestOf([]byte("layer")), "sha256:")
	path := filepath.Join(dir, "blobs/docker/registry/v2/blobs/sha256", layer[:2], layer, "data")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if r.has(t.Context(), image) {
		t.Error("an image without its layer is there")
	}
	for _, bad := range []cluster.Image{{}, {Repository: "apps/blog", Digest: "latest"}, {Repository: "../etc", Digest: image.Digest}, {Repository: "apps/none", Digest: image.Digest}} {
		if r.has(t.Context(), bad) {
			t.Errorf("%v is there", bad)
		}
	}
}

func TestRegistryGuard(t *testing.T) {
	dir := t.TempDir()
	r, _ := openRegistry(t, dir, RegistryConfig{})
	for name, login := range map[string][2]string{"nobody": {}, "wrong password": {registryUser, "x"}, "wrong user": {"root", r.endpoint.Password.Reveal()}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.endpoint.Address+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if login[0] != "" {
			req.SetBasicAuth(login[0], login[1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
	if resp := r.ask(t, http.MethodGet, "/v2/", "", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("with the password: %s", resp.Status)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if resp := r.ask(t, method, "/v2/apps/blog/blobs/uploads/", "", nil); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s outside a push: %s", method, resp.Status)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "password")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("password file: %v %v", info.Mode(), err)
	}
	if s := fmt.Sprintf("%v %+v", r.endpoint, r.endpoint); strings.Contains(s, r.endpoint.Password.Reveal()) {
		t.Error("the password prints")
	}
}

func TestRegistryKeepsAddressAndPassword(t *testing.T) {
	dir := t.TempDir()
	r, stop := openRegistry(t, dir, RegistryConfig{})
	image := r.put(t, "apps/blog", "layer")
	stop()
	again, stop := openRegistry(t, dir, RegistryConfig{})
	if again.endpoint != r.endpoint || !again.has(t.Context(), image) {
		t.Errorf("%v, then %v", r.endpoint.Address, again.endpoint.Address)
	}
	stop()
	taken, err := net.Listen("tcp", r.endpoint.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other, _ := openRegistry(t, dir, RegistryConfig{})
	if other.endpoint.Address == r.endpoint.Address {
		t.Error("the port is taken")
	}
}

func TestRegistryAddress(t *testing.T) {
	for _, bad := range []string{"0.0.0.0:5000", "5000", "example.com:5000", "[::]:5000", "192.0.2.1:1"} {
		if _, err := newRegistry(t.TempDir(), RegistryConfig{Addr: bad}, nil, slog.New(slog.DiscardHandler)); cluster.KindOf(err) != cluster.KindInvalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
	r, _ := openRegistry(t, t.TempDir(), RegistryConfig{Addr: "127.0.0.1:0"})
	if _, err := newRegistry(t.TempDir(), RegistryConfig{Addr: r.endpoint.Address}, nil, slog.New(slog.DiscardHandler)); cluster.KindOf(err) != cluster.KindConflict {
		t.Errorf("taken: %v", err)
	}
}

func TestRegistryForgetsUnfinishedUploads(t *testing.T) {
	dir := t.TempDir()
	r, stop := openRegistry(t, dir, RegistryConfig{})
	end, err := r.beginPush(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.ask(t, http.MethodPost, "/v2/apps/blog/blobs/uploads/", "", nil)
	end()
	stop()
	uploads := func() []string {
		found, err := filepath.Glob(filepath.Join(dir, "blobs/docker/registry/v2/repositories/apps/blog/_uploads/*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if len(uploads()) != 1 {
		t.Fatalf("uploads %v", uploads())
	}
	openRegistry(t, dir, RegistryConfig{})
	if len(uploads()) != 0 {
		t.Errorf("uploads %v", uploads())
	}
}

func TestCollectionAndPushesExcludeEachOther(t *testing.T) {
	r, _ := openRegistry(t, t.TempDir(), RegistryConfig{})
	endA, err := r.beginPush(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	endB, err := r.beginPush(t.Context()) // pushes run side by side
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.beginCollection(soon); err == nil {
		t.Error("a collection began during a push")
	}
	endA()
	endB()
	end, err := r.beginCollection(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.beginPush(soon); err == nil {
		t.Error("a push began during a collection")
	}
	end()
}

func TestKeptIncludesFreshImages(t *testing.T) {
	now := time.Now()
	b := &Builder{fresh: map[imageKey]time.Time{{"apps/a", "new"}: now.Add(-time.Minute), {"apps/a", "old"}: now.Add(-2 * freshFor)}}
	if b.kept(now) != nil {
		t.Error("something is dropped before anybody said what to keep")
	}
	b.keep = map[imageKey]bool{{"apps/b", "kept"}: true}
	got := b.kept(now)
	if len(got) != 2 || !got[imageKey{"apps/a", "new"}] || !got[imageKey{"apps/b", "kept"}] || len(b.fresh) != 1 {
		t.Errorf("%v", got)
	}
}

// TestAPushSendsWhatOnlyAnotherRepositoryHas: an engine that is told that a blob is
// there names it in a manifest without sending it.
func TestAPushSendsWhatOnlyAnotherRepositoryHas(t *testing.T) {
	r, _ := openRegistry(t, t.TempDir(), RegistryConfig{})
	r.put(t, "apps/blog", "one")
	layer := "/blobs/" + digestOf([]byte("one"))
	for repository, want := range map[string]int{"apps/blog": http.StatusOK, "apps/shop": http.StatusNotFound} {
		if resp := r.ask(t, http.MethodHead, "/v2/"+repository+layer, "", nil); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", repository, resp.Status, want)
		}
	}
	r.put(t, "apps/shop", "one")
	if resp := r.ask(t, http.MethodHead, "/v2/apps/shop"+layer, "", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("after its push: %s", resp.Status)
	}
}
