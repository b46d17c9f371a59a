package store

import (
	"fmt"
	"maps"

	"paas/cluster"
)

func (c RegisterNode) apply(d *cluster.Draft) (Outcome, error) {
	n := c.Node
	if err := n.Validate(); err != nil {
		return Outcome{}, err
	}
	if d.State().WasRemoved(n.ID) {
		return Outcome{}, cluster.Errorf(cluster.KindForbidden, "node_removed", "node %s was removed from the cluster", n.Name).
			WithHint("let the host join anew: paas join create")
	}
	known, err := d.State().Node(n.ID)
	if err != nil {
		if n.State > cluster.NodeDown {
			return Outcome{}, cluster.Invalid("node_state", "node state %s is not known", n.State)
		}
		n.CreatedAt, n.StateAt, n.Cordoned, n.Draining = c.At, c.At, false, false
		d.PutNode(n)
		c.event(d, cluster.Event{Action: "node.joined", Target: string(n.ID), Text: fmt.Sprintf("node %s joined in zone %s", n.Name, n.Zone)})
		return Outcome{}, nil
	}
	n.CreatedAt, n.State, n.StateAt = known.CreatedAt, known.State, known.StateAt
	n.Cordoned, n.Draining = known.Cordoned, known.Draining
	if sameNode(n, *known) {
		return Outcome{}, errUnchanged
	}
	d.PutNode(n)
	c.event(d, cluster.Event{Action: "node.updated", Target: string(n.ID), Text: fmt.Sprintf("node %s reported itself anew", n.Name)})
	return Outcome{}, nil
}

// sameNode compares what an agent reports; the rest is equal already.
func sameNode(a, b cluster.Node) bool {
	return a.Name == b.Name && a.Zone == b.Zone && a.Server == b.Server && a.Router == b.Router && a.Apps == b.Apps &&
		a.Address == b.Address && maps.Equal(a.Labels, b.Labels) && a.Arch == b.Arch && a.Version == b.Version &&
		a.DockerVersion == b.DockerVersion && a.MemoryBytes == b.MemoryBytes && a.CPUMilli == b.CPUMilli
}

func (c SetNodeState) apply(d *cluster.Draft) (Outcome, error) {
	if c.State != cluster.NodeUp && c.State != cluster.NodeDown {
		return Outcome{}, cluster.Invalid("node_state", "a node cannot become %s", c.State)
	}
	found, err := d.State().Node(c.ID)
	if err != nil {
		return Outcome{}, err
	}
	if found.State == c.State {
		return Outcome{}, errUnchanged
	}
	n := *found
	n.State, n.StateAt = c.State, c.At
	d.PutNode(n)
	c.event(d, cluster.Event{Action: "node." + c.State.String(), Target: string(n.ID), Text: fmt.Sprintf("node %s is %s", n.Name, c.State)})
	return Outcome{}, nil
}
