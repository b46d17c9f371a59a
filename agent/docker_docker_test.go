//go:build docker

package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dockercontainer "github.com/docker/docker/api/types/container"

	"paas/api"
	"paas/cluster"
)

// host is a node on the real engine with a cluster of its own, purged at the end.
type host struct {
	t     *testing.T
	d     *docker
	image cluster.Image
	calls *calls
	m     *reconciler
	disk  map[cluster.AllocationID]api.Observed
	stop  func()

	mu   sync.Mutex
	news []api.Observed // guarded by mu
}

func newHost(t *testing.T) *host {
	t.Helper()
	b := make([]byte, 8)
	_, _ = rand.Read(b)
	id := cluster.ClusterID(hex.EncodeToString(b))
	d, err := newDocker(id)
	if err != nil {
		t.Fatal(err)
	}
	busybox, err := d.client.ImageInspect(t.Context(), "busybox:latest")
	if err != nil {
		t.Fatalf("these tests need the image busybox:latest in the engine: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := purge(ctx, id); err != nil {
			t.Errorf("purge: %v", err)
		}
		left, _ := d.ownVolumes(ctx, "") // a purge leaves them
		for _, v := range left {
			_ = d.DestroyVolume(ctx, cluster.VolumeID(v.Labels[labelVolume]))
		}
		_ = d.client.Close()
	})
	return &host{t: t, d: d, image: cluster.Image{Digest: busybox.ID}, disk: map[cluster.AllocationID]api.Observed{}}
}

// begin starts an agent's life.
func (h *host) begin(set *api.AssignmentSet) {
	h.t.Helper()
	var known []api.Observed
	for _, o := range h.disk {
		known = append(known, o)
	}
	b := newBoard(known, h.keep, func(cluster.AllocationID) {})
	s := &shared{cluster: h.d.cluster, life: randomName(), runtime: h.d.runtime(), probe: checkReplica, board: b, archive: newArchive(),
		registry: func() cluster.RegistryEndpoint { return cluster.RegistryEndpoint{} }, listening: listeningPorts,
		starts: make(chan struct{}, 2), users: newUsers(), pins: newPins(), log: slog.New(slog.DiscardHandler)}
	h.m = newReconciler(s, set)
	h.calls = &calls{cluster: s.cluster, life: s.life, runtime: s.runtime, board: b, archive: s.archive, assignment: h.m.assignment, registry: s.registry, pins: s.pins}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.m.watch(ctx) })
	wg.Go(func() { _ = h.m.run(ctx, func() {}) })
	var once sync.Once
	h.stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	h.t.Cleanup(h.stop)
}

func (h *host) keep(o api.Observed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.disk[o.ID] = o
	h.news = append(h.news, o)
}

// assignment is one that runs a shell script.
func (h *host) assignment(id cluster.AllocationID, script string) api.Assignment {
	a := assignment(id, "sh", "-c", script)
	a.Image = h.image
	a.Process.StopGrace = 2 * time.Second
	return a
}

// await waits for news of an allocation in a state.
func (h *host) await(id cluster.AllocationID, s cluster.AllocationState) api.Observed {
	h.t.Helper()
	return h.awaitWhere(id, s.String(), func(o cluster.Observation) bool { return o.State == s })
}

func (h *host) awaitWhere(id cluster.AllocationID, what string, ok func(cluster.Observation) bool) api.Observed {
	h.t.Helper()
	var found api.Observed
	soon(h.t, string(id)+" "+what, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		i := slices.IndexFunc(h.news, func(o api.Observed) bool { return o.ID == id && ok(o.Observation) })
		if i >= 0 {
			found = h.news[i]
		}
		return i >= 0
	})
	return found
}

func (h *host) inspect(id string) dockercontainer.InspectResponse {
	h.t.Helper()
	in, err := h.d.client.ContainerInspect(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return in
}

// server is a script that serves HTTP on a port.
func server(port string) string {
	return "mkdir /tmp/w; echo hi > /tmp/w/index.html; exec httpd -f -p " + port + " -h /tmp/w"
}

func TestDockerKeepsTheRuntimeContract(t *testing.T) {
	h := newHost(t)
	contract{T: t, cluster: h.d.cluster, rt: h.d.runtime(), present: h.image}.check()
}

func TestDockerLife(t *testing.T) {
	h := newHost(t)
	a := h.assignment("a-1", server("8080"))
	a.Process.Check = cluster.Check{Kind: cluster.CheckHTTP, Path: "/index.html"}
	h.begin(setOf(a))
	o := h.await("a-1", cluster.AllocationHealthy)
	if o.Observation.Address == "" || o.Observation.StartedAt.IsZero() {
		t.Errorf("healthy, but %+v", o.Observation)
	}
	a.Desired = cluster.DesiredStop
	h.m.assign(setOf(a))
	h.await("a-1", cluster.AllocationStopped)
	if all, err := h.d.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("left: %v, %v", all, err)
	}
}

