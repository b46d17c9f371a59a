package server

import (
	"context"

	"paas/api"
	"paas/cluster"
)

// nodeService implements api.NodeService.
type nodeService struct {
	*control
	spaces *spaces
}

// Nodes implements api.NodeService.
func (s *nodeService) Nodes(ctx context.Context) ([]api.NodeInfo, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	leader, led := s.store.Leader()
	at, out := map[cluster.NodeID]int{}, []api.NodeInfo{}
	for n := range st.Nodes() {
		at[n.ID] = len(out)
		out = append(out, api.NodeInfo{Node: *n, Leader: led && n.ID == leader, Space: s.spaces.of(n.ID)})
	}
	for a := range st.Allocations() {
		i, known := at[a.Node]
		if !known || !a.Live() {
			continue
		}
		out[i].Allocations++
		if rel, err := st.Release(a.App, a.Release); err == nil {
			out[i].ReservedBytes += rel.Processes[a.Type].MemoryBytes
			out[i].ReservedMilli += rel.Processes[a.Type].CPUMilli
		}
	}
	return out, nil
}
