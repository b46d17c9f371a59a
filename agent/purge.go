package agent

import (
	"context"
	"errors"
	"fmt"

	"paas/cluster"
)

// Purge removes every container, the network and the firewall table of a cluster
// from this host, and nothing else: anonymous volumes go with their containers, named
// ones stay. It tries everything before it says what did not go.
func Purge(ctx context.Context, id cluster.ClusterID) error {
	if id == "" {
		return errors.New("purge: no cluster given") // an empty label would match everybody's
	}
	d, err := newDocker(id)
	if err != nil {
		return err
	}
	defer func() { _ = d.client.Close() }()
	all, err := d.List(ctx)
	if err != nil {
		return fmt.Errorf("purge: list containers: %w", err)
	}
	var failed []error
	for _, c := range all {
		if err := d.Remove(ctx, c.ID); err != nil {
			failed = append(failed, fmt.Errorf("remove container %s: %w", c.ID, err))
		}
	}
	return errors.Join(append(failed, d.removeNetwork(ctx), removeFirewall(id))...)
}