func TestDockerCrashIsReportedAtOnce(t *testing.T) {
	h := newHost(t)
	a := h.assignment("a-1", "echo to stdout; echo to stderr >&2; exit 7")
	h.begin(setOf(a))
	o := h.await("a-1", cluster.AllocationBackoff)
	c, err := h.d.Inspect(t.Context(), o.Observation.ContainerID)
	if err != nil {
		t.Fatal(err)
	}
	if o.Observation.ExitCode != 7 || o.Observation.OOM || !strings.HasPrefix(o.Observation.Reason, "exited with code 7 after ") {
		t.Errorf("got %+v", o.Observation)
	}
	slices.Sort(o.Log)
	if !slices.Equal(o.Log, []string{"to stderr", "to stdout"}) {
		t.Errorf("evidence: %q", o.Log)
	}
	second := h.awaitWhere("a-1", "second start", func(o cluster.Observation) bool { return o.State == cluster.AllocationStarting && o.Restarts == 1 })
	if wait := second.Observation.StartedAt.Sub(c.FinishedAt); wait < time.Second {
		t.Errorf("started again after %s, want at least 1s; replica_test.go has the exact waits in fake time", wait)
	}
	if second.Observation.ContainerID == o.Observation.ContainerID {
		t.Error("the second start has the first one's file system")
	}
}

func TestDockerExitIsKnownAtOnce(t *testing.T) {
	h := newHost(t)
	a := h.assignment("a-1", "sleep 3600")
	a.Process.Port = 0
	h.begin(setOf(a))
	o := h.await("a-1", cluster.AllocationHealthy)
	if err := h.d.client.ContainerKill(t.Context(), o.Observation.ContainerID, "KILL"); err != nil {
		t.Fatal(err)
	}
	h.await("a-1", cluster.AllocationBackoff)
	known := time.Now()
	c, err := h.d.Inspect(t.Context(), o.Observation.ContainerID)
	if err != nil {
		t.Fatal(err)
	}
	took := known.Sub(c.FinishedAt)
	t.Logf("exit known after %s", took)
	if took > 10*time.Second { // 100 ms on an idle host; this one may be building something
		t.Errorf("exit known after %s", took)
	}
}

func TestDockerOutOfMemory(t *testing.T) {
	h := newHost(t)
	a := h.assignment("a-1", "tail /dev/zero")
	a.Process.MemoryBytes = 16 << 20
	h.begin(setOf(a))
	o := h.await("a-1", cluster.AllocationBackoff).Observation
	if !o.OOM || o.ExitCode != 137 || !strings.HasPrefix(o.Reason, "ran out of memory (limit 16 MiB)") {
		t.Errorf("got %+v", o)
	}
}

func TestDockerIgnoredSIGTERM(t *testing.T) {
	h := newHost(t)
	a := h.assignment("a-1", "trap '' TERM; while :; do sleep 1; done")
	a.Process.Port = 0
	h.begin(setOf(a))
	h.await("a-1", cluster.AllocationHealthy)
	begun := time.Now()
	h.m.assign(setOf())
	o := h.await("a-1", cluster.AllocationStopped)
	if took := time.Since(begun); took < 1900*time.Millisecond || took > patience/2 {
		t.Errorf("stopped after %s, want the grace of 2s", took)
	}
	if o.Observation.ExitCode != 137 {
		t.Errorf("exit code %d, want 137", o.Observation.ExitCode)
	}
}

func TestDockerSIGTERMReachesTheApp(t *testing.T) {
	h := newHost(t)
	a := h.assignment("a-1", "trap 'echo bye; exit 5' TERM; while :; do sleep 0.1; done")
	a.Process.Port = 0
	h.begin(setOf(a))
	h.await("a-1", cluster.AllocationHealthy)
	a.Desired = cluster.DesiredStop
	h.m.assign(setOf(a))
	o := h.await("a-1", cluster.AllocationStopped)
	if o.Observation.ExitCode != 5 {
		t.Errorf("exit code %d, want the app's own 5", o.Observation.ExitCode)
	}
	if lines := h.calls.archive.get("a-1"); len(lines) != 1 || lines[0].Text != "bye" {
		t.Errorf("last words: %v", lines)
	}
}

