//go:build docker

package agent

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"

	"paas/cluster"
)

// newRegistry is a registry that asks for a password.
func newRegistry(t *testing.T) cluster.RegistryEndpoint {
	t.Helper()
	config := &configuration.Configuration{Storage: configuration.Storage{"inmemory": configuration.Parameters{}}}
	config.Log.Level = "panic"
	config.HTTP.Secret = "test"
	app := handlers.NewApp(t.Context(), config)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "node" || pass != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="paas"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		app.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return cluster.RegistryEndpoint{Address: s.Listener.Addr().String(), Username: "node", Password: "secret"}
}

func TestDockerPull(t *testing.T) {
	h := newHost(t)
	e := newRegistry(t)
	repository := "apps/" + string(h.d.cluster)
	tag := e.Address + "/" + repository + ":test"
	if err := h.d.client.ImageTag(t.Context(), "busybox:latest", tag); err != nil {
		t.Fatal(err)
	}
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: e.Username, Password: e.Password.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	body, err := h.d.client.ImagePush(t.Context(), tag, image.PushOptions{RegistryAuth: auth})
	if err != nil {
		t.Fatal(err)
	}
	progress, err := io.ReadAll(body)
	_ = body.Close()
	if err != nil {
		t.Fatal(err)
	}
	forget := func(ref string) { _, _ = h.d.client.ImageRemove(t.Context(), ref, image.RemoveOptions{}) }
	forget(tag)
	ref := imageRef{Registry: e, Image: cluster.Image{Repository: repository, Digest: pushed(t, string(progress))}}
	forget(ref.String())
	if has, err := h.d.Has(t.Context(), ref); has || err != nil {
		t.Fatalf("the image is there before it was pulled: %v, %v", has, err)
	}
	defer func() { _, _ = h.d.client.ImageRemove(t.Context(), ref.String(), image.RemoveOptions{}) }()

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
	for range 2 {
		if err := h.d.Fetch(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	if has, err := h.d.Has(t.Context(), ref); !has || err != nil {
		t.Errorf("after the pull: %v, %v", has, err)
	}
	if id, err := h.d.Create(t.Context(), spec{Cluster: h.d.cluster, Assignment: h.assignment("a-1", "true"), Image: ref}); err != nil || id == "" {
		t.Errorf("create from it: %v", err)
	}
}

// pushed finds the digest in the progress of a push.
func pushed(t *testing.T, progress string) string {
	t.Helper()
	for line := range strings.Lines(progress) {
		var l struct {
			Aux struct{ Digest string }
		}
		if json.Unmarshal([]byte(line), &l) == nil && l.Aux.Digest != "" {
			return l.Aux.Digest
		}
	}
	t.Fatalf("no digest in %s", progress)
	return ""
}
