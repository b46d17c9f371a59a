//go:build docker

package agent

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"

	"paas/api"
	"paas/cluster"
)

// freshImage is an image whose one layer no engine has, of some megabytes: its contents
// by digest, and its manifest's.
func freshImage(t *testing.T) (contents map[string][]byte, manifest string) {
	t.Helper()
	var packed, layer bytes.Buffer
	noise := make([]byte, 8<<20)
	_, _ = rand.Read(noise)
	archive := tar.NewWriter(&packed)
	if err := errors.Join(archive.WriteHeader(&tar.Header{Name: "noise", Mode: 0o644, Size: int64(len(noise))})); err != nil {
		t.Fatal(err)
	}
	_, err := archive.Write(noise)
	zip := gzip.NewWriter(&layer)
	if err := errors.Join(err, archive.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := zip.Write(packed.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	contents = map[string][]byte{}
	add := func(kind string, b []byte) map[string]any {
		d := fmt.Sprintf("sha256:%x", sha256.Sum256(b))
		contents[d] = b
		return map[string]any{"mediaType": kind, "size": len(b), "digest": d}
	}
	config, err := json.Marshal(map[string]any{"architecture": goruntime.GOARCH, "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(packed.Bytes()))}}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
		"config": add("application/vnd.docker.container.image.v1+json", config),
		"layers": []any{add("application/vnd.docker.image.rootfs.diff.tar.gzip", layer.Bytes())}})
	if err != nil {
		t.Fatal(err)
	}
	return contents, add("", text)["digest"].(string)
}

// fleet are servers that have contents, each with a change of what it sends.
type fleet map[cluster.NodeID]*httptest.Server

func (f fleet) add(t *testing.T, id cluster.NodeID, contents map[string][]byte, change func(http.ResponseWriter, *http.Request, []byte)) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := cluster.ParseContent(r.URL.Path)
		b, ok := contents[c.Digest]
		if !ok {
			http.NotFound(w, r)
			return
		}
		change(w, r, b)
	}))
	t.Cleanup(s.Close)
	f[id] = s
}

// RoundTrip implements http.RoundTripper.
func (f fleet) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", f[cluster.NodeID(r.URL.Host)].Listener.Addr().String()
	return http.DefaultTransport.RoundTrip(r)
}

func honest(w http.ResponseWriter, r *http.Request, b []byte) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// TestDockerPullsThroughTheMirror has a real engine pull an image while one server
// breaks off in the middle of its layer, and another one lies about it.
func TestDockerPullsThroughTheMirror(t *testing.T) {
	h := newHost(t)
	contents, manifest := freshImage(t)
	servers := fleet{}
	servers.add(t, "a", contents, func(w http.ResponseWriter, r *http.Request, b []byte) {
		if len(b) < 1<<20 {
			honest(w, r, b)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b[:len(b)/2])
		panic(http.ErrAbortHandler)
	})
	servers.add(t, "b", contents, func(w http.ResponseWriter, r *http.Request, b []byte) {
		b = bytes.Clone(b)
		b[len(b)-9] ^= 1
		honest(w, r, b)
	})
	servers.add(t, "c", contents, honest)
	m, err := openMirror(nil, api.NewImageSource(servers, func() []cluster.NodeID { return []cluster.NodeID{"a", "b", "c"} }), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := m.run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })

	ref := imageRef{Registry: m.endpoint, Image: cluster.Image{Repository: "apps/" + string(h.d.cluster), Digest: manifest}}
	t.Cleanup(func() {
		_, _ = h.d.client.ImageRemove(context.Background(), ref.String(), image.RemoveOptions{}) // the test may not have pulled it
	})
	wrong := ref
	wrong.Registry.Password = "guess"
	if err := h.d.Fetch(t.Context(), wrong); err == nil || errors.Is(err, errNoImage) {
		t.Errorf("wrong password: %v", err)
	}
	absent := ref
	absent.Image.Digest = "sha256:" + strings.Repeat("0", 64)
	if err := h.d.Fetch(t.Context(), absent); !errors.Is(err, errNoImage) {
		t.Errorf("absent: %v", err)
	}
	began := time.Now()
	if err := h.d.Fetch(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	t.Logf("pulled after %s", time.Since(began).Round(time.Millisecond))
	if has, err := h.d.Has(t.Context(), ref); !has || err != nil {
		t.Errorf("after the pull: %v, %v", has, err)
	}
}
