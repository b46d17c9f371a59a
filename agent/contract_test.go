package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"paas/cluster"
)

// contract is what the agent relies on. The fake keeps it as a real engine does.
type contract struct {
	*testing.T
	ctx     context.Context
	cluster cluster.ClusterID
	rt      runtime
	present cluster.Image // an image with a shell that the engine has
}

// patience is how long a real engine may take for what it does at once when idle.
const patience = 30 * time.Second

// soon awaits a condition, in a bubble of fake time as well.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

// check proves the whole contract.
func (c contract) check() {
	ctx, cancel := context.WithCancel(c.Context())
	c.ctx = ctx
	news, connected, watched := watchEngine(ctx, c.rt)
	<-connected
	c.checkImages()
	c.checkLife()
	c.checkCrash(news)
	c.checkKill()
	c.checkVolumes()
	cancel()
	<-watched
}

func (c contract) spec(alloc cluster.AllocationID, command ...string) spec {
	a := assignment(alloc, command...)
	a.Image = c.present
	return spec{Cluster: c.cluster, Assignment: a, Image: imageRef{Image: c.present}}
}

// start creates and starts a container.
func (c contract) start(s spec) string {
	c.Helper()
	id, err := c.rt.containers.Create(c.ctx, s)
	if err == nil {
		err = c.rt.containers.Start(c.ctx, id)
	}
	if err != nil {
		c.Fatal(err)
	}
	return id
}

func (c contract) inspect(id string) container {
	c.Helper()
	found, err := c.rt.containers.Inspect(c.ctx, id)
	if err != nil {
		c.Fatal(err)
	}
	return found
}

func (c contract) checkImages() {
	if has, err := c.rt.images.Has(c.ctx, imageRef{Image: c.present}); !has || err != nil {
		c.Errorf("present image: %v, %v", has, err)
	}
	absent := imageRef{Image: cluster.Image{Digest: "sha256:" + strings.Repeat("0", 64)}}
	if has, err := c.rt.images.Has(c.ctx, absent); has || err != nil {
		c.Errorf("absent image: %v, %v", has, err)
	}
	if err := c.rt.images.Fetch(c.ctx, absent); !errors.Is(err, errNoImage) {
		c.Errorf("fetch of an absent image: %v", err)
	}
}

func (c contract) checkLife() {
	s := c.spec("a-1", sleeps...)
	first, err := c.rt.containers.Create(c.ctx, s)
	if err != nil {
		c.Fatal(err)
	}
	if x := c.inspect(first); !x.Created || x.Running || x.Allocation != "a-1" || x.App != "blog" || x.Instance != "web.1" || x.Spec != s.hash() {
		c.Errorf("created: %+v", x)
	}
	if err := c.rt.containers.Start(c.ctx, first); err != nil {
		c.Fatal(err)
	}
	if x := c.inspect(first); !x.Running || x.Created || x.IP == "" || x.PID == 0 || x.StartedAt.IsZero() {
		c.Errorf("started: %+v", x)
	}
	if all, err := c.rt.containers.List(c.ctx); err != nil || len(all) != 1 || all[0].ID != first || !all[0].Running {
		c.Errorf("list: %+v, %v", all, err)
	}
	second := c.start(s)
	if _, err := c.rt.containers.Inspect(c.ctx, first); !errors.Is(err, errNoContainer) || second == first {
		c.Errorf("a second container of the same name did not replace the first: %v", err)
	}
	for range 2 { // the second time it has stopped already
		if err := c.rt.containers.Stop(c.ctx, second, 5*time.Second); err != nil {
			c.Errorf("stop: %v", err)
		}
	}
	if x := c.inspect(second); x.Running || x.ExitCode != 143 || x.FinishedAt.IsZero() {
		c.Errorf("stopped: %+v", x)
	}
	for range 2 { // the second time it is gone already
		if err := c.rt.containers.Remove(c.ctx, second); err != nil {
			c.Errorf("remove: %v", err)
		}
	}
	for _, err := range []error{c.rt.containers.Stop(c.ctx, second, 0), c.rt.containers.Start(c.ctx, second)} {
		if !errors.Is(err, errNoContainer) {
			c.Errorf("a container that is gone: %v", err)
		}
	}
}

