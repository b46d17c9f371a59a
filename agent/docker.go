package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	dockertypes "github.com/docker/docker/api/types"
	dockercontainer "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"paas/cluster"
)

// docker is the runtime on a Docker Engine. Only docker*.go knows its client.
// It is safe for concurrent use.
type docker struct {
	client  *client.Client
	cluster cluster.ClusterID

	negotiated atomic.Bool

	gives   atomic.Pointer[gifts] // nil: the engine was not asked yet, or has to be asked again
	network chan struct{}         // capacity 1: one at a time makes the network
}

// newDocker reads the engine's address from the environment, as the docker
// command does. It does not connect.
func newDocker(id cluster.ClusterID) (*docker, error) {
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("configure container engine: %w", err)
	}
	return &docker{client: c, cluster: id, network: make(chan struct{}, 1)}, nil
}

// runtime offers d by what it is asked for.
func (d *docker) runtime() runtime {
	return runtime{images: d, containers: d, volumes: d, engine: d, terminals: d, logs: d}
}

// negotiate agrees on the API version once. A version is never pinned: engines
// of different ages differ in what they still speak. Nobody waits for another's
// ping: the engine may hang, and each has a time of its own.
func (d *docker) negotiate(ctx context.Context) error {
	if d.negotiated.Load() {
		return nil
	}
	ping, err := d.client.Ping(ctx)
	if err != nil {
		return engineError(err)
	}
	d.client.NegotiateAPIVersionPing(ping)
	d.negotiated.Store(true)
	return nil
}

// Info describes the engine.
func (d *docker) Info(ctx context.Context) (engineInfo, error) {
	if err := d.negotiate(ctx); err != nil {
		return engineInfo{}, err
	}
	i, err := d.client.Info(ctx)
	if err != nil {
		return engineInfo{}, engineError(err)
	}
	return engineInfo{Version: i.ServerVersion, Arch: goArch(i.Architecture), MemoryBytes: i.MemTotal, CPUs: i.NCPU, Root: i.DockerRootDir}, nil
}

// goArch is GOARCH for what uname calls the machine.
func goArch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "":
		return goruntime.GOARCH
	}
	return machine
}

// Watch implements engine.
func (d *docker) Watch(ctx context.Context, connected func(), news func(containerEvent)) error {
	if err := d.negotiate(ctx); err != nil {
		return err
	}
	f := d.ownContainers()
	f.Add("type", string(events.ContainerEventType))
	for _, a := range []events.Action{events.ActionDie, events.ActionOOM, events.ActionStart, events.ActionDestroy, events.ActionKill} {
		f.Add("event", string(a))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, errs := d.client.Events(ctx, events.ListOptions{Filters: f})
	select {
	case err := <-errs:
		return engineError(err)
	default:
		connected()
	}
	for {
		select {
		case m := <-messages:
			news(containerEvent{
				Container:  m.Actor.ID,
				Allocation: cluster.AllocationID(m.Actor.Attributes[labelAllocation]),
				OOM:        m.Action == events.ActionOOM,
				Killed:     m.Action == events.ActionKill && ends(m.Actor.Attributes["signal"]),
			})
		case err := <-errs:
			return engineError(err)
		}
	}
}

// List implements containers.
func (d *docker) List(ctx context.Context) ([]container, error) {
	if err := d.negotiate(ctx); err != nil {
		return nil, err
	}
	all, err := d.client.ContainerList(ctx, dockercontainer.ListOptions{All: true, Filters: d.ownContainers()})
	if err != nil {
		return nil, engineError(err)
	}
	out := make([]container, 0, len(all))
	for _, s := range all {
		c := labelled(s.ID, s.Labels)
		c.Image = s.Image
		c.Running, c.Created = s.State == dockercontainer.StateRunning, s.State == dockercontainer.StateCreated
		out = append(out, c)
	}
	return out, nil
}

// ends reports whether the engine says with this signal that somebody wants a
// container to end: it stops all of them so when it stops itself.
func ends(signal string) bool {
	n, err := strconv.Atoi(signal)
	return err == nil && slices.Contains([]syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGINT, syscall.SIGQUIT}, syscall.Signal(n))
}

// own filters for the cluster's label.
func (d *docker) own() filters.Args {
	return filters.NewArgs(filters.Arg("label", labelCluster+"="+string(d.cluster)))
}

// ownContainers filters for containers that an agent made. The cluster's label alone
// does not say so: images that were built bear it, and whatever somebody starts of one
// by hand inherits it. Such a container is none of ours to end.
func (d *docker) ownContainers() filters.Args {
	f := d.own()
	f.Add("label", labelAllocation)
	return f
}

// owns reports whether these are the labels of a container that ownContainers finds.
func (d *docker) owns(labels map[string]string) bool {
	_, made := labels[labelAllocation]
	return made && labels[labelCluster] == string(d.cluster)
}

// labelled reads a container's labels back.
func labelled(id string, l map[string]string) container {
	var volumes []cluster.VolumeID
	for id := range strings.SplitSeq(l[labelVolumes], ",") {
		if id != "" {
			volumes = append(volumes, cluster.VolumeID(id))
		}
	}
	return container{ID: id, Volumes: volumes, Allocation: cluster.AllocationID(l[labelAllocation]), App: cluster.AppName(l[labelApp]),
		Instance: l[labelInstance], Spec: l[labelSpec], OneOff: l[labelOneOff]}
}