func TestDockerReadoptsWithoutRestart(t *testing.T) {
	h := newHost(t)
	set := setOf(h.assignment("a-1", server("8080")))
	h.begin(set)
	o := h.await("a-1", cluster.AllocationHealthy).Observation
	before := h.inspect(o.ContainerID)
	h.stop()
	h.mu.Lock()
	h.news = nil
	h.mu.Unlock()
	h.begin(set)
	soon(t, "adopted", func() bool {
		h.m.mu.Lock()
		defer h.m.mu.Unlock()
		return len(h.m.replicas) == 1
	})
	after := h.inspect(o.ContainerID)
	if !after.State.Running || after.State.StartedAt != before.State.StartedAt || after.RestartCount != 0 {
		t.Errorf("container changed: %+v, was %+v", after.State, before.State)
	}
	// Its exit is noticed: the new life owns it.
	if err := h.d.client.ContainerKill(t.Context(), o.ContainerID, "KILL"); err != nil {
		t.Fatal(err)
	}
	h.await("a-1", cluster.AllocationBackoff)
	if h.news[0].Observation.State != cluster.AllocationBackoff {
		t.Errorf("adoption made news: %+v", h.news[0])
	}
}

func TestDockerStraysAndStrangers(t *testing.T) {
	h, other := newHost(t), newHost(t)
	s := spec{Cluster: h.d.cluster, Assignment: h.assignment("a-9", "sleep 3600"), Image: imageRef{Image: h.image}}
	theirs := s
	theirs.Cluster = other.d.cluster
	start := func(d *docker, s spec) string {
		id, err := d.Create(t.Context(), s)
		if err == nil {
			err = d.Start(t.Context(), id)
		}
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	start(h.d, s)
	left := s
	left.OneOff = &oneOff{Name: "left", Life: "before"}
	start(h.d, left)
	stranger := start(other.d, theirs)
	byHand := h.startByHand()
	h.begin(setOf())
	soon(t, "strays gone", func() bool { all, err := h.d.List(t.Context()); return err == nil && len(all) == 0 })
	for what, err := range map[string]error{
		"stop":    h.d.Stop(t.Context(), stranger, 0),
		"start":   h.d.Start(t.Context(), stranger),
		"inspect": func() error { _, err := h.d.Inspect(t.Context(), stranger); return err }(),
		"exec": func() error {
			_, err := h.d.Exec(t.Context(), stranger, api.ExecRequest{Command: []string{"true"}})
			return err
		}(),
		"logs": h.d.Logs(t.Context(), stranger, logQuery{}, func(logEntry) error { return nil }),
	} {
		if !errors.Is(err, errNoContainer) {
			t.Errorf("%s of another cluster's container: %v", what, err)
		}
	}
	if err := h.d.Remove(t.Context(), stranger); err != nil || !h.inspect(stranger).State.Running {
		t.Errorf("remove of another cluster's container did something: %v", err)
	}
	if err := purge(t.Context(), h.d.cluster); err != nil {
		t.Error(err)
	}
	if !h.inspect(stranger).State.Running {
		t.Error("purge of one cluster hit another")
	}
	if !h.inspect(byHand).State.Running {
		t.Error("a container that somebody started of an app's image was ended")
	}
}

// startByHand starts what "docker run" of an app's image does: the container inherits
// the image's labels, and has none of an allocation.
func (h *host) startByHand() string {
	h.t.Helper()
	c := h.d.client
	made, err := c.ContainerCreate(h.t.Context(), &dockercontainer.Config{Image: "busybox:latest", Cmd: []string{"sleep", "3600"},
		Labels: map[string]string{labelCluster: string(h.d.cluster), labelApp: "shop"}}, nil, nil, nil, "")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = c.ContainerRemove(context.Background(), made.ID, dockercontainer.RemoveOptions{Force: true})
	})
	if err := c.ContainerStart(h.t.Context(), made.ID, dockercontainer.StartOptions{}); err != nil {
		h.t.Fatal(err)
	}
	return made.ID
}

// TestDockerStoppedFromOutside: the engine says of a container that somebody stops,
// and of all when it stops itself, that it sends the signal.
func TestDockerStoppedFromOutside(t *testing.T) {
	h := newHost(t)
	h.begin(setOf(h.assignment("a-1", server("8080"))))
	id := h.await("a-1", cluster.AllocationHealthy).Observation.ContainerID
	grace := 0
	if err := h.d.client.ContainerStop(t.Context(), id, dockercontainer.StopOptions{Timeout: &grace}); err != nil {
		t.Fatal(err)
	}
	o := h.await("a-1", cluster.AllocationBackoff).Observation
	if o.Restarts != 0 || !strings.HasSuffix(o.Reason, ", stopped from outside") {
		t.Errorf("got %+v", o)
	}
}

