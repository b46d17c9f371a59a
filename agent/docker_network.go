package agent

import (
	"context"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
)

// Options of the bridge driver.
const (
	optionICC  = "com.docker.network.bridge.enable_icc"
	optionName = "com.docker.network.bridge.name"
)

// ensureNetwork makes the cluster's bridge network if it is missing. Containers
// on it reach the outside and are reached by the host; they do not reach each
// other. It is looked at before every container, for somebody may prune it.
func (d *docker) ensureNetwork(ctx context.Context) error {
	select {
	case d.network <- struct{}{}:
		defer func() { <-d.network }()
	case <-ctx.Done(): // whoever makes it may wait for an engine that hangs
		return ctx.Err()
	}
	name := networkName(d.cluster)
	n, err := d.inspectNetwork(ctx)
	switch {
	case cerrdefs.IsNotFound(err):
		return d.createNetwork(ctx, name)
	case err != nil:
		return err
	case n.Options[optionICC] != "false":
		return fmt.Errorf("network %s lets containers reach each other; remove it, and it is made again", name)
	}
	return nil
}

// inspectNetwork is the cluster's network; another's of its name is an error.
func (d *docker) inspectNetwork(ctx context.Context) (network.Inspect, error) {
	name := networkName(d.cluster)
	n, err := d.client.NetworkInspect(ctx, name, network.InspectOptions{})
	switch {
	case err != nil:
		return n, engineError(err)
	case n.Labels[labelCluster] != string(d.cluster):
		return n, fmt.Errorf("network %s belongs to somebody else", name)
	}
	return n, nil
}

func (d *docker) createNetwork(ctx context.Context, name string) error {
	_, err := d.client.NetworkCreate(ctx, name, network.CreateOptions{
		Driver:  "bridge",
		Options: map[string]string{optionICC: "false", optionName: bridgeName(d.cluster)},
		Labels:  map[string]string{labelCluster: string(d.cluster)},
	})
	if err != nil && !cerrdefs.IsConflict(err) {
		return fmt.Errorf("create network %s: %w", name, engineError(err))
	}
	return nil
}

// removeNetwork removes the cluster's network, if it is the cluster's.
func (d *docker) removeNetwork(ctx context.Context) error {
	n, err := d.inspectNetwork(ctx)
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := d.client.NetworkRemove(ctx, n.ID); err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("remove network %s: %w", n.Name, engineError(err))
	}
	return nil
}
