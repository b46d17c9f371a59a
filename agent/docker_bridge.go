package agent

import (
	"context"
	"net/netip"
	"slices"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
)

// defaultBridge is the engine's own network "bridge", where containers of others
// and the build steps of BuildKit are. Its zero value is an engine without one.
type defaultBridge struct {
	Interface  string
	Containers []netip.Addr // addresses of containers, sorted; build steps are none
}

// containerIDLength tells the endpoints of containers from those of BuildKit's
// steps, which the engine lists beside them by a shorter random ID.
const containerIDLength = 64

// DefaultBridge looks who is on the engine's own network.
func (d *docker) DefaultBridge(ctx context.Context) (defaultBridge, error) {
	n, err := d.client.NetworkInspect(ctx, network.NetworkBridge, network.InspectOptions{})
	if cerrdefs.IsNotFound(err) { // dockerd --bridge=none
		return defaultBridge{}, nil
	}
	if err != nil {
		return defaultBridge{}, engineError(err)
	}
	b := defaultBridge{Interface: n.Options[optionName]}
	for id, e := range n.Containers {
		if len(id) != containerIDLength {
			continue
		}
		for _, text := range []string{e.IPv4Address, e.IPv6Address} {
			if p, err := netip.ParsePrefix(text); err == nil {
				b.Containers = append(b.Containers, p.Addr())
			}
		}
	}
	slices.SortFunc(b.Containers, netip.Addr.Compare)
	return b, nil
}

// WatchBridge calls look when it begins to follow the engine's own network, and
// whenever somebody joins or leaves it. A container has its address before its
// process starts. It ends with the stream, with look's error, or with ctx.
func (d *docker) WatchBridge(ctx context.Context, look func(context.Context) error) error {
	if err := d.negotiate(ctx); err != nil {
		return err
	}
	f := filters.NewArgs(filters.Arg("type", string(events.NetworkEventType)), filters.Arg("network", network.NetworkBridge),
		filters.Arg("event", string(events.ActionConnect)), filters.Arg("event", string(events.ActionDisconnect)))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, errs := d.client.Events(ctx, events.ListOptions{Filters: f})
	for {
		if err := look(ctx); err != nil {
			return err
		}
		select {
		case <-messages:
		case err := <-errs:
			return engineError(err)
		}
	}
}
