package api

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"paas/cluster"
	"paas/identity"
)

// JoinService lets hosts into the cluster.
type JoinService interface {
	// CreateJoin returns the join string's text, which is never shown again.
	CreateJoin(ctx context.Context, in CreateJoin) (*NewJoin, error)
	Joins(ctx context.Context) ([]cluster.Join, error)
	RevokeJoin(ctx context.Context, id cluster.TokenID) error
	// Join makes the host that asks a node. The same host, known by its key, may ask
	// again and gets the same answer. KindUnauthenticated for a join string that is
	// not good; KindForbidden for one of the other role.
	Join(ctx context.Context, in JoinRequest) (*Joined, error)
}

// CreateJoin describes a join string.
type CreateJoin struct {
	Role identity.Role `json:"role"`
	// TTL 0 means 1 hour; at most 7 days.
	TTL time.Duration `json:"ttl_ns,omitempty"`
}

// NewJoin is a join string's record with its text: "paas://…".
type NewJoin struct {
	cluster.Join
	Text string `json:"text"`
}

// JoinRequest is a host that wants to join: what its join string says, its
// certificate request, and what it is.
type JoinRequest struct {
	ID     cluster.TokenID  `json:"id"`
	Secret cluster.Redacted `json:"secret"`
	// CSR is a certificate request (DER) of the host's own key.
	CSR  []byte        `json:"csr"`
	Role identity.Role `json:"role"`

	Name string `json:"name"`
	Zone string `json:"zone"`
	// Address is host:port of the host's port between hosts.
	Address string `json:"address"`
	// IPs are what a server's certificate also names, for tools that compare addresses.
	IPs    []netip.Addr      `json:"ips,omitempty" maxItems:"64"`
	Router bool              `json:"router,omitempty"`
	Apps   bool              `json:"apps,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Joined is the answer to a host that is a node now.
type Joined struct {
	Node cluster.NodeID `json:"node"`
	// Chain (PEM) is the node's certificate and the authority.
	Chain   string            `json:"chain"`
	Cluster cluster.ClusterID `json:"cluster"`
	Domain  cluster.Hostname  `json:"domain"`
	// Roster is every host at this moment.
	Roster cluster.Roster `json:"roster"`
}

type createJoinInput struct{ Body CreateJoin }

type joinInput struct{ Body JoinRequest }

type joinIDInput struct {
	ID cluster.TokenID `path:"id" doc:"The join string's public half"`
}

func addJoinRoutes(t *table, s JoinService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/joins", name: "list-joins", summary: "List join strings, without their text",
		rule: onCluster(cluster.ScopeAdmin)}, func(ctx context.Context, _ *noInput) ([]cluster.Join, error) { return list(s.Joins(ctx)) })
	handle(t, spec{method: http.MethodPost, path: "/v1/joins", name: "create-join", summary: "Create a join string; its text is shown once",
		rule: onCluster(cluster.ScopeAdmin)}, func(ctx context.Context, in *createJoinInput) (*NewJoin, error) {
		return s.CreateJoin(ctx, in.Body)
	})
	perform(t, spec{method: http.MethodDelete, path: "/v1/joins/{id}", name: "revoke-join", summary: "Revoke a join string",
		rule: onCluster(cluster.ScopeAdmin)}, func(ctx context.Context, in *joinIDInput) error { return s.RevokeJoin(ctx, in.ID) })
	handle(t, spec{method: http.MethodPost, path: "/v1/join", name: "join", summary: "Join as a host",
		rule: public("a host that joins has no token yet: the secret of its join string, good once, is in the body")},
		func(ctx context.Context, in *joinInput) (*Joined, error) {
			joined, err := s.Join(ctx, in.Body)
			return joined, t.throttle.guessed(ctx, err)
		})
}

// CreateJoin implements JoinService.
func (c *Client) CreateJoin(ctx context.Context, in CreateJoin) (*NewJoin, error) {
	return call[*NewJoin](ctx, c, request{method: http.MethodPost, path: "/v1/joins", in: in})
}

// Joins implements JoinService.
func (c *Client) Joins(ctx context.Context) ([]cluster.Join, error) {
	return call[[]cluster.Join](ctx, c, request{path: "/v1/joins"})
}

// RevokeJoin implements JoinService.
func (c *Client) RevokeJoin(ctx context.Context, id cluster.TokenID) error {
	return c.send(ctx, request{method: http.MethodDelete, path: escapedPath("/v1/joins", string(id))})
}

// Join implements JoinService. The server is known by its certificate, whatever
// address it was reached at.
func (c *Client) Join(ctx context.Context, in JoinRequest) (*Joined, error) {
	return call[*Joined](ctx, c, request{method: http.MethodPost, path: "/v1/join", in: in})
}
