package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Kept are the engine's names of the volumes that the claim's cluster has on this
// host: a Purge leaves them, for data goes only when somebody destroys exactly it.
func (c *Claim) Kept(ctx context.Context) ([]string, error) {
	d, err := newDocker(c.cluster)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.client.Close() }()
	all, err := d.ownVolumes(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var out []string
	for _, v := range all {
		out = append(out, v.Name)
	}
	slices.Sort(out)
	return out, nil
}

// Purge removes every container, the network and the firewall table of the claim's
// cluster from this host, and nothing else: anonymous volumes go with their
// containers, named ones stay. It tries everything before it says what did not go.
func (c *Claim) Purge(ctx context.Context) error {
	d, err := newDocker(c.cluster)
	if err != nil {
		return err
	}
	defer func() { _ = d.client.Close() }()
	all, err := d.List(ctx)
	if err != nil {
		return fmt.Errorf("purge: list containers: %w", err)
	}
	var failed []error
	for _, made := range all {
		if err := d.Remove(ctx, made.ID); err != nil {
			failed = append(failed, fmt.Errorf("remove container %s: %w", made.ID, err))
		}
	}
	return errors.Join(append(failed, d.removeNetwork(ctx), removeFirewall(c.cluster))...)
}
