package agent

import (
	"context"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"

	"paas/cluster"
)

// volumeMounts are s's volumes as the engine wants them: named ones of the engine's
// own, never a directory of the host. An empty one begins with what the image has at
// its path, owners included, as everybody expects of Docker.
func volumeMounts(s spec) []mount.Mount {
	var out []mount.Mount
	for _, m := range s.Assignment.Mounts {
		out = append(out, mount.Mount{Type: mount.TypeVolume, Source: s.volumeName(m), Target: m.Path})
	}
	return out
}

// ensureVolume makes a volume that never was, and looks for one that was: an engine
// that has lost it, or whose disk is not mounted, must not begin with an empty one.
func (d *docker) ensureVolume(ctx context.Context, s spec, m cluster.Mount) error {
	name := s.volumeName(m)
	found, err := d.client.VolumeInspect(ctx, name)
	switch {
	case err == nil:
		if found.Labels[labelCluster] != string(d.cluster) || found.Labels[labelVolume] != string(m.Volume) {
			return fmt.Errorf("docker volume %s is somebody else's", name)
		}
		return nil
	case !cerrdefs.IsNotFound(err):
		return engineError(err)
	case !m.Fresh:
		return fmt.Errorf("%w: volume %s, docker volume %s", errNoVolume, m.Name, name)
	}
	_, err = d.client.VolumeCreate(ctx, volume.CreateOptions{Name: name, Driver: "local", Labels: s.volumeLabels(m)})
	return engineError(err)
}

// ownVolumes are the cluster's volumes here; id "" is any.
func (d *docker) ownVolumes(ctx context.Context, id cluster.VolumeID) ([]*volume.Volume, error) {
	if err := d.negotiate(ctx); err != nil {
		return nil, err
	}
	f := d.own()
	if id != "" {
		f.Add("label", labelVolume+"="+string(id))
	} else {
		f.Add("label", labelVolume)
	}
	list, err := d.client.VolumeList(ctx, volume.ListOptions{Filters: f})
	if err != nil {
		return nil, engineError(err)
	}
	return list.Volumes, nil
}

// DestroyVolume implements volumes.
func (d *docker) DestroyVolume(ctx context.Context, id cluster.VolumeID) error {
	if err := id.Validate(); err != nil {
		return err // an empty one would be every volume
	}
	all, err := d.ownVolumes(ctx, id)
	if err != nil {
		return err
	}
	for _, v := range all {
		if v.Labels[labelVolume] != string(id) || v.Labels[labelCluster] != string(d.cluster) {
			continue // whatever the engine thinks of filters
		}
		if err := d.client.VolumeRemove(ctx, v.Name, noForce); err != nil && !cerrdefs.IsNotFound(err) {
			return engineError(err)
		}
	}
	return nil
}

// noForce: what a container has is not removed.
const noForce = false
