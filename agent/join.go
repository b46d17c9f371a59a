package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

// What a host that joined as an agent has in its data directory, beside what the
// agent itself keeps:
//
//	node/            its key and certificate
//	membership.json  the cluster that it belongs to
//	join.key         the key that it asks to be let in with; there until it is
const (
	nodeDir        = "node"
	membershipFile = "membership.json"
	joinKeyFile    = "join.key"
)

// Membership is a host's place in a cluster, as its data directory says: who it is,
// and where servers were when it joined. It is safe for concurrent use.
type Membership struct {
	Cluster cluster.ClusterID `json:"cluster"`
	// Servers are host:port, in the order in which to try them.
	Servers []string `json:"servers"`

	dir  string
	node atomic.Pointer[identity.Node]
}

// LoadMembership reads what Join wrote into dir. fs.ErrNotExist: the host has not
// joined, or not to the end.
func LoadMembership(dir string) (*Membership, error) {
	if _, err := os.Stat(filepath.Join(dir, joinKeyFile)); err == nil {
		return nil, fmt.Errorf("load membership: the join has not ended: %w", fs.ErrNotExist)
	}
	data, err := os.ReadFile(filepath.Join(dir, membershipFile))
	if err != nil {
		return nil, fmt.Errorf("load membership: %w", err)
	}
	m := &Membership{dir: dir}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("load membership %s: %w", filepath.Join(dir, membershipFile), err)
	}
	n, err := identity.LoadNode(filepath.Join(dir, nodeDir))
	if err != nil {
		return nil, err
	}
	m.node.Store(n)
	return m, nil
}

// Join makes the host an agent of the cluster that j is for and writes down what it
// is then. in says what the host is; its role and what j says are filled in. It may
// be repeated, after whatever end, until it returns no error, but who belongs to the
// cluster then. No agent with dir must run.
func Join(ctx context.Context, dir string, j identity.JoinString, in api.JoinRequest) (*cluster.Roster, error) {
	key, err := identity.LoadOrCreateKey(filepath.Join(dir, joinKeyFile))
	if err != nil {
		return nil, err
	}
	in.Role = identity.RoleAgent
	n, joined, err := api.Enter(ctx, j, key, in)
	if err != nil {
		return nil, err
	}
	return &joined.Roster, settle(dir, n, &Membership{Cluster: joined.Cluster, Servers: j.Addresses})
}

// settle writes down who the host is now. The join's key goes last: as long as it is
// there, nothing else of this counts, and without it the join cannot be repeated.
func settle(dir string, n *identity.Node, m *Membership) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode membership: %w", err)
	}
	if err := errors.Join(identity.WriteFile(filepath.Join(dir, membershipFile), append(data, '\n')), n.Save(filepath.Join(dir, nodeDir))); err != nil {
		return fmt.Errorf("write down what the cluster said: %w", err)
	}
	return os.Remove(filepath.Join(dir, joinKeyFile))
}

// Node is the host's newest identity.
func (m *Membership) Node() *identity.Node { return m.node.Load() }

// Renew replaces the host's identity, on the disk first.
func (m *Membership) Renew(n *identity.Node) error {
	if err := n.Save(filepath.Join(m.dir, nodeDir)); err != nil {
		return err
	}
	m.node.Store(n)
	return nil
}
