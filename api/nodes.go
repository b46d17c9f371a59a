package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"paas/cluster"
)

// NodeService shows hosts and takes them in and out of service. A node is named by
// its name, its ID, or the beginning of its ID; a name that could be several is
// KindConflict.
type NodeService interface {
	Nodes(ctx context.Context) ([]NodeInfo, error)
	Node(ctx context.Context, node string) (*NodeDetail, error)
	UpdateNode(ctx context.Context, node string, in UpdateNode) (*NodeDetail, error)
	// RemoveNode ends a node's membership for good: its certificate is refused at once.
	// One that runs replicas and is up is KindConflict unless forced, and so is a server
	// without which the others could not decide anything, even then.
	RemoveNode(ctx context.Context, node string, in RemoveNode) (*NodeInfo, error)
	// WatchDrain reports what is left on a draining node until nothing is, or until
	// what is left can go nowhere: then it is KindUnplaceable and says why.
	WatchDrain(ctx context.Context, node string, report func(Progress)) error
}

// NodeInfo is a node with what is reserved on it.
type NodeInfo struct {
	cluster.Node
	Leader        bool  `json:"leader,omitempty"`
	Allocations   int   `json:"allocations"`
	ReservedBytes int64 `json:"reserved_bytes"`
	ReservedMilli int64 `json:"reserved_milli"`
	// LastHeard is when the leader heard the node last; zero if it has not since it leads.
	LastHeard time.Time `json:"last_heard,omitzero"`
	// Space is how full the node's file systems are; empty until its agent said it.
	Space []cluster.Space `json:"space,omitempty"`
}

// NodeDetail is a node with all that is on it.
type NodeDetail struct {
	NodeInfo
	// AllLabels are the agent's and the operators' labels as constraints see them.
	AllLabels map[string]string `json:"all_labels"`
	Replicas  []NodeReplica     `json:"replicas"`
	// RouterIndex is the index of the table that the node's router serves; 0 if it has
	// none, or has not said it.
	RouterIndex uint64 `json:"router_index,omitempty"`
}

// NodeReplica is an allocation on a node.
type NodeReplica struct {
	AllocationInfo
	// Stays says why it is still there although the node drains: one reason for each
	// node that does not take it. Empty while it is on its way.
	Stays []string `json:"stays,omitempty"`
}

// UpdateNode changes what operators say of a node; zero fields stay.
type UpdateNode struct {
	Schedule    cluster.NodeSchedule `json:"schedule,omitempty" enum:"open,cordoned,draining" doc:"What may run there"`
	SetLabels   map[string]string    `json:"set_labels,omitempty"`
	UnsetLabels []string             `json:"unset_labels,omitempty"`
}

// RemoveNode says how a node goes.
type RemoveNode struct {
	// Force removes it although it runs replicas: they are replaced elsewhere.
	Force bool
}

type nodeInput struct {
	Node string `path:"node" maxLength:"200" doc:"The node's name, its ID, or the beginning of its ID"`
}

type updateNodeInput struct {
	Node string `path:"node" maxLength:"200" doc:"The node's name, its ID, or the beginning of its ID"`
	Body UpdateNode
}

type removeNodeInput struct {
	Node  string `path:"node" maxLength:"200" doc:"The node's name, its ID, or the beginning of its ID"`
	Force bool   `query:"force" doc:"Although it runs replicas"`
}

func addNodeRoutes(t *table, s NodeService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/nodes", name: "list-nodes", summary: "List hosts",
		rule: onCluster(cluster.ScopeRead)}, func(ctx context.Context, _ *noInput) ([]NodeInfo, error) { return list(s.Nodes(ctx)) })
	handle(t, spec{method: http.MethodGet, path: "/v1/nodes/{node}", name: "show-node", summary: "Show a host and what is on it",
		rule: onCluster(cluster.ScopeRead)}, func(ctx context.Context, in *nodeInput) (*NodeDetail, error) { return s.Node(ctx, in.Node) })
	handle(t, spec{method: http.MethodPatch, path: "/v1/nodes/{node}", name: "update-node", summary: "Cordon, drain or label a host",
		rule: onCluster(cluster.ScopeAdmin)}, func(ctx context.Context, in *updateNodeInput) (*NodeDetail, error) {
		return s.UpdateNode(ctx, in.Node, in.Body)
	})
	handle(t, spec{method: http.MethodDelete, path: "/v1/nodes/{node}", name: "remove-node", summary: "Remove a host from the cluster",
		rule: onCluster(cluster.ScopeAdmin)}, func(ctx context.Context, in *removeNodeInput) (*NodeInfo, error) {
		return s.RemoveNode(ctx, in.Node, RemoveNode{Force: in.Force})
	})
	stream(t, spec{method: http.MethodGet, path: "/v1/nodes/{node}/drain", name: "watch-drain", summary: "Follow a draining host until it is empty",
		rule: onCluster(cluster.ScopeRead)}, ndjsonForm, func(ctx context.Context, in *nodeInput, w *streamWriter) error {
		return progress(ctx, w, func(report func(Progress)) (*DeployResult, error) { return nil, s.WatchDrain(ctx, in.Node, report) })
	})
}

// Nodes implements NodeService.
func (c *Client) Nodes(ctx context.Context) ([]NodeInfo, error) {
	return call[[]NodeInfo](ctx, c, request{path: "/v1/nodes"})
}

// Node implements NodeService.
func (c *Client) Node(ctx context.Context, node string) (*NodeDetail, error) {
	return call[*NodeDetail](ctx, c, request{path: escapedPath("/v1/nodes", node)})
}

// UpdateNode implements NodeService.
func (c *Client) UpdateNode(ctx context.Context, node string, in UpdateNode) (*NodeDetail, error) {
	return call[*NodeDetail](ctx, c, request{method: http.MethodPatch, path: escapedPath("/v1/nodes", node), in: in})
}

// RemoveNode implements NodeService.
func (c *Client) RemoveNode(ctx context.Context, node string, in RemoveNode) (*NodeInfo, error) {
	q := url.Values{}
	if in.Force {
		q.Set("force", "true")
	}
	return call[*NodeInfo](ctx, c, request{method: http.MethodDelete, path: escapedPath("/v1/nodes", node), query: q})
}

// WatchDrain implements NodeService.
func (c *Client) WatchDrain(ctx context.Context, node string, report func(Progress)) error {
	_, err := c.progress(ctx, request{path: escapedPath("/v1/nodes", node, "drain")}, report)
	return err
}
