package server

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/store"
)

// clusterService implements api.ClusterService.
type clusterService struct {
	*control
	spaces *spaces
}

// Status implements api.ClusterService.
func (s *clusterService) Status(ctx context.Context) (*api.ClusterStatus, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	set := st.Settings()
	out := &api.ClusterStatus{ID: set.ID, Domain: set.Domain, Version: s.cfg.Version, Index: st.Index(),
		HTTPPort: s.cfg.PublicHTTP, HTTPSPort: s.cfg.PublicHTTPS, EdgeCA: set.EdgeCACertificate}
	if id, ok := s.store.Leader(); ok {
		out.Leader = nodeName(st, id)
	}
	out.Members = s.members(st)
	for n := range st.Nodes() {
		out.Nodes++
		if n.State == cluster.NodeUp {
			out.NodesUp++
		}
		if n.Server {
			out.Servers++
		}
		for _, x := range s.spaces.of(n.ID) {
			if x.Level != cluster.SpaceAmple {
				out.LowSpace = append(out.LowSpace, api.NodeSpace{Node: n.Name, Space: x})
			}
		}
	}
	out.Servers = max(out.Servers, 1) // this one, before its agent joined
	actor := api.ActorFrom(ctx)
	for app := range st.Apps() {
		if actor.May(cluster.ScopeRead, app.Name) {
			out.Apps++
		}
	}
	return out, nil
}

// members are the servers, by name.
func (s *clusterService) members(st *cluster.State) []api.ServerStatus {
	leader, _ := s.store.Leader()
	voting, out := s.store.Servers(), []api.ServerStatus{}
	for n := range st.Nodes() {
		if !n.Server {
			continue
		}
		out = append(out, api.ServerStatus{ID: n.ID, Name: n.Name, Zone: n.Zone, Address: n.Address, State: s.stateOf(n),
			Leader: n.ID == leader, Voter: voting[n.ID] == store.Voter})
	}
	slices.SortFunc(out, func(a, b api.ServerStatus) int {
		return cmp.Or(cluster.CompareNames(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// stateOf is what is known of a node: of the others nothing, while nobody leads, as it
// is the leader who hears them.
func (c *control) stateOf(n *cluster.Node) cluster.NodeState {
	if _, led := c.store.Leader(); !led && n.ID != c.self {
		return cluster.NodeUnknown
	}
	return n.State
}

// Export implements api.ClusterService.
func (s *clusterService) Export(ctx context.Context, w io.Writer) error {
	st, err := s.read(ctx)
	if err != nil {
		return err
	}
	data, err := store.Export(st)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// Backup implements api.ClusterService. The sealing key goes along, encrypted like
// all the rest: without it nobody could open what the state holds.
func (s *clusterService) Backup(ctx context.Context, passphrase cluster.Redacted, w io.Writer) error {
	if len(passphrase) < minPassphrase {
		return cluster.Invalid("passphrase", "the passphrase is too short").Because("it needs %d characters", minPassphrase).
			WithHint("make a long one: head -c 24 /dev/urandom | base64 > pass.txt\nand give it: paas backup create --passphrase-file pass.txt")
	}
	if _, err := s.store.Read(ctx); err != nil { // what was acknowledged before now is in it
		return err
	}
	key, err := identity.LoadOrCreateSealKey(s.layout.sealKey())
	if err != nil {
		return err
	}
	enc, err := identity.EncryptBackup(w, passphrase)
	if err != nil {
		return err
	}
	if err := writeBackupHead(enc, backupHead{Format: backupFormat, SealKey: key}); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	if err := s.store.Backup(enc); err != nil {
		return err
	}
	return enc.Close()
}
