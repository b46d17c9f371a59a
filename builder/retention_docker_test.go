//go:build docker

package builder

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
)

// blobBytes is what the registry takes on disk.
func (h *harness) blobBytes(t *testing.T) int64 {
	t.Helper()
	var n int64
	err := filepath.WalkDir(filepath.Join(h.config.Dir, "registry", "blobs"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		n += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// age makes every image old enough to be dropped.
func (h *harness) age() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range h.fresh {
		h.fresh[k] = time.Now().Add(-2 * freshFor)
	}
}

func TestDockerRetain(t *testing.T) {
	h := newHarness(t, nil)
	dockerfile := func(n int) map[string]string {
		return map[string]string{"Dockerfile": fmt.Sprintf("FROM busybox\nRUN head -c 3000000 /dev/urandom > /%d\nCMD [\"ls\",\"/%d\"]\n", n, n)}
	}
	old, kept := h.must(t, dockerfile(1)), h.must(t, dockerfile(2))
	site := h.must(t, map[string]string{"index.html": "hello"})
	full := h.blobBytes(t)

	// What was just built stays although nobody names it.
	if err := h.Retain(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if !h.Has(t.Context(), old.Image) || !h.Has(t.Context(), kept.Image) {
		t.Fatal("fresh images were dropped")
	}
	h.age()
	if err := h.Retain(t.Context(), map[cluster.Image]bool{{Repository: kept.Image.Repository, Digest: kept.Image.Digest}: true, old.Image: false}); err != nil {
		t.Fatal(err)
	}
	if h.Has(t.Context(), old.Image) || h.Has(t.Context(), site.Image) || !h.Has(t.Context(), kept.Image) {
		t.Error("wrong images dropped from the registry")
	}
	if now := h.blobBytes(t); now > full-3_000_000 {
		t.Errorf("registry went from %d to %d bytes", full, now)
	}
	images := docker(t, "images", "--digests", h.Endpoint().Address+"/"+kept.Image.Repository)
	if strings.Contains(images, old.Image.Digest) || !strings.Contains(images, kept.Image.Digest) {
		t.Errorf("images in the engine:\n%s", images)
	}

	// The dropped source builds, pushes and runs again: its layers come from the
	// engine's cache, the registry's own are gone.
	again := h.must(t, dockerfile(1))
	if !h.Has(t.Context(), again.Image) {
		t.Error("the image is not in the registry")
	}
	ref := h.Endpoint().Address + "/" + again.Image.Repository + "@" + again.Image.Digest
	if got := docker(t, "run", "--rm", "--label", labelCluster+"="+string(h.id), ref); got != "/1" {
		t.Errorf("got %q", got)
	}
	h.age()
	if err := h.Retain(t.Context(), map[cluster.Image]bool{kept.Image: true, again.Image: true}); err != nil {
		t.Fatal(err)
	}
	if !h.Has(t.Context(), again.Image) || !h.Has(t.Context(), kept.Image) {
		t.Error("kept images were dropped")
	}
}

// TestDockerRetainWaits holds a collection while builds push, and the reverse.
func TestDockerRetainWaits(t *testing.T) {
	h := newHarness(t, nil)
	pushed, err := h.registry.beginPush(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := h.Retain(ctx, nil); err == nil {
		t.Error("garbage was collected during a push")
	}
	pushed()

	collected, err := h.registry.beginCollection(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+h.Endpoint().Address+"/v2/apps/blog/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(h.Endpoint().Username, h.Endpoint().Password.Reveal())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("upload during a collection: %s", resp.Status)
	}
	collected()
	h.must(t, map[string]string{"index.html": "hello"})
}

// TestDockerRetainDuringBuilds collects all the time while images are built.
func TestDockerRetainDuringBuilds(t *testing.T) {
	h := newHarness(t, nil)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
				if err := h.Retain(context.Background(), nil); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	for range 5 {
		res := h.must(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo " + identity.NewID() + " > /x\nCMD [\"true\"]\n"})
		if !h.Has(t.Context(), res.Image) {
			t.Error("an image was dropped right after its build")
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDockerPurgeLeavesOthersAlone(t *testing.T) {
	h, other := newHarness(t, nil), newHarness(t, nil)
	res := h.must(t, map[string]string{"index.html": "mine"})
	theirs := other.must(t, map[string]string{"index.html": "theirs"})
	if err := Purge(t.Context(), h.id, h.Endpoint().Address); err != nil {
		t.Fatal(err)
	}
	if left := docker(t, "images", "-q", h.Endpoint().Address+"/"+res.Image.Repository); left != "" {
		t.Errorf("left: %s", left)
	}
	docker(t, "image", "inspect", other.Endpoint().Address+"/"+theirs.Image.Repository+"@"+theirs.Image.Digest)
}
