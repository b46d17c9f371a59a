package store

import (
	"fmt"

	"paas/cluster"
)

func (c CreateToken) apply(d *cluster.Draft) (Outcome, error) {
	t, err := c.newToken(d.State(), c.Token)
	if err != nil {
		return Outcome{}, err
	}
	d.PutToken(t)
	c.event(d, cluster.Event{Action: "token.created", Target: string(t.ID), Text: fmt.Sprintf("token %s created with scope %s", t.Name, t.Scope)})
	return Outcome{}, nil
}

// newToken validates t and stamps it.
func (b By) newToken(s *cluster.State, t cluster.Token) (cluster.Token, error) {
	if err := t.Validate(); err != nil {
		return t, err
	}
	if _, err := s.Token(t.ID); err == nil {
		return t, cluster.Conflict("token_exists", "token %s exists already", t.ID)
	}
	for _, app := range t.Apps {
		if _, err := s.App(app); err != nil {
			return t, err
		}
	}
	if !t.ExpiresAt.IsZero() && !t.ExpiresAt.After(b.At) {
		return t, cluster.Invalid("expires_at", "token %s would have expired already", t.Name)
	}
	t.CreatedAt, t.CreatedBy = b.At, b.Actor
	return t, nil
}

// The lasting token can never do more than the one-time token that it replaces.
func (c ExchangeToken) apply(d *cluster.Draft) (Outcome, error) {
	s := d.State()
	once, err := s.Token(c.Once)
	if err != nil || !once.Once || !once.ExpiresAt.IsZero() && !once.ExpiresAt.After(c.At) {
		return Outcome{}, cluster.Errorf(cluster.KindUnauthenticated, "token", "the one-time token is not valid").
			Because("it was used, revoked or has expired").WithHint("make another one on the server's console")
	}
	t := c.Token
	t.Scope, t.Apps, t.Once = once.Scope, once.Apps, false
	t, err = c.newToken(s, t)
	if err != nil {
		return Outcome{}, err
	}
	d.RemoveToken(once.ID)
	d.PutToken(t)
	c.event(d, cluster.Event{Action: "token.exchanged", Target: string(t.ID), Text: fmt.Sprintf("one-time token %s exchanged for token %s with scope %s", once.ID, t.Name, t.Scope)})
	return Outcome{}, nil
}

func (c RevokeToken) apply(d *cluster.Draft) (Outcome, error) {
	t, err := d.State().Token(c.ID)
	if err != nil {
		return Outcome{}, err
	}
	d.RemoveToken(c.ID)
	c.event(d, cluster.Event{Action: "token.revoked", Target: string(t.ID), Text: fmt.Sprintf("token %s revoked", t.Name)})
	return Outcome{}, nil
}
