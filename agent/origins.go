package agent

import (
	"context"
	"errors"
	"net"
	"sync"

	"paas/cluster"
)

// origins knows which replicas of this node are at the address that a route names.
// A route may be older than this process, or than the host's last boot: by then
// its address can be another app's, or lead out of the host, and a request with
// its cookies must not go there. It is safe for concurrent use.
type origins struct {
	inspect func(ctx context.Context, id string) (container, error)
	board   *board

	mu   sync.Mutex
	seen map[cluster.AllocationID]place // where a replica was found by this process
}

// place is a container at an address.
type place struct{ container, address string }

func newOrigins(b *board, inspect func(ctx context.Context, id string) (container, error)) *origins {
	return &origins{inspect: inspect, board: b, seen: map[cluster.AllocationID]place{}}
}

// confirm refuses, with KindUnavailable, an upstream that is not where its route
// says. It asks the engine once per replica and address, and again when the
// replica has ended since: the engine gives the address away at once, and the next
// table may be seconds off on a slow disk. An engine that does not answer refuses
// nothing: its containers may well serve without it.
func (o *origins) confirm(ctx context.Context, u cluster.Upstream) error {
	o.mu.Lock()
	known := o.seen[u.Allocation]
	o.mu.Unlock()
	last, ok := o.board.get(u.Allocation)
	if !ok || last.Observation.ContainerID == "" {
		return notThere(u)
	}
	now := place{last.Observation.ContainerID, u.Address}
	if known == now && last.Observation.Address == u.Address {
		return nil
	}
	c, err := o.inspect(ctx, last.Observation.ContainerID)
	if errors.Is(err, errNoContainer) {
		return notThere(u)
	}
	if err != nil {
		return nil
	}
	host, _, err := net.SplitHostPort(u.Address)
	if err != nil || !c.Running || c.Allocation != u.Allocation || c.IP != host {
		return notThere(u)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen[u.Allocation] = now
	return nil
}

// confirmFor is confirm for another host, whose word for the address counts for
// nothing: it has to be the one that this node itself found, engine or no engine.
func (o *origins) confirmFor(ctx context.Context, u cluster.Upstream) error {
	if last, ok := o.board.get(u.Allocation); !ok || last.Observation.Address != u.Address {
		return notThere(u)
	}
	return o.confirm(ctx, u)
}

// forget drops what is known of an allocation that is gone.
func (o *origins) forget(id cluster.AllocationID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.seen, id)
}

func notThere(u cluster.Upstream) error {
	return cluster.Errorf(cluster.KindUnavailable, "replica", "replica %s is not at %s", u.Instance, u.Address).
		Because("its container does not run there now")
}
