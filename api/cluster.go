package api

import (
	"context"
	"io"
	"net/http"

	"paas/cluster"
)

// ClusterService shows and saves the whole.
type ClusterService interface {
	Status(ctx context.Context) (*ClusterStatus, error)
	// Export writes the canonical JSON of the whole state: the same bytes on every
	// server at the same index.
	Export(ctx context.Context, w io.Writer) error
	// Backup writes a verifiable copy of the state, encrypted with passphrase.
	Backup(ctx context.Context, passphrase cluster.Redacted, w io.Writer) error
}

// ClusterStatus is what `paas status` shows of the whole.
type ClusterStatus struct {
	ID      cluster.ClusterID `json:"id"`
	Domain  cluster.Hostname  `json:"domain"`
	Version string            `json:"version"`
	Leader  string            `json:"leader"` // node name
	Index   uint64            `json:"index"`
	Servers int               `json:"servers"`
	// Members are the servers one by one, by name.
	Members   []ServerStatus `json:"members"`
	Nodes     int            `json:"nodes"`
	NodesUp   int            `json:"nodes_up"`
	Apps      int            `json:"apps"`
	HTTPPort  int            `json:"http_port"` // of the router, for URLs
	HTTPSPort int            `json:"https_port"`
	EdgeCA    string         `json:"edge_ca"` // PEM: to trust private host names
	// LowSpace lists the file systems that are tight or full.
	LowSpace []NodeSpace `json:"low_space,omitempty"`
}

// ServerStatus is one server as the leader sees it.
type ServerStatus struct {
	ID      cluster.NodeID `json:"id"`
	Name    string         `json:"name"`
	Zone    string         `json:"zone"`
	Address string         `json:"address"` // host:port
	Leader  bool           `json:"leader"`
	// Voter says that it counts for majorities; a server that has just joined does not.
	Voter bool              `json:"voter"`
	State cluster.NodeState `json:"state"`
}

// NodeSpace is a file system of a node.
type NodeSpace struct {
	Node string `json:"node"` // its name
	cluster.Space
}

type backupInput struct {
	Body struct {
		Passphrase cluster.Redacted `json:"passphrase" minLength:"1" doc:"Whoever restores the backup needs it"`
	}
}

func addClusterRoutes(t *table, s ClusterService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/status", name: "status", summary: "Show the cluster as a whole",
		rule: filtered(cluster.ScopeRead)}, func(ctx context.Context, _ *noInput) (*ClusterStatus, error) { return s.Status(ctx) })
	stream(t, spec{method: http.MethodGet, path: "/v1/export", name: "export", summary: "Export the whole state in its canonical form",
		rule: onCluster(cluster.ScopeAdmin)}, jsonForm, func(ctx context.Context, _ *noInput, w *streamWriter) error { return s.Export(ctx, w) })
	stream(t, spec{method: http.MethodPost, path: "/v1/backup", name: "backup", summary: "Make an encrypted backup of the state",
		rule: onCluster(cluster.ScopeAdmin)}, binaryForm, func(ctx context.Context, in *backupInput, w *streamWriter) error {
		return s.Backup(ctx, in.Body.Passphrase, w)
	})
}

// Status implements ClusterService.
func (c *Client) Status(ctx context.Context) (*ClusterStatus, error) {
	return call[*ClusterStatus](ctx, c, request{path: "/v1/status"})
}

// Export implements ClusterService.
func (c *Client) Export(ctx context.Context, w io.Writer) error {
	return c.copyTo(ctx, request{path: "/v1/export"}, w)
}

// Backup implements ClusterService. When it fails, what w got is not a backup.
func (c *Client) Backup(ctx context.Context, passphrase cluster.Redacted, w io.Writer) error {
	in := backupInput{}.Body
	in.Passphrase = passphrase
	return c.copyTo(ctx, request{method: http.MethodPost, path: "/v1/backup", in: in}, w)
}
