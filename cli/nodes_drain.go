package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"paas/api"
	"paas/cluster"
)

func drainNode(ctx context.Context, in *invocation) error {
	if !in.Bool("watch") {
		return in.schedule(ctx, cluster.ScheduleDraining, func(o *output, n *api.NodeDetail) {
			o.done("%s drains  %s", n.Name, o.outStyle.dim(replicaCount(len(n.Replicas))+" to move"))
			o.next("paas nodes drain "+n.Name+" --watch", "paas nodes uncordon "+n.Name)
		})
	}
	if err := in.checkWait(); err != nil {
		return err
	}
	n, err := in.client.UpdateNode(ctx, in.arg(0), api.UpdateNode{Schedule: cluster.ScheduleDraining})
	if err != nil {
		return err
	}
	began := time.Now()
	leave := func() leaving {
		return leaving{"the drain of " + n.Name + " goes on", "see: paas nodes info " + n.Name + "; end it: paas nodes uncordon " + n.Name}
	}
	if err := in.follow(ctx, leave, func(ctx context.Context, report func(api.Progress)) error {
		return in.client.WatchDrain(ctx, string(n.ID), report)
	}); err != nil {
		return err
	}
	if in.jsonStream() {
		return nil
	}
	if n, err = in.client.Node(ctx, string(n.ID)); err != nil {
		return err
	}
	return in.print(n, func(o *output) {
		o.done("%s is empty  %s", n.Name, o.outStyle.dim(short(time.Since(began))))
		o.next("paas nodes remove "+n.Name, "paas nodes uncordon "+n.Name)
	})
}

func removeNode(ctx context.Context, in *invocation) error {
	n, err := in.client.Node(ctx, in.arg(0))
	if err != nil {
		return err
	}
	question := fmt.Sprintf("Remove %s (zone %s) from the cluster?", n.Name, n.Zone)
	if len(n.Replicas) > 0 && in.Bool("force") {
		question = fmt.Sprintf("Remove %s (zone %s) from the cluster, with %s on it?", n.Name, n.Zone, replicaCount(len(n.Replicas)))
	}
	if err := in.confirm(ctx, question); err != nil {
		return err
	}
	left, err := in.volumesOn(ctx, n.ID)
	if err != nil {
		return err
	}
	gone, err := in.client.RemoveNode(ctx, string(n.ID), api.RemoveNode{Force: in.Bool("force")})
	if err != nil {
		return err
	}
	return in.print(gone, func(o *output) {
		o.done("%s is no member any more", gone.Name)
		o.notef("  Its certificate is refused from now on. To bring the host back let it join anew: paas join create\n")
		for _, v := range left {
			o.warnf("%s", leftBehind(&v, gone.Name))
		}
	})
}

// volumesOn lists the volumes that are bound to a node.
func (in *invocation) volumesOn(ctx context.Context, node cluster.NodeID) ([]api.VolumeInfo, error) {
	all, err := in.client.Volumes(ctx, "")
	return slices.DeleteFunc(all, func(v api.VolumeInfo) bool { return v.Node != node || !v.Written && !v.Attached() }), err
}
