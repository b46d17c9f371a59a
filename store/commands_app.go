package store

import (
	"fmt"
	"slices"

	"paas/cluster"
)

func (c CreateApp) apply(d *cluster.Draft) (Outcome, error) {
	if err := c.Name.Validate(); err != nil {
		return Outcome{}, err
	}
	if err := validateBranch(c.DeployBranch); err != nil {
		return Outcome{}, err
	}
	s := d.State()
	if app, err := s.App(c.Name); err == nil {
		if app.Destroying {
			return Outcome{}, destroying(c.Name)
		}
		return Outcome{}, cluster.Conflict("app_exists", "app %s exists already", c.Name).WithHint("choose another name")
	}
	host := s.Settings().Host(c.Name)
	if x, err := s.Domain(host); err == nil {
		return Outcome{}, cluster.Conflict("domain_taken", "app %s cannot be created", c.Name).
			Because("its host name %s is a domain of app %s", host, x.App).WithHint("choose another name")
	}
	c.dropTokens(d, c.Name)
	d.PutApp(cluster.App{Name: c.Name, CreatedAt: c.At, CreatedBy: c.Actor, DeployBranch: c.DeployBranch})
	d.PutRepository(cluster.Repository{App: c.Name})
	c.event(d, cluster.Event{Action: "app.created", App: c.Name, Target: string(c.Name), Text: fmt.Sprintf("app %s created", c.Name)})
	return Outcome{}, nil
}

// dropTokens takes name out of the tokens that were for an earlier app of that
// name, so that they open nothing of the new one. A token for no app at all would
// be one for every app: it goes.
func (b By) dropTokens(d *cluster.Draft, name cluster.AppName) {
	for t := range d.State().Tokens() {
		if !slices.Contains(t.Apps, name) {
			continue
		}
		left := *t
		left.Apps = slices.DeleteFunc(slices.Clone(t.Apps), func(a cluster.AppName) bool { return a == name })
		if len(left.Apps) > 0 {
			d.PutToken(left)
			continue
		}
		d.RemoveToken(t.ID)
		b.event(d, cluster.Event{Action: "token.revoked", Target: string(t.ID),
			Text: fmt.Sprintf("token %s revoked: it was for an app %s that is gone", t.Name, name)})
	}
}

func (c UpdateApp) apply(d *cluster.Draft) (Outcome, error) {
	app, err := liveApp(d, c.Name)
	if err != nil {
		return Outcome{}, err
	}
	if c.DeployBranch == nil || *c.DeployBranch == app.DeployBranch {
		return Outcome{}, errUnchanged
	}
	if err := validateBranch(*c.DeployBranch); err != nil {
		return Outcome{}, err
	}
	app.DeployBranch = *c.DeployBranch
	d.PutApp(app)
	text := "pushes to main and master deploy"
	if app.DeployBranch != "" {
		text = "pushes to " + app.DeployBranch + " deploy"
	}
	c.event(d, cluster.Event{Action: "app.updated", App: c.Name, Target: string(c.Name), Text: text})
	return Outcome{}, nil
}

// The app's routes go with Destroying: State.Routes leaves it out. The scheduler
// stops what runs and then asks for its removal with Plan.RemoveApps.
func (c DestroyApp) apply(d *cluster.Draft) (Outcome, error) {
	s := d.State()
	found, err := s.App(c.Name)
	if err != nil {
		return Outcome{}, err
	}
	if found.Destroying {
		return Outcome{}, errUnchanged
	}
	if x := s.ActiveDeployment(c.Name); x != nil {
		c.endDeployment(d, *x, cluster.DeploymentCancelled, &cluster.Failure{Code: "cancelled", Message: "the app was destroyed"})
	}
	for b := range s.Builds(c.Name) {
		if !b.State.Ended() {
			c.endBuild(d, *b, cluster.BuildCancelled, "the app was destroyed")
		}
	}
	for x := range s.Domains() {
		if x.App == c.Name {
			d.RemoveDomain(x.Host)
		}
	}
	detachAll(d, c.Name)
	app, err := d.State().App(c.Name) // again: the end of a deployment changes it
	if err != nil {
		return Outcome{}, err
	}
	gone := *app
	gone.Destroying = true
	d.PutApp(gone)
	c.event(d, cluster.Event{Action: "app.destroying", App: c.Name, Target: string(c.Name), Text: fmt.Sprintf("app %s is being destroyed", c.Name)})
	return Outcome{}, nil
}

// liveApp returns a copy of an app that is not being destroyed. Its maps are
// shared with the state: clone before changing one.
func liveApp(d *cluster.Draft, name cluster.AppName) (cluster.App, error) {
	app, err := d.State().App(name)
	if err != nil {
		return cluster.App{}, err
	}
	if app.Destroying {
		return cluster.App{}, destroying(name)
	}
	return *app, nil
}

func destroying(name cluster.AppName) error {
	return cluster.Conflict("app_destroying", "app %s is being destroyed", name).
		Because("its replicas are still stopping").WithHint("try again in a moment")
}

func validateBranch(branch string) error {
	if branch == "" {
		return nil
	}
	return cluster.ValidateBranch(branch)
}
