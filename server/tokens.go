package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/store"
)

const (
	defaultTokenLife = 90 * 24 * time.Hour
	maxTokenLife     = 366 * 24 * time.Hour
	// onceLife is how long a one-time login on the console is good for.
	onceLife = 24 * time.Hour
)

// tokenService implements api.TokenService.
type tokenService struct{ *control }

// CreateToken implements api.TokenService.
func (s *tokenService) CreateToken(ctx context.Context, in api.CreateToken) (*api.NewToken, error) {
	if err := tokenName(in.Name); err != nil {
		return nil, err
	}
	if in.Scope == cluster.ScopeNone || in.Scope > cluster.ScopeAdmin {
		return nil, cluster.Invalid("scope", "the token needs a scope").Because("read, deploy or admin")
	}
	if in.TTL == 0 {
		in.TTL = defaultTokenLife
	}
	if in.TTL < time.Minute || in.TTL > maxTokenLife {
		return nil, cluster.Invalid("ttl", "a token cannot last %s", inDays(in.TTL)).Because("it lasts 1 minute to 366 days").
			WithHint("name a shorter time: paas token create NAME --ttl 366d")
	}
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	for _, app := range in.Apps {
		if _, err := st.App(app); err != nil {
			return nil, err
		}
	}
	actor := api.ActorFrom(ctx)
	if err := within(actor, in); err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	t := cluster.Token{Name: in.Name, Scope: in.Scope, Apps: in.Apps, CreatedAt: now, CreatedBy: actor.Name, ExpiresAt: now.Add(in.TTL)}
	// A successor that lives longer than its maker would be more than it has.
	if own, err := st.Token(actor.Token); err == nil && !own.ExpiresAt.IsZero() && own.ExpiresAt.Before(t.ExpiresAt) {
		t.ExpiresAt = own.ExpiresAt
	}
	return s.create(ctx, t)
}

// inDays is a duration as people ask for it: in whole days where it is some.
func inDays(d time.Duration) string {
	const day = 24 * time.Hour
	if d < day || d%day != 0 {
		return d.String()
	}
	return fmt.Sprintf("%d days", d/day)
}

// within refuses to give more than the caller has.
func within(actor api.Actor, in api.CreateToken) error {
	more := cluster.Errorf(cluster.KindForbidden, "scope", "no token is made").Because("it would have more rights than yours").
		WithHint("ask an admin for it: paas token create NAME --scope SCOPE")
	if actor.Once || in.Scope > actor.Scope {
		return more
	}
	if len(actor.Apps) == 0 {
		return nil
	}
	if len(in.Apps) == 0 || slices.ContainsFunc(in.Apps, func(a cluster.AppName) bool { return !slices.Contains(actor.Apps, a) }) {
		return more.Because("yours is for single apps")
	}
	return nil
}

func tokenName(name string) error {
	if name == "" || utf8.RuneCountInString(name) > 64 || plain(name) != name || strings.ContainsRune(name, utf8.RuneError) {
		return cluster.Invalid("token_name", "the token's name is not valid").Because("a name is 1 to 64 printable characters").
			WithHint("name it after who uses it: paas token create --name ci")
	}
	return nil
}

// create draws a token's secret and stores its hash.
func (s *tokenService) create(ctx context.Context, t cluster.Token) (*api.NewToken, error) {
	text, id, hash := identity.NewToken()
	t.ID, t.Hash = id, hash
	if _, err := s.store.Propose(ctx, store.CreateToken{By: s.by(ctx), Token: t}); err != nil {
		return nil, err
	}
	return &api.NewToken{Token: t, Text: text}, nil
}

// Tokens implements api.TokenService.
func (s *tokenService) Tokens(ctx context.Context) ([]cluster.Token, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	out := []cluster.Token{}
	for t := range st.Tokens() {
		out = append(out, *t)
	}
	return out, nil
}

// RevokeToken implements api.TokenService.
func (s *tokenService) RevokeToken(ctx context.Context, id cluster.TokenID) error {
	_, err := s.store.Propose(ctx, store.RevokeToken{By: s.by(ctx), ID: id})
	return err
}

// Login implements api.TokenService.
func (s *tokenService) Login(ctx context.Context, in api.Login) (*api.NewToken, error) {
	actor := api.ActorFrom(ctx)
	if !actor.Once {
		return nil, cluster.Errorf(cluster.KindForbidden, "one_time_token", "only a one-time token can be exchanged")
	}
	if err := tokenName(in.Name); err != nil {
		return nil, err
	}
	text, id, hash := identity.NewToken()
	now := time.Now().UTC()
	t := cluster.Token{ID: id, Hash: hash, Name: in.Name, Scope: actor.Scope, Apps: actor.Apps,
		CreatedAt: now, CreatedBy: actor.Name, ExpiresAt: now.Add(maxTokenLife)}
	if _, err := s.store.Propose(ctx, store.ExchangeToken{By: s.by(ctx), Once: actor.Token, Token: t}); err != nil {
		return nil, err
	}
	return &api.NewToken{Token: t, Text: text}, nil
}

// Whoami implements api.TokenService.
func (s *tokenService) Whoami(ctx context.Context) (*api.Actor, error) {
	actor := api.ActorFrom(ctx)
	return &actor, nil
}

// admin makes a lasting admin token for the command line of the same host.
func (s *tokenService) admin(ctx context.Context, name string) (string, error) {
	if err := tokenName(name); err != nil {
		return "", err
	}
	now := time.Now().UTC()
	t, err := s.create(ctx, cluster.Token{Name: name, Scope: cluster.ScopeAdmin, CreatedAt: now, CreatedBy: "paas", ExpiresAt: now.Add(maxTokenLife)})
	if err != nil {
		return "", err
	}
	return t.Text, nil
}

// once makes the first admin's one-time login; "" when there is an admin already.
// A login that was shown before and never used is void from then on.
func (s *tokenService) once(ctx context.Context) (string, error) {
	st, err := s.store.Read(ctx)
	if err != nil {
		return "", err
	}
	now := time.Now().UTC()
	for t := range st.Tokens() {
		if t.Scope == cluster.ScopeAdmin && len(t.Apps) == 0 && !t.Once && !expired(t, now) {
			return "", nil
		}
	}
	for t := range st.Tokens() {
		if t.Once {
			if err := s.RevokeToken(ctx, t.ID); err != nil {
				return "", err
			}
		}
	}
	t, err := s.create(ctx, cluster.Token{Name: "first login", Scope: cluster.ScopeAdmin, Once: true,
		CreatedAt: now, CreatedBy: "paas", ExpiresAt: now.Add(onceLife)})
	if err != nil {
		return "", err
	}
	return t.Text, nil
}