func (c contract) checkCrash(news func() []string) {
	id := c.start(c.spec("a-2", crashes...))
	soon(c.T, "news of the crash", func() bool { return slices.Contains(news(), "a-2") && !c.inspect(id).Running })
	if x := c.inspect(id); x.ExitCode != 3 || x.OOM {
		c.Errorf("crashed: %+v", x)
	}
	if lines := readTail(c.ctx, c.rt.logs, id, 20); len(lines) != 1 || lines[0].Text != "boom" || lines[0].At.IsZero() {
		c.Errorf("log: %+v", lines)
	}
}

func (c contract) checkKill() {
	id := c.start(c.spec("a-3", stubborn...))
	soon(c.T, "the trap is set", func() bool { return len(readTail(c.ctx, c.rt.logs, id, 1)) > 0 })
	begun := time.Now()
	if err := c.rt.containers.Stop(c.ctx, id, 2*time.Second); err != nil {
		c.Fatal(err)
	}
	if took := time.Since(begun); took < 1900*time.Millisecond || took > 10*time.Second || c.inspect(id).ExitCode != 137 {
		c.Errorf("killed after %s with code %d", took, c.inspect(id).ExitCode)
	}
}

// checkVolumes: data outlives its containers, is not begun again, and goes only when
// nothing has it.
func (c contract) checkVolumes() {
	s := c.spec("a-4", sleeps...)
	s.Assignment.Mounts = []cluster.Mount{{Volume: "vol-1", Name: "data", Path: "/data", Fresh: true}, {Volume: "vol-2", Name: "more", Path: "/more", Fresh: true}}
	id := c.start(s)
	if x := c.inspect(id); !slices.Equal(x.Volumes, []cluster.VolumeID{"vol-1", "vol-2"}) {
		c.Errorf("volumes: %+v", x)
	}
	if all, err := c.rt.containers.List(c.ctx); err != nil || !slices.ContainsFunc(all, func(x container) bool { return x.ID == id && len(x.Volumes) == 2 }) {
		c.Errorf("list: %+v, %v", all, err)
	}
	if err := c.rt.volumes.DestroyVolume(c.ctx, "vol-1"); err == nil {
		c.Error("a volume was destroyed under a running container")
	}
	if err := c.rt.containers.Stop(c.ctx, id, time.Second); err != nil {
		c.Fatal(err)
	}
	if err := c.rt.volumes.DestroyVolume(c.ctx, "vol-1"); err == nil {
		c.Error("a volume was destroyed under a container that may start again")
	}
	if err := c.rt.containers.Remove(c.ctx, id); err != nil {
		c.Fatal(err)
	}
	s.Assignment.Mounts[0].Fresh = false
	second := c.start(s) // both are there
	if err := c.rt.containers.Remove(c.ctx, second); err != nil {
		c.Fatal(err)
	}
	for range 2 { // the second time it is gone already
		if err := c.rt.volumes.DestroyVolume(c.ctx, "vol-1"); err != nil {
			c.Errorf("destroy: %v", err)
		}
	}
	if _, err := c.rt.containers.Create(c.ctx, s); !errors.Is(err, errNoVolume) {
		c.Errorf("a volume that is lost: %v", err)
	}
	if err := c.rt.volumes.DestroyVolume(c.ctx, "vol-2"); err != nil {
		c.Errorf("destroy: %v", err)
	}
}

// watchEngine watches an engine: which allocations were spoken of, whether nothing can
// be missed any more, and whether the watch ended.
func watchEngine(ctx context.Context, rt runtime) (seen func() []string, connected, ended chan struct{}) {
	connected, ended = make(chan struct{}), make(chan struct{})
	events := make(chan containerEvent, 1000)
	go func() {
		defer close(ended)
		_ = rt.engine.Watch(ctx, func() { close(connected) }, func(e containerEvent) { events <- e })
	}()
	var all []string
	return func() []string {
		for {
			select {
			case e := <-events:
				all = append(all, string(e.Allocation))
			default:
				return all
			}
		}
	}, connected, ended
}

func TestFakeKeepsTheRuntimeContract(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.images["sha256:present"] = true
		contract{T: t, cluster: "c0ffee", rt: f.runtime(), present: cluster.Image{Digest: "sha256:present"}}.check()
	})
}
