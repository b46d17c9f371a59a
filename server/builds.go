package server

import (
	"context"
	"io"
	"slices"

	"paas/cluster"
	"paas/store"
)

// buildService implements api.BuildService.
type buildService struct {
	*deployer
	copies *logCopier
}

// Builds implements api.BuildService.
func (s *buildService) Builds(ctx context.Context, app cluster.AppName) ([]cluster.Build, error) {
	st, _, err := s.app(ctx, app)
	if err != nil {
		return nil, err
	}
	out := []cluster.Build{}
	for b := range st.Builds(app) {
		out = append(out, *b)
	}
	slices.Reverse(out)
	return out, nil
}

// Build implements api.BuildService.
func (s *buildService) Build(ctx context.Context, app cluster.AppName, id cluster.BuildID) (*cluster.Build, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	return buildOf(st, app, id)
}

// BuildLog implements api.BuildService.
func (s *buildService) BuildLog(ctx context.Context, app cluster.AppName, id cluster.BuildID, w io.Writer) error {
	b, err := s.Build(ctx, app, id)
	if err != nil {
		return err
	}
	if err := s.copies.need(ctx, b); err != nil {
		return err
	}
	return s.logs.follow(ctx, buildLogName(id), w, func() (bool, <-chan struct{}) {
		st := s.store.State()
		b, err := st.Build(id)
		return err != nil || b.State.Ended(), s.store.Changed(st.Index())
	})
}

// CancelBuild implements api.BuildService.
func (s *buildService) CancelBuild(ctx context.Context, app cluster.AppName, id cluster.BuildID) error {
	b, err := s.Build(ctx, app, id)
	if err != nil {
		return err
	}
	if b.State.Ended() {
		return cluster.Conflict("ended", "build %s cannot be cancelled", id).Because("it has %s already", b.State)
	}
	if s.cancelBuild(id) {
		return nil
	}
	_, err = s.store.Propose(ctx, store.FinishBuild{By: s.by(ctx), ID: id, State: cluster.BuildCancelled, Failure: "cancelled"})
	return err
}

// buildOf returns an app's build; another app's is not found.
func buildOf(st *cluster.State, app cluster.AppName, id cluster.BuildID) (*cluster.Build, error) {
	b, err := st.Build(id)
	if err == nil && b.App != app {
		return nil, cluster.NotFound("build", "app %.60q has no build %.60q", app, id).WithHint("list them with: paas builds")
	}
	return b, err
}