// Inspect implements containers.
func (d *docker) Inspect(ctx context.Context, id string) (container, error) {
	in, err := d.inspect(ctx, id)
	if err != nil {
		return container{}, err
	}
	s := in.State
	c := labelled(in.ID, in.Config.Labels)
	c.Image = in.Config.Image
	c.Running, c.Created = s.Running, s.Status == dockercontainer.StateCreated
	c.PID, c.ExitCode, c.OOM, c.Error = s.Pid, s.ExitCode, s.OOMKilled, s.Error
	c.StartedAt, _ = time.Parse(time.RFC3339Nano, s.StartedAt) // zero when it never started
	c.FinishedAt, _ = time.Parse(time.RFC3339Nano, s.FinishedAt)
	if n := in.NetworkSettings.Networks[networkName(d.cluster)]; n != nil {
		c.IP = n.IPAddress
	}
	return c, nil
}

// inspect is where every operation on one container begins: what does not bear
// our labels does not exist for us.
func (d *docker) inspect(ctx context.Context, id string) (dockercontainer.InspectResponse, error) {
	if id == "" {
		return dockercontainer.InspectResponse{}, errNoContainer
	}
	if err := d.negotiate(ctx); err != nil {
		return dockercontainer.InspectResponse{}, err
	}
	in, err := d.client.ContainerInspect(ctx, id)
	if cerrdefs.IsNotFound(err) {
		return in, fmt.Errorf("%w: %s", errNoContainer, id)
	}
	if err != nil {
		return in, engineError(err)
	}
	if in.Config == nil || in.State == nil || !d.owns(in.Config.Labels) {
		return in, fmt.Errorf("%w of this cluster: %s", errNoContainer, id)
	}
	return in, nil
}

// Start implements containers.
func (d *docker) Start(ctx context.Context, id string) error {
	if _, err := d.inspect(ctx, id); err != nil {
		return err
	}
	return engineError(d.client.ContainerStart(ctx, id, dockercontainer.StartOptions{}))
}

// Stop implements containers.
func (d *docker) Stop(ctx context.Context, id string, grace time.Duration) error {
	in, err := d.inspect(ctx, id)
	if err != nil || !in.State.Running {
		return err
	}
	seconds := int((grace + time.Second - 1) / time.Second)
	err = d.client.ContainerStop(ctx, id, dockercontainer.StopOptions{Timeout: &seconds})
	if cerrdefs.IsNotFound(err) {
		return errNoContainer
	}
	return engineError(err)
}

// removeWait bounds waiting for a removal that somebody else began.
const removeWait = 10 * time.Second

// Remove implements containers.
func (d *docker) Remove(ctx context.Context, id string) error {
	_, err := d.inspect(ctx, id)
	if errors.Is(err, errNoContainer) {
		return nil
	}
	if err != nil {
		return err
	}
	err = d.client.ContainerRemove(ctx, id, dockercontainer.RemoveOptions{Force: true, RemoveVolumes: true})
	switch {
	case err == nil || cerrdefs.IsNotFound(err):
		return nil
	case !cerrdefs.IsConflict(err):
		return engineError(err)
	}
	ctx, cancel := context.WithTimeout(ctx, removeWait)
	defer cancel()
	for {
		if _, gone := d.inspect(ctx, id); errors.Is(gone, errNoContainer) {
			return nil
		}
		if !pause(ctx, 50*time.Millisecond) {
			return engineError(err)
		}
	}
}

// engineError tells an absent engine from one that refuses.
func engineError(err error) error {
	var op *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case client.IsErrConnectionFailed(err), errors.As(err, &op), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), cerrdefs.IsUnavailable(err):
		return fmt.Errorf("%w: %w", errEngineDown, err)
	}
	return err
}

// gifts is what an engine has to give to containers.
type gifts struct {
	init bool // an init process
	cpus int  // processors of the host; 0 if it cannot keep a container to some of them
}

// given asks the engine once what it has to give. Nobody waits for another's
// question: the engine may hang, see negotiate.
func (d *docker) given(ctx context.Context) (gifts, error) {
	if g := d.gives.Load(); g != nil {
		return *g, nil
	}
	v, err := d.client.ServerVersion(ctx)
	if err != nil {
		return gifts{}, engineError(err)
	}
	i, err := d.client.Info(ctx)
	if err != nil {
		return gifts{}, engineError(err)
	}
	g := gifts{init: initIn(v), cpus: i.NCPU}
	if !i.CPUCfsQuota || !i.CPUCfsPeriod { // it would refuse the container, not the cap
		g.cpus = 0
	}
	d.gives.Store(&g)
	return g, nil
}

// askAgain forgets what the engine has to give: after a restart on a smaller
// machine it may refuse what it gave before.
func (d *docker) askAgain() { d.gives.Store(nil) }

// initIn looks for docker-init among what the engine consists of. An engine
// without it still lists it, as "N/A", and only fails when a container starts.
func initIn(v dockertypes.Version) bool {
	for _, c := range v.Components {
		if c.Name == "docker-init" {
			return c.Version != "" && !strings.EqualFold(c.Version, "N/A")
		}
	}
	return false
}
