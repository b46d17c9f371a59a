package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"paas/api"
	"paas/builder"
	"paas/cluster"
)

// realImages is a stub's builds in a builder's registry. What was built comes into the
// registry as from another server.
type realImages struct {
	*builder.Builder
	stub *stubImages
	made made
}

// made is content by digest.
type made struct {
	bytes  map[string][]byte
	others builder.Sources
}

// realRegistry is for stubImages.real.
func realRegistry(s *stubImages, c builder.Config) (Images, error) {
	r := &realImages{stub: s, made: made{map[string][]byte{}, c.Sources}}
	c.Sources = r.made
	var err error
	r.Builder, err = builder.New(c)
	return r, err
}

// Build makes an image of one layer.
func (r *realImages) Build(ctx context.Context, req builder.Request) (*builder.Result, error) {
	res, err := r.stub.Build(ctx, req)
	if err != nil {
		return nil, err
	}
	r.stub.mu.Lock()
	layer, config := []byte("layer of "+res.Image.Digest), []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers"}}`)
	manifest, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
		"config": r.made.put("application/vnd.docker.container.image.v1+json", config),
		"layers": []any{r.made.put("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)}})
	if err == nil {
		res.Image.Digest = r.made.put("", manifest)["digest"].(string)
	}
	r.stub.mu.Unlock()
	return res, errors.Join(err, r.Ensure(ctx, res.Image))
}

func (m made) put(kind string, b []byte) map[string]any {
	d := fmt.Sprintf("sha256:%x", sha256.Sum256(b))
	m.bytes[d] = b
	return map[string]any{"mediaType": kind, "size": len(b), "digest": d}
}

// Fetch implements builder.Sources.
func (m made) Fetch(ctx context.Context, c cluster.Content, take func(io.Reader, int64) error) error {
	if b, ok := m.bytes[c.Digest]; ok {
		return take(c.Verified(bytes.NewReader(b), int64(len(b))), int64(len(b)))
	}
	return m.others.Fetch(ctx, c, take)
}

// has reports whether a host's own registry has an image, on its disk.
func (h *host) has(image cluster.Image) bool {
	return h.server.images.(*realImages).Has(h.t.Context(), image)
}

// imageOf is the image of an app's newest release.
func (h *host) imageOf(app cluster.AppName) cluster.Image {
	h.t.Helper()
	st := h.server.store.State()
	a, err := st.App(app)
	if err != nil {
		h.t.Fatal(err)
	}
	rel, err := st.Release(app, a.Current)
	if err != nil {
		h.t.Fatal(err)
	}
	return rel.Image
}

// TestImagesOutliveTheLeader deploys twice, stops who built, and rolls back.
func TestImagesOutliveTheLeader(t *testing.T) {
	g := newGroupWith(t, 3, realRegistry)
	first, others := g.leader()
	g[others[0]].createApp("blog")
	var images []cluster.Image
	for i := range 2 {
		_, n, err := g[others[0]].deploy("blog", map[string]string{"Procfile": fmt.Sprintf("web: ok\nw%d: ok\n", i)})
		if err != nil {
			t.Fatalf("%v\n%s", err, n)
		}
		if !strings.Contains(n.String(), "Image is on 2 of 3 servers") && !strings.Contains(n.String(), "Image is on 3 of 3 servers") {
			t.Errorf("nobody is told of the copies:\n%s", n)
		}
		if took := n.last().Phase; took["copy"] < 0 {
			t.Errorf("phases %v", took)
		}
		images = append(images, g[first].imageOf("blog"))
	}
	g.await("every server has both images", func() bool {
		for _, h := range g {
			if !h.has(images[0]) || !h.has(images[1]) {
				return false
			}
		}
		return true
	})

	g[first].stop()
	survivor := g[others[0]]
	if _, err := survivor.client.Rollback(t.Context(), "blog", api.Rollback{To: 1}); err != nil {
		t.Fatal(err)
	}
	g.await("the old image runs", func() bool { return survivor.imageOf("blog") == images[0] })
}

// TestDamagedImageIsMended damages a layer's file on each server in turn.
func TestDamagedImageIsMended(t *testing.T) {
	g := newGroupWith(t, 3, realRegistry)
	at, _ := g.leader()
	g[at].createApp("blog")
	g[at].mustDeploy("blog", map[string]string{"Procfile": "web: ok\n"})
	image := g[at].imageOf("blog")
	g.await("every server has the image", func() bool { return g[0].has(image) && g[1].has(image) && g[2].has(image) })
	for i, h := range g {
		h.server.images.(*realImages).made.bytes = nil // there is nothing but what servers have
		files, err := filepath.Glob(filepath.Join(h.dir, "registry/blobs/docker/registry/v2/blobs/sha256/*/*/data"))
		if err != nil || len(files) != 3 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err == nil {
				err = os.WriteFile(f, data[:len(data)-1], 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if h.has(image) {
			t.Errorf("server %d believes that it has the image", i)
		}
		g.await("the image is whole again", func() bool { return h.has(image) })
	}
}

// TestNoReleaseWithoutCopies stops what a follower has of images, and the other one.
func TestNoReleaseWithoutCopies(t *testing.T) {
	g := newGroupWith(t, 3, func(s *stubImages, c builder.Config) (Images, error) {
		r, err := realRegistry(s, c)
		return &stingy{r.(*realImages)}, err
	})
	at, _ := g.leader()
	g[at].createApp("blog")
	_, n, err := g[at].deploy("blog", map[string]string{"Procfile": "web: ok\n"})
	if cluster.KindOf(err) != cluster.KindUnavailable || !strings.Contains(n.String(), "no room for it") {
		t.Errorf("%v\n%s", err, n)
	}
	if app, err := g[at].client.App(t.Context(), "blog"); err != nil || app.Current != 0 {
		t.Errorf("%+v %v", app, err)
	}
}

// stingy lets nothing in that was built elsewhere.
type stingy struct{ *realImages }

// Ensure implements ImageStore.
func (s *stingy) Ensure(context.Context, cluster.Image) error { return errors.New("no room for it") }
