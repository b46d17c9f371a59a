package api

import (
	"context"
	"net/http"
	"time"

	"paas/cluster"
)

// TokenService makes and revokes API tokens.
type TokenService interface {
	// CreateToken returns the token's text, which is never shown again. A caller can
	// give no more than it has itself.
	CreateToken(ctx context.Context, in CreateToken) (*NewToken, error)
	Tokens(ctx context.Context) ([]cluster.Token, error)
	RevokeToken(ctx context.Context, id cluster.TokenID) error
	// Login exchanges a one-time token, sent as the request's bearer, for a lasting
	// one of the same scope.
	Login(ctx context.Context, in Login) (*NewToken, error)
	// Whoami shows the caller.
	Whoami(ctx context.Context) (*Actor, error)
}

// CreateToken describes a token.
type CreateToken struct {
	Name  string        `json:"name"`
	Scope cluster.Scope `json:"scope"`
	// Apps are the only ones that it is for; nil means all. An empty list is refused:
	// whoever sends one does not mean all.
	Apps []cluster.AppName `json:"apps,omitempty" minItems:"1"`
	// TTL 0 means 90 days; at most 366 days.
	TTL time.Duration `json:"ttl_ns,omitempty"`
}

// Login names the lasting token.
type Login struct {
	Name string `json:"name"`
}

// NewToken is a token with its text: "paas_ID_SECRET".
type NewToken struct {
	cluster.Token
	Text string `json:"text"`
}

type createTokenInput struct{ Body CreateToken }

type loginInput struct{ Body Login }

type tokenInput struct {
	ID cluster.TokenID `path:"id" doc:"The token's public half"`
}

func addTokenRoutes(t *table, s TokenService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/tokens", name: "list-tokens", summary: "List tokens, without their text",
		rule: onCluster(cluster.ScopeAdmin)}, func(ctx context.Context, _ *noInput) ([]cluster.Token, error) { return list(s.Tokens(ctx)) })
	handle(t, spec{method: http.MethodPost, path: "/v1/tokens", name: "create-token", summary: "Create a token; its text is shown once",
		rule: onCluster(cluster.ScopeAdmin)}, func(ctx context.Context, in *createTokenInput) (*NewToken, error) {
		return s.CreateToken(ctx, in.Body)
	})
	perform(t, spec{method: http.MethodDelete, path: "/v1/tokens/{id}", name: "revoke-token", summary: "Revoke a token",
		rule: onCluster(cluster.ScopeAdmin)}, func(ctx context.Context, in *tokenInput) error { return s.RevokeToken(ctx, in.ID) })
	handle(t, spec{method: http.MethodPost, path: "/v1/login", name: "login", summary: "Exchange a one-time token for a lasting one",
		rule: once()}, func(ctx context.Context, in *loginInput) (*NewToken, error) { return s.Login(ctx, in.Body) })
	handle(t, spec{method: http.MethodGet, path: "/v1/whoami", name: "whoami", summary: "Show whom the token stands for",
		rule: filtered(cluster.ScopeRead)}, func(ctx context.Context, _ *noInput) (*Actor, error) { return s.Whoami(ctx) })
}

// CreateToken implements TokenService.
func (c *Client) CreateToken(ctx context.Context, in CreateToken) (*NewToken, error) {
	return call[*NewToken](ctx, c, request{method: http.MethodPost, path: "/v1/tokens", in: in})
}

// Tokens implements TokenService.
func (c *Client) Tokens(ctx context.Context) ([]cluster.Token, error) {
	return call[[]cluster.Token](ctx, c, request{path: "/v1/tokens"})
}

// RevokeToken implements TokenService.
func (c *Client) RevokeToken(ctx context.Context, id cluster.TokenID) error {
	return c.send(ctx, request{method: http.MethodDelete, path: escapedPath("/v1/tokens", string(id))})
}

// Login implements TokenService.
func (c *Client) Login(ctx context.Context, in Login) (*NewToken, error) {
	return call[*NewToken](ctx, c, request{method: http.MethodPost, path: "/v1/login", in: in})
}

// Whoami implements TokenService.
func (c *Client) Whoami(ctx context.Context) (*Actor, error) {
	return call[*Actor](ctx, c, request{path: "/v1/whoami"})
}
