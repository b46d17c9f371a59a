package server

import (
	"context"
	"slices"

	"paas/api"
	"paas/cluster"
	"paas/store"
)

// releasesShown is how many releases a list has if nobody says how many.
const releasesShown = 15

// releaseService implements api.ReleaseService.
type releaseService struct {
	*control
	deployer *deployer
}

// Releases implements api.ReleaseService.
func (s *releaseService) Releases(ctx context.Context, app cluster.AppName, limit int) ([]cluster.Release, error) {
	st, _, err := s.app(ctx, app)
	if err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = releasesShown
	}
	out := []cluster.Release{}
	for r := range st.Releases(app) {
		out = append(out, *r)
	}
	slices.Reverse(out)
	return out[:min(limit, len(out))], nil
}

// Release implements api.ReleaseService.
func (s *releaseService) Release(ctx context.Context, app cluster.AppName, v cluster.ReleaseVersion) (*cluster.Release, error) {
	st, _, err := s.app(ctx, app)
	if err != nil {
		return nil, err
	}
	return st.Release(app, v)
}

// Rollback implements api.ReleaseService.
func (s *releaseService) Rollback(ctx context.Context, app cluster.AppName, in api.Rollback) (*api.DeployResult, error) {
	if _, _, err := s.app(ctx, app); err != nil {
		return nil, err
	}
	leave, err := s.deployer.turn(ctx, newReport(nil), app, "a rollback by "+s.by(ctx).Actor)
	if err != nil {
		return nil, err
	}
	defer leave()
	out, err := s.store.Propose(ctx, store.Rollback{By: s.by(ctx), App: app, To: in.To})
	if err != nil {
		return nil, err
	}
	return &api.DeployResult{App: app, Release: out.Release, Deployment: out.Deployment, URL: s.appURL(s.store.State(), app)}, nil
}
