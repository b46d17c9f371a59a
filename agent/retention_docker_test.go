//go:build docker

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dockercontainer "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"

	"paas/cluster"
)

// publish puts an image with a shell and the label of a cluster into a registry, in
// which it is a release of "blog"; the engine forgets it.
func (h *host) publish(e cluster.RegistryEndpoint, of cluster.ClusterID, n int) imageRef {
	h.t.Helper()
	c := h.d.client
	made, err := c.ContainerCreate(h.t.Context(), &dockercontainer.Config{Image: h.image.Digest, Cmd: []string{"true"}}, nil, nil, nil, "")
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() {
		_ = c.ContainerRemove(context.WithoutCancel(h.t.Context()), made.ID, dockercontainer.RemoveOptions{Force: true})
	}()
	repository := fmt.Sprintf("apps/%s", h.d.cluster)
	tag := fmt.Sprintf("%s/%s:%d", e.Address, repository, n)
	if _, err := c.ContainerCommit(h.t.Context(), made.ID, dockercontainer.CommitOptions{Reference: tag,
		Changes: []string{fmt.Sprintf("LABEL %s=%s paas.release=%d", labelCluster, of, n)}}); err != nil {
		h.t.Fatal(err)
	}
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: e.Username, Password: e.Password.Reveal()})
	if err != nil {
		h.t.Fatal(err)
	}
	body, err := c.ImagePush(h.t.Context(), tag, image.PushOptions{RegistryAuth: auth})
	if err != nil {
		h.t.Fatal(err)
	}
	progress, err := io.ReadAll(body)
	_ = body.Close()
	if err != nil {
		h.t.Fatal(err)
	}
	ref := imageRef{Registry: e, Image: cluster.Image{Repository: repository, Digest: pushed(h.t, string(progress))}}
	for _, name := range []string{tag, ref.String()} {
		h.forget(name)
	}
	h.t.Cleanup(func() { h.forget(ref.String()) })
	return ref
}

// forget takes a name of an image away, if it is there.
func (h *host) forget(name string) {
	_, _ = h.d.client.ImageRemove(context.WithoutCancel(h.t.Context()), name, image.RemoveOptions{})
}

// retention is the host's, on a full disk.
func (h *host) retention(e cluster.RegistryEndpoint, p *pins) *retention {
	return &retention{images: h.d, containers: h.d, mirror: e.Address, assigned: func() []imageRef { return nil }, pins: p,
		space: func() (cluster.Space, bool) {
			return cluster.Space{TotalBytes: 100, FreeBytes: 1}, true
		},
		save: func(spares) error { return nil }, log: slog.New(slog.DiscardHandler)}
}

// TestDockerUnusedImagesAreRemoved: what a container has, what others named, and what
// is of another cluster stays.
func TestDockerUnusedImagesAreRemoved(t *testing.T) {
	h, e := newHost(t), newRegistry(t)
	used, named, old, foreign := h.publish(e, h.d.cluster, 1), h.publish(e, h.d.cluster, 2), h.publish(e, h.d.cluster, 3), h.publish(e, "another", 4)
	for _, ref := range []imageRef{used, named, old, foreign} {
		if err := h.d.Fetch(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	theirs := "theirs-" + string(h.d.cluster) + ":1"
	if err := h.d.client.ImageTag(t.Context(), named.String(), theirs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.forget(theirs) })
	id, err := h.d.Create(t.Context(), spec{Cluster: h.d.cluster, Assignment: h.assignment("a-1", "true"), Image: used})
	if err != nil {
		t.Fatal(err)
	}
	r := h.retention(e, newPins())
	look := func(want ...imageRef) {
		t.Helper()
		if _, err := r.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, ref := range []imageRef{used, named, old, foreign} {
			if has, err := h.d.Has(t.Context(), ref); err != nil || has != slices.Contains(want, ref) {
				t.Errorf("image %d is there: %v, %v", i+1, has, err)
			}
		}
	}
	look(used, foreign)
	if _, err := h.d.client.ImageInspect(t.Context(), theirs); err != nil {
		t.Errorf("an image went that others named: %v", err)
	}
	if gone, err := h.d.Drop(t.Context(), used.String()); gone || err != nil {
		t.Errorf("an image was dropped that a container has: %v, %v", gone, err)
	}
	if gone, err := h.d.Drop(t.Context(), old.String()); !gone || err != nil {
		t.Errorf("an image that is gone: %v, %v", gone, err)
	}
	if err := h.d.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	look(foreign)
	if err := h.d.Fetch(t.Context(), old); err != nil {
		t.Errorf("what went cannot be pulled again: %v", err)
	}
}

// TestDockerPurgeTakesTheMirrorsImages: of this agent, by whatever name, and nobody else's.
func TestDockerPurgeTakesTheMirrorsImages(t *testing.T) {
	h, now, former, foreign := newHost(t), newRegistry(t), newRegistry(t), newRegistry(t)
	mine, older, theirs := h.publish(now, h.d.cluster, 1), h.publish(former, h.d.cluster, 2), h.publish(foreign, h.d.cluster, 3)
	for _, ref := range []imageRef{mine, older, theirs} {
		if err := h.d.Fetch(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	claim, err := NewClaim(h.d.cluster, "")
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Release()
	dir := t.TempDir()
	if err := claim.PurgeImages(t.Context(), dir); err != nil {
		t.Errorf("an agent that never was: %v", err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) > 0 {
		t.Errorf("a purge made %v, %v", all, err)
	}
	m, err := openMemory(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.saveRegistry(now), m.saveSpares(spares{Mirrors: []string{former.Address}}), m.close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := claim.PurgeImages(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		for i, ref := range []imageRef{mine, older, theirs} {
			if has, err := h.d.Has(t.Context(), ref); err != nil || has != (i == 2) {
				t.Errorf("image %d is there: %v, %v", i+1, has, err)
			}
		}
	}
}

// TestDockerReplicasStartWhileImagesGo has a replica start again and again from an
// image that is removed whenever nothing has it.
func TestDockerReplicasStartWhileImagesGo(t *testing.T) {
	h, e := newHost(t), newRegistry(t)
	ref := h.publish(e, h.d.cluster, 1)
	h.begin(nil)
	h.m.shared.registry = func() cluster.RegistryEndpoint { return e }
	r := h.retention(e, h.m.shared.pins)
	ctx, cancel := context.WithCancel(t.Context())
	var looks sync.WaitGroup
	looks.Go(func() {
		for ctx.Err() == nil {
			if _, err := r.pass(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	defer looks.Wait()
	defer cancel()
	for i := range 12 {
		a := h.assignment(cluster.AllocationID(fmt.Sprint("a-", i)), "sleep 3600")
		a.Image, a.Process.StopGrace = ref.Image, time.Millisecond
		h.m.assign(setOf(a))
		o := h.awaitWhere(a.ID, "started", func(o cluster.Observation) bool {
			return o.State == cluster.AllocationStarting || strings.HasPrefix(o.Reason, "cannot")
		})
		if o.Observation.State != cluster.AllocationStarting {
			t.Errorf("start %d: %+v", i, o.Observation)
		}
		a.Desired = cluster.DesiredStop
		h.m.assign(setOf(a))
		h.await(a.ID, cluster.AllocationStopped)
		soon(t, "the image goes", func() bool {
			has, err := h.d.Has(t.Context(), ref)
			return err == nil && !has
		})
	}
}
