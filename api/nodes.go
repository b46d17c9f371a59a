package api

import (
	"context"
	"net/http"

	"paas/cluster"
)

// NodeService shows hosts.
type NodeService interface {
	Nodes(ctx context.Context) ([]NodeInfo, error)
}

// NodeInfo is a node with what is reserved on it.
type NodeInfo struct {
	cluster.Node
	Leader        bool  `json:"leader,omitempty"`
	Allocations   int   `json:"allocations"`
	ReservedBytes int64 `json:"reserved_bytes"`
	ReservedMilli int64 `json:"reserved_milli"`
	// Space is how full the node's file systems are; empty until its agent said it.
	Space []cluster.Space `json:"space,omitempty"`
}

func addNodeRoutes(t *table, s NodeService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/nodes", name: "list-nodes", summary: "List hosts",
		rule: onCluster(cluster.ScopeRead)}, func(ctx context.Context, _ *noInput) ([]NodeInfo, error) { return list(s.Nodes(ctx)) })
}

// Nodes implements NodeService.
func (c *Client) Nodes(ctx context.Context) ([]NodeInfo, error) {
	return call[[]NodeInfo](ctx, c, request{path: "/v1/nodes"})
}
