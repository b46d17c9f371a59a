package agent

import (
	"context"
	"errors"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	dockercontainer "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"paas/cluster"
)

// pidsLimit stops fork bombs: the number of processes and threads of one replica.
const pidsLimit = 512

// minCPUShares is the kernel's lower bound of a weight.
const minCPUShares = 2

// keepNanoCPUs is what of a host's processors one container alone never gets, in
// billionths of one.
const keepNanoCPUs = 250_000_000

// capabilities are what images that start as root and drop their rights need
// (su-exec, nginx, postgres); CAP_NET_BIND_SERVICE is for port 80 inside the
// container. Docker's other defaults are gone: raw sockets, device nodes,
// chroot, audit writes, file capabilities, SETPCAP.
var capabilities = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"}

// Create implements containers.
func (d *docker) Create(ctx context.Context, s spec) (string, error) {
	if err := d.negotiate(ctx); err != nil {
		return "", err
	}
	if err := d.ensureNetwork(ctx); err != nil {
		return "", err
	}
	g, err := d.given(ctx)
	if err != nil {
		return "", err
	}
	for _, m := range s.Assignment.Mounts {
		if err := d.ensureVolume(ctx, s, m); err != nil {
			return "", err
		}
	}
	id, err := d.create(ctx, s, g)
	if cerrdefs.IsConflict(err) {
		if err := d.removeNamed(ctx, s.name()); err != nil {
			return "", err
		}
		id, err = d.create(ctx, s, g)
	}
	if err != nil {
		d.askAgain()
	}
	return id, engineError(err)
}

func (d *docker) create(ctx context.Context, s spec, g gifts) (string, error) {
	c, h := containerConfig(s), hostConfig(s, g)
	res, err := d.client.ContainerCreate(ctx, c, h, &network.NetworkingConfig{}, nil, s.name())
	return res.ID, err
}

// removeNamed makes room for a container of that name.
func (d *docker) removeNamed(ctx context.Context, name string) error {
	in, err := d.inspect(ctx, name)
	if errors.Is(err, errNoContainer) {
		return fmt.Errorf("container name %s is taken by somebody else", name)
	}
	if err != nil {
		return err
	}
	return d.Remove(ctx, in.ID)
}

// containerConfig is what runs. Only values that cluster's Validate methods
// accepted reach it, and they reach it as data: no option of the engine is ever
// made from a user's text.
func containerConfig(s spec) *dockercontainer.Config {
	p := s.Assignment.Process
	c := &dockercontainer.Config{
		Image:  s.Image.String(),
		Env:    s.env(),
		Labels: s.labels(),
		// Ours is the only health check: an image's own would run beside it for nothing.
		Healthcheck: &dockercontainer.HealthConfig{Test: []string{"NONE"}},
	}
	switch {
	case len(p.Command) == 0:
	case p.KeepEntrypoint:
		c.Cmd = p.Command
	default:
		c.Entrypoint = p.Command // the image's own arguments go with its entrypoint
	}
	if s.OneOff != nil {
		c.Tty, c.OpenStdin, c.StdinOnce = s.OneOff.TTY, true, true
		c.AttachStdin, c.AttachStdout, c.AttachStderr = true, true, true
	}
	return c
}

// hostConfig is what it may do. It depends on nothing that a user says but the two
// resource figures and the paths of volumes, and on what the engine gives: no
// privileges, files of the host, host namespaces, devices or published ports exist
// here to be asked for.
func hostConfig(s spec, g gifts) *dockercontainer.HostConfig {
	p := s.Assignment.Process
	pids := int64(pidsLimit)
	memory := p.MemoryBytes
	if memory <= 0 {
		memory = cluster.DefaultMemoryBytes
	}
	return &dockercontainer.HostConfig{
		NetworkMode:   dockercontainer.NetworkMode(networkName(s.Cluster)),
		RestartPolicy: dockercontainer.RestartPolicy{Name: dockercontainer.RestartPolicyDisabled},
		CapDrop:       []string{"ALL"},
		CapAdd:        capabilities,
		SecurityOpt:   []string{"no-new-privileges"},
		IpcMode:       dockercontainer.IPCModePrivate,
		Init:          &g.init,
		Mounts:        volumeMounts(s),
		LogConfig:     dockercontainer.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
		Resources: dockercontainer.Resources{
			Memory:     memory,
			MemorySwap: memory, // the same: no swap
			CPUShares:  max(minCPUShares, p.CPUMilli*1024/1000),
			NanoCPUs:   nanoCPUs(g.cpus),
			PidsLimit:  &pids,
		},
	}
}

// nanoCPUs is the cap of one container on a host with so many processors, in
// billionths of one; 0 is none. Below the cap only weights count, so that what is
// idle can be had, but a quarter of a processor stays for the others, the router
// and the engine among them, whatever one container does.
func nanoCPUs(cpus int) int64 {
	return max(0, int64(cpus)*1e9-keepNanoCPUs)
}
