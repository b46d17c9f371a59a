package server

import (
	"context"
	"math/rand/v2"
	"strconv"

	"paas/api"
	"paas/cluster"
	"paas/store"
)

// appService implements api.AppService.
type appService struct {
	*control
	deployer *deployer
	git      *gitServer
	keeper   *keeper
}

// CreateApp implements api.AppService.
func (s *appService) CreateApp(ctx context.Context, in api.CreateApp) (*api.AppInfo, error) {
	if in.DeployBranch != "" {
		if err := cluster.ValidateBranch(in.DeployBranch); err != nil {
			return nil, err
		}
	}
	if in.Name == "" {
		in.Name = s.freeName()
	}
	if err := in.Name.Validate(); err != nil {
		return nil, err
	}
	if err := mayTouch(ctx, in.Name); err != nil {
		return nil, err
	}
	if _, err := s.store.Propose(ctx, store.CreateApp{By: s.by(ctx), Name: in.Name, DeployBranch: in.DeployBranch}); err != nil {
		return nil, err
	}
	app, err := s.store.State().App(in.Name)
	if err != nil {
		return nil, err
	}
	if _, err := s.git.repository(ctx, app); err != nil {
		return nil, err // the first push makes it too
	}
	s.log.Info("app created", "app", string(in.Name))
	return s.info(s.store.State(), app), nil
}

// mayTouch refuses tokens of other apps where the route's rule knows no app.
func mayTouch(ctx context.Context, app cluster.AppName) error {
	if a := api.ActorFrom(ctx); len(a.Apps) > 0 && !a.May(a.Scope, app) {
		return cluster.Errorf(cluster.KindForbidden, "app", "the token may not do this").Because("it is for other apps").
			WithHint("ask an admin for one of this app: paas token create NAME --app " + string(app))
	}
	return nil
}

// UpdateApp implements api.AppService.
func (s *appService) UpdateApp(ctx context.Context, name cluster.AppName, in api.UpdateApp) (*api.AppInfo, error) {
	if _, _, err := s.app(ctx, name); err != nil {
		return nil, err
	}
	if in.DeployBranch != nil {
		if *in.DeployBranch != "" {
			if err := cluster.ValidateBranch(*in.DeployBranch); err != nil {
				return nil, err
			}
		}
		if _, err := s.store.Propose(ctx, store.UpdateApp{By: s.by(ctx), Name: name, DeployBranch: in.DeployBranch}); err != nil {
			return nil, err
		}
	}
	return s.App(ctx, name)
}

// Apps implements api.AppService.
func (s *appService) Apps(ctx context.Context) ([]api.AppInfo, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	actor, out := api.ActorFrom(ctx), []api.AppInfo{}
	for app := range st.Apps() {
		if actor.May(cluster.ScopeRead, app.Name) {
			out = append(out, *s.info(st, app))
		}
	}
	return out, nil
}

// App implements api.AppService.
func (s *appService) App(ctx context.Context, name cluster.AppName) (*api.AppInfo, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	app, err := st.App(name)
	if err != nil {
		return nil, err
	}
	return s.info(st, app), nil
}

// DestroyApp implements api.AppService.
func (s *appService) DestroyApp(ctx context.Context, name, confirm cluster.AppName) error {
	st, err := s.read(ctx)
	if err != nil {
		return err
	}
	app, err := st.App(name)
	if err != nil {
		return err
	}
	if confirm != name {
		return cluster.Invalid("confirm", "app %s is not destroyed", name).Because("the confirmation is not its name").
			WithHint("repeat the name: paas apps destroy -a " + string(name) + " --confirm " + string(name))
	}
	if !app.Destroying {
		if _, err := s.store.Propose(ctx, store.DestroyApp{By: s.by(ctx), Name: name}); err != nil {
			return err
		}
		s.log.Info("app destroyed", "app", string(name))
	}
	for b := range s.store.State().Builds(name) {
		s.deployer.cancelBuild(b.ID)
	}
	born := app.CreatedAt
	err = s.until(ctx, func(st *cluster.State) (bool, error) {
		left, err := st.App(name)
		return err != nil || !left.CreatedAt.Equal(born), nil
	})
	if err != nil {
		return err
	}
	return s.keeper.sweep(ctx)
}

// info is an app with what people ask about it first.
func (s *appService) info(st *cluster.State, app *cluster.App) *api.AppInfo {
	in := &api.AppInfo{App: *app, URL: s.appURL(st, app.Name), GitURL: s.gitURL(app.Name),
		Domains: []cluster.Hostname{st.Settings().Host(app.Name)}, Deployment: st.ActiveDeployment(app.Name)}
	for d := range st.Domains() {
		if d.App == app.Name {
			in.Domains = append(in.Domains, d.Host)
		}
	}
	for a := range st.AllocationsOf(app.Name) {
		if a.Desired == cluster.DesiredRun && a.Observed.State == cluster.AllocationHealthy {
			in.Healthy++
		}
	}
	if rel, err := st.Release(app.Name, app.Current); err == nil {
		in.Release = rel
		for t := range rel.Processes {
			if t != cluster.ProcessRelease {
				in.Wanted += app.Quantity(t)
			}
		}
	}
	return in
}

// Words of which names are made for people who have none in mind.
var (
	nameFirst  = []string{"amber", "brisk", "calm", "clear", "crisp", "early", "fresh", "gentle", "golden", "green", "lively", "mellow", "misty", "quiet", "silver", "still", "sunny", "warm", "wild", "young"}
	nameSecond = []string{"bay", "brook", "cliff", "cove", "creek", "dune", "field", "fjord", "glade", "grove", "harbor", "hill", "lake", "meadow", "pond", "reef", "ridge", "river", "shore", "valley"}
)

// freeName makes a name that no app has. A lost race is a conflict like any other.
func (s *appService) freeName() cluster.AppName {
	for {
		name := cluster.AppName(pick(nameFirst) + "-" + pick(nameSecond) + "-" + digits())
		if _, err := s.store.State().App(name); err != nil {
			return name
		}
	}
}

func pick(words []string) string { return words[rand.IntN(len(words))] }

func digits() string {
	return strconv.Itoa(100 + rand.IntN(900))
}
