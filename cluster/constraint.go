package cluster

import (
	"fmt"
	"strings"
)

// Keys that every node has, beside its labels. No label may be named like one.
const (
	keyZone = "zone"
	keyName = "name"
	keyArch = "arch"
)

// MaxConstraints bounds the constraints of one process type, each of which is
// asked about every node.
const MaxConstraints = 16

// Constraint is what has to be true of a node before replicas of a process type
// may go to it. As text: "disk=ssd", "zone!=c".
type Constraint struct {
	// Key is a label's, or zone, name or arch.
	Key string `json:"key"`
	// Not turns it round: a node that has the value, and no other, is refused.
	Not   bool   `json:"not,omitempty"`
	Value string `json:"value"`
}

// ParseConstraint reads a constraint's text.
func ParseConstraint(s string) (Constraint, error) {
	key, value, found := strings.Cut(s, "=")
	c := Constraint{Key: strings.TrimSpace(key), Value: strings.TrimSpace(value)}
	if bare, not := strings.CutSuffix(c.Key, "!"); not {
		c.Key, c.Not = strings.TrimSpace(bare), true
	}
	if !found {
		return Constraint{}, Invalid("constraint", "constraint %s is not valid", quote(s)).WithHint("write it as disk=ssd or zone!=c")
	}
	return c, c.Validate()
}

// Validate reports why c says nothing about nodes.
func (c Constraint) Validate() error {
	if err := ValidateLabel("label", c.Key); err != nil {
		return err
	}
	if c.Key == keyName {
		return ValidateLine("node name", c.Value)
	}
	return ValidateLabel("label value", c.Value)
}

// Admits reports whether n is such a node. A node without the label has no value.
func (c Constraint) Admits(n *Node) bool {
	v, ok := n.Label(c.Key)
	return (ok && v == c.Value) != c.Not
}

func (c Constraint) String() string {
	op := "="
	if c.Not {
		op = "!="
	}
	return c.Key + op + c.Value
}

func (c Constraint) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
func (c *Constraint) UnmarshalText(b []byte) (err error) {
	*c, err = ParseConstraint(string(b))
	return err
}

// Explain says how n differs from what c asks for.
func (c Constraint) Explain(n *Node) string {
	v, ok := n.Label(c.Key)
	if !ok {
		return fmt.Sprintf("has no label %s, needs %s", c.Key, c)
	}
	return fmt.Sprintf("is %s=%s, needs %s", c.Key, v, c)
}
