package cluster

import (
	"maps"
	"slices"
)

// MaxLabels bounds what operators set on one node.
const MaxLabels = 64

// Label returns a node's value for key: zone, name and arch of every node, else
// what an operator set, else what the agent reports.
func (n *Node) Label(key string) (value string, ok bool) {
	switch key {
	case keyZone:
		return n.Zone, n.Zone != ""
	case keyName:
		return n.Name, n.Name != ""
	case keyArch:
		return n.Arch, n.Arch != ""
	}
	if v, ok := n.OperatorLabels[key]; ok {
		return v, true
	}
	v, ok := n.Labels[key]
	return v, ok
}

// AllLabels returns a copy of n's labels as constraints see them, without those
// that every node has.
func (n *Node) AllLabels() map[string]string {
	all := CloneConfig(n.Labels)
	maps.Copy(all, n.OperatorLabels)
	return all
}

// ValidateLabels reports why m cannot be labels.
func ValidateLabels(m map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if err := ValidateLabelKey(k); err != nil {
			return err
		}
		if err := ValidateLabel("label value", m[k]); err != nil {
			return err
		}
	}
	if len(m) > MaxLabels {
		return Invalid("label", "a node cannot have %d labels", len(m)).Because("the limit is %d", MaxLabels)
	}
	return nil
}

// ValidateLabelKey reports why k cannot be a label's key.
func ValidateLabelKey(k string) error {
	if k == keyZone || k == keyName || k == keyArch {
		return Invalid("label", "no label can be called %s", k).Because("every node has its %s, which its own host says", k)
	}
	return ValidateLabel("label", k)
}
