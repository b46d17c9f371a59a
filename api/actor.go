package api

import (
	"context"
	"slices"

	"paas/cluster"
)

// Actor is who makes a request: a verified token. The zero Actor may nothing.
type Actor struct {
	Token cluster.TokenID   `json:"token"`
	Name  string            `json:"name"`
	Scope cluster.Scope     `json:"scope"`
	Apps  []cluster.AppName `json:"apps,omitempty"` // empty means all
	// Once is a one-time token: it may do nothing but log in.
	Once bool `json:"once,omitempty"`
}

// May reports whether a has scope on app; app "" means the whole cluster, which
// a token restricted to apps never has except for reading lists.
func (a Actor) May(scope cluster.Scope, app cluster.AppName) bool {
	if a.Once || a.Scope < scope {
		return false
	}
	return len(a.Apps) == 0 || slices.Contains(a.Apps, app)
}

type actorKey struct{}

// WithActor returns ctx on behalf of a.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorFrom returns who ctx acts for; the zero Actor if nobody.
func ActorFrom(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}
