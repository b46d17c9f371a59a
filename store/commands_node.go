package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"

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
		n.CreatedAt, n.StateAt, n.Cordoned, n.Draining, n.OperatorLabels = c.At, c.At, false, false, nil
		d.PutNode(n)
		c.event(d, cluster.Event{Action: "node.joined", Target: string(n.ID), Text: fmt.Sprintf("node %s joined in zone %s", n.Name, n.Zone)})
		return Outcome{}, nil
	}
	n.CreatedAt, n.State, n.StateAt = known.CreatedAt, known.State, known.StateAt
	n.Cordoned, n.Draining, n.OperatorLabels = known.Cordoned, known.Draining, known.OperatorLabels
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
		a.DockerVersion == b.DockerVersion && a.MemoryBytes == b.MemoryBytes && a.CPUMilli == b.CPUMilli && a.FeatureLevel == b.FeatureLevel
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

func (c ScheduleNode) apply(d *cluster.Draft) (Outcome, error) {
	found, err := d.State().Node(c.ID)
	if err != nil {
		return Outcome{}, err
	}
	n := *found
	action := "node.uncordoned"
	switch c.Schedule {
	case cluster.ScheduleOpen:
		n.Cordoned, n.Draining = false, false
	case cluster.ScheduleCordoned:
		action, n.Cordoned, n.Draining = "node.cordoned", true, false
	case cluster.ScheduleDraining:
		action, n.Draining = "node.draining", true
	default:
		return Outcome{}, cluster.Invalid("node_schedule", "a node cannot be %s", c.Schedule)
	}
	if n.Cordoned == found.Cordoned && n.Draining == found.Draining {
		return Outcome{}, errUnchanged
	}
	d.PutNode(n)
	c.event(d, cluster.Event{Action: action, Target: string(n.ID), Text: fmt.Sprintf("node %s is %s", n.Name, c.Schedule)})
	return Outcome{}, nil
}

func (c LabelNode) apply(d *cluster.Draft) (Outcome, error) {
	found, err := d.State().Node(c.ID)
	if err != nil {
		return Outcome{}, err
	}
	if err := c.check(found); err != nil {
		return Outcome{}, err
	}
	n := *found
	n.OperatorLabels = cluster.CloneConfig(found.OperatorLabels)
	maps.Copy(n.OperatorLabels, c.Set)
	for _, k := range c.Unset {
		delete(n.OperatorLabels, k)
	}
	if err := cluster.ValidateLabels(n.OperatorLabels); err != nil {
		return Outcome{}, err
	}
	if maps.Equal(n.OperatorLabels, found.OperatorLabels) {
		return Outcome{}, errUnchanged
	}
	d.PutNode(n)
	c.event(d, cluster.Event{Action: "node.labeled", Target: string(n.ID), Text: fmt.Sprintf("node %s: %s", n.Name, c.describe())})
	return Outcome{}, nil
}

// check reports why n's labels cannot be changed so.
func (c LabelNode) check(n *cluster.Node) error {
	if len(c.Set)+len(c.Unset) == 0 {
		return cluster.Invalid("label", "there is no label to change").WithHint("set one with: paas nodes label NODE key=value")
	}
	for _, k := range c.Unset {
		if _, both := c.Set[k]; both {
			return cluster.Invalid("label", "label %.60q is both set and unset", k)
		}
		if _, ok := n.OperatorLabels[k]; ok {
			continue
		}
		if _, ok := n.Labels[k]; ok {
			return cluster.Conflict("label", "label %s of node %s cannot be removed", k, n.Name).Because("the node's own agent reports it").
				WithHint("set another value, which goes before it: paas nodes label NODE " + k + "=value")
		}
		return cluster.NotFound("label", "node %s has no label %.60q", n.Name, k).WithHint("see its labels with: paas nodes info NODE")
	}
	return nil
}

// describe is the change in one line: "disk=ssd, rack removed".
func (c LabelNode) describe() string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(c.Set)) {
		parts = append(parts, k+"="+c.Set[k])
	}
	for _, k := range slices.Sorted(slices.Values(c.Unset)) {
		parts = append(parts, k+" removed")
	}
	return strings.Join(parts, ", ")
}
