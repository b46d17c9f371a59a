package server

import (
	"context"
	"time"

	"paas/api"
	"paas/cluster"
)

// errNotLeading ends what only the leader does.
var errNotLeading = cluster.Errorf(cluster.KindUnavailable, "not_leader", "this server does not lead the cluster any more").
	WithHint("try again: another one does")

// helmsman is who leads at the moment, as far as this server knows.
type helmsman struct {
	tenure context.Context // this server leads, until it ends
	other  cluster.NodeID  // another server leads; "" if nobody is known to
	gone   <-chan struct{} // closed when that is not so any more
}

// helm waits until somebody leads: this server, prepared, or another one. after is
// who was found not to lead; a channel that is closed when that may have changed is
// waited for. KindUnavailable when nobody does within d.
func (c *control) helm(ctx context.Context, d time.Duration) (helmsman, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		tenure, tenureChanged := c.tenure.now()
		id, leadChanged := c.store.FollowLeader()
		switch {
		case tenure != nil:
			return helmsman{tenure: tenure, gone: tenureChanged}, nil
		case id != "" && id != c.self:
			return helmsman{other: id, gone: leadChanged}, nil
		}
		select {
		case <-tenureChanged:
		case <-leadChanged:
		case <-ctx.Done():
			return helmsman{}, cluster.Errorf(cluster.KindUnavailable, api.CodeNoLeader, "the cluster has no leader right now").
				Because("this server waited %s for one; a majority of the servers has to be up", d).
				WithHint("see which servers run, and try again; if most are lost for good: paas cluster recover --help")
		}
	}
}