func TestDockerBootOnTheWrongPort(t *testing.T) {
	h := newHost(t)
	wrong := h.assignment("a-1", server("3000"))
	inside := h.assignment("a-2", server("127.0.0.1:8080"))
	inside.Slot = 2
	for _, a := range []*api.Assignment{&wrong, &inside} {
		a.Process.Check.Boot = 3 * time.Second
	}
	h.begin(setOf(wrong, inside))
	for id, want := range map[cluster.AllocationID]string{
		"a-1": "did not listen on port 8080 within 3s (listening: 3000)",
		"a-2": "did not listen on port 8080 within 3s (listening: localhost:8080)",
	} {
		unhealthy, failed := h.await(id, cluster.AllocationUnhealthy).Observation, h.await(id, cluster.AllocationFailed).Observation
		if unhealthy.Reason != want || failed.Reason != want || failed.ContainerID == "" {
			t.Errorf("%s: got %q then %q, want %q", id, unhealthy.Reason, failed.Reason, want)
		}
	}
}

func TestDockerIsolation(t *testing.T) {
	h := newHost(t)
	b := h.assignment("a-2", server("8080"))
	b.Slot = 2
	h.begin(setOf(h.assignment("a-1", server("8080")), b))
	one, two := h.await("a-1", cluster.AllocationHealthy).Observation, h.await("a-2", cluster.AllocationHealthy).Observation
	in := h.inspect(one.ContainerID)
	hc := in.HostConfig
	if got, want := strings.TrimPrefix(in.Name, "/"), "paas-"+short(h.d.cluster)+"-blog-web-1-a-1"; got != want {
		t.Errorf("name %s, want %s", got, want)
	}
	if hc.Privileged || len(hc.Binds) > 0 || len(hc.Mounts) > 0 || len(hc.PortBindings) > 0 || hc.PublishAllPorts || len(hc.Devices) > 0 {
		t.Errorf("host config: %+v", hc)
	}
	for _, ports := range in.NetworkSettings.Ports {
		if len(ports) > 0 {
			t.Errorf("published: %v", in.NetworkSettings.Ports)
		}
	}
	if !slices.Equal(hc.CapDrop, []string{"ALL"}) || !slices.Contains(hc.SecurityOpt, "no-new-privileges") || *hc.PidsLimit != pidsLimit || hc.MemorySwap != hc.Memory || hc.Memory != 64<<20 {
		t.Errorf("host config: %+v", hc)
	}
	if g, err := h.d.given(t.Context()); err != nil || g.cpus == 0 || hc.NanoCPUs != nanoCPUs(g.cpus) {
		t.Errorf("%d billionths of a processor, %v; the engine gives %+v", hc.NanoCPUs, err, g)
	}
	if hc.RestartPolicy.Name != "no" || hc.LogConfig.Config["max-size"] != "10m" || hc.PidMode != "" || hc.UTSMode != "" || hc.IpcMode != "private" {
		t.Errorf("host config: %+v", hc)
	}
	status, code := h.exec(one.ContainerID, "cat", "/proc/1/status")
	for _, want := range []string{"NoNewPrivs:\t1", "CapEff:\t00000000000004fb", "CapBnd:\t00000000000004fb", "Seccomp:\t2"} {
		if code != 0 || !strings.Contains(status, want) {
			t.Errorf("process status lacks %q:\n%s", want, status)
		}
	}
	ip, _, _ := strings.Cut(two.Address, ":")
	if out, code := h.exec(one.ContainerID, "sh", "-c", "nc -w 2 "+ip+" 8080 </dev/null"); code == 0 {
		t.Errorf("one container reached another: %s", out)
	}
	if out, code := h.exec(one.ContainerID, "sh", "-c", "nc -w 2 127.0.0.1 8080 </dev/null"); code != 0 {
		t.Errorf("the probe itself does not work: code %d: %s", code, out)
	}
}

// exec runs a command in a container and returns what it printed.
func (h *host) exec(id string, command ...string) (string, int) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	s, err := h.d.Exec(ctx, id, api.ExecRequest{Command: command})
	if err != nil {
		h.t.Fatal(err)
	}
	var out strings.Builder
	if err := s.Output(&out, &out); err != nil {
		h.t.Fatal(err)
	}
	code, err := s.Exit(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	return out.String(), code
}
