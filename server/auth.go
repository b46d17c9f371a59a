package server

import (
	"context"
	"crypto/sha256"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

// nobody's token is compared with when the ID is unknown, so that known and
// unknown IDs take the same time.
var nobody = &cluster.Token{Hash: make([]byte, sha256.Size)}

// authWait is how long a request that came before the state did may wait for it.
const authWait = 10 * time.Second

// authenticate returns whom a bearer token stands for. Every way to be wrong gives
// the same answer. A server that has just started asks callers to come back: in a
// state without the newest commands good tokens are unknown and revoked ones good.
func (c *control) authenticate(ctx context.Context, bearer string) (api.Actor, error) {
	if err := c.awaitState(ctx); err != nil {
		return api.Actor{}, err
	}
	refused := cluster.Errorf(cluster.KindUnauthenticated, "token", "the token is not valid").
		Because("it is unknown, revoked or expired").WithHint("log in with: paas login")
	id, secret, err := identity.ParseToken(bearer)
	if err != nil {
		return api.Actor{}, refused
	}
	t, err := c.store.State().Token(id)
	if err != nil {
		t = nobody
	}
	if !identity.TokenMatches(t, secret) || expired(t, time.Now()) {
		return api.Actor{}, refused
	}
	return api.Actor{Token: t.ID, Name: t.Name, Scope: t.Scope, Apps: t.Apps, Once: t.Once}, nil
}

// awaitState returns when this server has applied what was committed before it
// started.
func (c *control) awaitState(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, authWait)
	defer cancel()
	select {
	case <-c.caughtUp:
		return nil
	case <-ctx.Done():
		return cluster.Errorf(cluster.KindUnavailable, "starting", "the server cannot check tokens yet").
			Because("it is starting and reads its state").WithHint("try again in a few seconds")
	}
}

func expired(t *cluster.Token, now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}
