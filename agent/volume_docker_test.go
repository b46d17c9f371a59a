//go:build docker

package agent

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/volume"

	"paas/api"
	"paas/cluster"
)

// keeper is a replica that counts its starts in its volume, and says how often.
func (h *host) keeper(id cluster.AllocationID, fresh string) api.Assignment {
	a := h.assignment(id, "echo up >> /data/starts; echo started $(wc -l < /data/starts) times; trap 'exit 0' TERM; while :; do sleep 0.1; done")
	a.Process.Check, a.Process.Port = cluster.Check{}, 0
	a.Mounts = []cluster.Mount{{Volume: "vol-1", Name: "data", Path: "/data", Fresh: fresh == "fresh"}}
	return a
}

// said waits for a line of a replica's output.
func (h *host) said(container, line string) {
	h.t.Helper()
	soon(h.t, container+" says "+line, func() bool {
		return slices.ContainsFunc(readTail(h.t.Context(), h.d, container, 20), func(e logEntry) bool { return e.Text == line })
	})
}

func (h *host) volumes() []string {
	h.t.Helper()
	all, err := h.d.ownVolumes(h.t.Context(), "")
	if err != nil {
		h.t.Fatal(err)
	}
	var out []string
	for _, v := range all {
		out = append(out, v.Labels[labelVolume])
	}
	return out
}

// TestDockerDataOutlivesEverythingButItsDestruction: the crash of a replica, the
// restart of the agent, the next release, a rollback, a purge of the host.
func TestDockerDataOutlivesEverythingButItsDestruction(t *testing.T) {
	h := newHost(t)
	first := h.keeper("a-1", "fresh")
	h.begin(setOf(first))
	one := h.await("a-1", cluster.AllocationHealthy).Observation.ContainerID
	h.said(one, "started 1 times")

	h.stop() // the agent
	h.begin(setOf(first))
	if err := h.d.client.ContainerKill(t.Context(), one, "KILL"); err != nil {
		t.Fatal(err)
	}
	two := h.awaitWhere("a-1", "runs again", func(o cluster.Observation) bool {
		return o.State == cluster.AllocationHealthy && o.ContainerID != one
	}).Observation.ContainerID
	h.said(two, "started 2 times")

	first.Desired = cluster.DesiredStop
	h.m.assign(setOf(first))
	h.await("a-1", cluster.AllocationStopped)
	next := h.keeper("a-2", "")
	next.Release, next.Env = 2, map[string]cluster.Redacted{"LEVEL": "debug"}
	h.m.assign(setOf(next))
	h.said(h.await("a-2", cluster.AllocationHealthy).Observation.ContainerID, "started 3 times")
	back := h.keeper("a-3", "")
	back.Release = 3
	h.m.assign(setOf(back)) // a-2 ends first: its volume is a-3's
	h.said(h.await("a-3", cluster.AllocationHealthy).Observation.ContainerID, "started 4 times")
	in := h.inspect(h.await("a-3", cluster.AllocationHealthy).Observation.ContainerID)
	if len(in.Mounts) != 1 || in.Mounts[0].Name != "paas-"+short(h.d.cluster)+"-blog-data-vol-1" || in.Mounts[0].Destination != "/data" || !in.Mounts[0].RW {
		t.Errorf("mounts: %+v", in.Mounts)
	}

	h.stop()
	if err := purge(t.Context(), h.d.cluster); err != nil {
		t.Fatal(err)
	}
	if got := h.volumes(); !slices.Equal(got, []string{"vol-1"}) {
		t.Fatalf("a purge leaves the volumes %v", got)
	}
	h.begin(setOf(h.keeper("a-4", "")))
	h.said(h.await("a-4", cluster.AllocationHealthy).Observation.ContainerID, "started 5 times")

	gone := setOf()
	gone.Destroyed = []cluster.VolumeID{"vol-1", "vol-77"}
	h.m.assign(gone)
	soon(t, "the volume is destroyed", func() bool { return len(h.volumes()) == 0 })
	soon(t, "both are told", func() bool { return len(h.m.shared.board.takeGone())+len(h.volumes()) > 0 })
}

// A stranger's volume of the name, or one of another cluster, is neither used nor
// removed.
func TestDockerVolumesOfOthersAreLetBe(t *testing.T) {
	h := newHost(t)
	s := spec{Cluster: h.d.cluster, Assignment: h.keeper("a-1", "fresh"), Image: imageRef{Image: h.image}}
	name := s.volumeName(s.Assignment.Mounts[0])
	if _, err := h.d.client.VolumeCreate(t.Context(), volume.CreateOptions{Name: name, Labels: map[string]string{labelCluster: "another", labelVolume: "vol-1"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.d.client.VolumeRemove(context.Background(), name, false) })
	if _, err := h.d.Create(t.Context(), s); err == nil || !strings.Contains(err.Error(), "somebody else's") {
		t.Errorf("create: %v", err)
	}
	if err := h.d.DestroyVolume(t.Context(), "vol-1"); err != nil {
		t.Errorf("destroy: %v", err)
	}
	if _, err := h.d.client.VolumeInspect(t.Context(), name); err != nil {
		t.Errorf("the other's volume: %v", err)
	}
	if err := h.d.DestroyVolume(t.Context(), ""); err == nil {
		t.Error("every volume was destroyed")
	}
}

// TestDockerAContainerWithTheVolumeEndsFirst: what an agent of before left running.
func TestDockerAContainerWithTheVolumeEndsFirst(t *testing.T) {
	h := newHost(t)
	s := spec{Cluster: h.d.cluster, Assignment: h.keeper("a-1", "fresh"), Image: imageRef{Image: h.image}}
	id, err := h.d.Create(t.Context(), s)
	if err == nil {
		err = h.d.Start(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.said(id, "started 1 times")
	begun := time.Now()
	h.begin(setOf(h.keeper("a-2", "")))
	o := h.await("a-2", cluster.AllocationHealthy).Observation
	h.said(o.ContainerID, "started 2 times")
	if c, err := h.d.Inspect(t.Context(), id); err == nil && c.FinishedAt.After(o.StartedAt) {
		t.Errorf("both ran, %s after the beginning", time.Since(begun))
	}
}
