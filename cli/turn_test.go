package cli

import (
	"context"

	"paas/cluster"
)

// queue lets a change wait for a deployment that goes on until somebody saw it, or
// for ever.
func (f *fake) queue(ctx context.Context, until string) error {
	f.mu.Lock()
	blog := *f.apps["blog"]
	blog.Deployment = &cluster.Deployment{ID: "d-8", App: "blog", Release: 3, State: cluster.DeploymentRolling}
	f.apps["blog"] = &blog
	asked := make(chan struct{})
	if f.asked = nil; until != "ever" {
		f.asked = asked
	}
	f.mu.Unlock()
	select {
	case <-asked:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
