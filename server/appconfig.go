package server

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"paas/api"
	"paas/cluster"
	"paas/store"
)

// configService implements api.ConfigService.
type configService struct {
	*control
	deployer *deployer
}

// Config implements api.ConfigService.
func (s *configService) Config(ctx context.Context, name cluster.AppName) (*api.ConfigList, error) {
	st, app, err := s.app(ctx, name)
	if err != nil {
		return nil, err
	}
	list := &api.ConfigList{App: name, Keys: []api.ConfigKey{}}
	for _, key := range slices.Sorted(maps.Keys(app.Config)) {
		list.Keys = append(list.Keys, api.ConfigKey{Key: key, Since: carriedSince(st, app, key)})
	}
	return list, nil
}

// carriedSince is the first of the newest releases in a row that carry the app's
// value: an equal value that was set anew is sealed anew.
func carriedSince(st *cluster.State, app *cluster.App, key string) (since cluster.ReleaseVersion) {
	for rel := range st.Releases(app.Name) {
		sealed, has := rel.Config[key]
		switch {
		case !has || !bytes.Equal(sealed.Box, app.Config[key].Box):
			since = 0
		case since == 0:
			since = rel.Version
		}
	}
	return since
}

// ConfigValue implements api.ConfigService.
func (s *configService) ConfigValue(ctx context.Context, name cluster.AppName, key string) (*api.ConfigValue, error) {
	_, app, err := s.app(ctx, name)
	if err != nil {
		return nil, err
	}
	sealed, ok := app.Config[key]
	if !ok {
		return nil, unknownKey(app, key)
	}
	value, err := s.sealer.Open(sealed, configPurpose(name, key))
	if err != nil {
		return nil, err
	}
	if err := s.recordReveal(ctx, name, key); err != nil {
		return nil, err // what cannot be audited is not shown
	}
	return &api.ConfigValue{Key: key, Value: string(value)}, nil
}

func unknownKey(app *cluster.App, key string) error {
	if err := cluster.ValidateConfigKey(key); err != nil {
		return err
	}
	e := cluster.NotFound("config_key", "app %s has no config variable %s", app.Name, key)
	if near := cluster.Nearest(key, slices.Sorted(maps.Keys(app.Config))); len(near) > 0 {
		e = e.Because("nearest: %s", near[0])
	}
	return e.WithHint("list them with: paas config -a " + string(app.Name))
}

// ChangeConfig implements api.ConfigService.
func (s *configService) ChangeConfig(ctx context.Context, name cluster.AppName, in api.ChangeConfig) (*api.DeployResult, error) {
	if len(in.Set)+len(in.Unset) == 0 {
		return nil, cluster.Invalid("config", "nothing is to be changed").WithHint("try: paas config set KEY=VALUE")
	}
	for key, v := range in.Set {
		if err := cluster.ValidateConfigKey(key); err != nil {
			return nil, err
		}
		if err := cluster.ValidateConfigValue(key, v.Reveal()); err != nil {
			return nil, err
		}
		if slices.Contains(in.Unset, key) {
			return nil, cluster.Invalid("config", "%s cannot be set and unset at once", key)
		}
	}
	if _, _, err := s.app(ctx, name); err != nil {
		return nil, err
	}
	leave, err := s.deployer.turn(ctx, newReport(nil), name, "a config change by "+s.by(ctx).Actor)
	if err != nil {
		return nil, err
	}
	defer leave()
	st, app, err := s.app(ctx, name) // as the one before left it
	if err != nil {
		return nil, err
	}
	res := &api.DeployResult{App: name, URL: s.appURL(st, name)}
	cmd, err := s.changes(app, in)
	if err != nil || len(cmd.Set)+len(cmd.Unset) == 0 {
		return res, err
	}
	cmd.By = s.by(ctx)
	out, err := s.store.Propose(ctx, *cmd)
	res.Release, res.Deployment = out.Release, out.Deployment
	return res, err
}

// changes keeps of a request what would change something: a value that is there
// already makes no release.
func (s *configService) changes(app *cluster.App, in api.ChangeConfig) (*store.ChangeConfig, error) {
	cmd := &store.ChangeConfig{App: app.Name}
	have, err := s.unseal(app.Name, app.Config)
	if err != nil {
		return nil, err
	}
	set := maps.Clone(in.Set)
	maps.DeleteFunc(set, func(key string, v cluster.Redacted) bool {
		old, ok := have[key]
		return ok && old == v
	})
	if cmd.Set, err = s.seal(app.Name, set); err != nil {
		return nil, err
	}
	for _, key := range in.Unset {
		if _, ok := have[key]; !ok {
			return nil, unknownKey(app, key)
		}
		cmd.Unset = append(cmd.Unset, key)
	}
	return cmd, nil
}

// recordReveal leaves a trace of who read a value.
func (s *configService) recordReveal(ctx context.Context, app cluster.AppName, key string) error {
	_, err := s.store.Propose(ctx, store.Audit{By: s.by(ctx), Action: "config.revealed", App: app, Target: key,
		Text: key + " was read"})
	return err
}
