package identity

import (
	"fmt"
	"slices"

	"paas/cluster"
)

// Role says what the holder of a node certificate may be taken for.
type Role uint8

// The zero Role is nobody and is accepted nowhere.
const (
	RoleNone   Role = iota
	RoleServer      // runs the control plane; may act as an agent too
	RoleAgent       // runs containers only; never accepted as a server
)

var roleNames = []string{"none", "server", "agent"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("unknown(%d)", r)
}

// MarshalText implements encoding.TextMarshaler.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Role) UnmarshalText(text []byte) error {
	i := slices.Index(roleNames, string(text))
	if i < 0 {
		return cluster.Invalid("role", "role %q is not known", text).Because("known: %v", roleNames[1:])
	}
	*r = Role(i)
	return nil
}
