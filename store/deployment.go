package store

import (
	"fmt"

	"paas/cluster"
)

// What is kept per app, beside everything that is still in use.
const (
	keptReleases = 20
	// keptGood releases that succeeded are kept whatever came after them: a broken
	// deploy that is repeated all night must leave something to roll back to.
	keptGood        = 5
	keptDeployments = 50
	keptBuilds      = 50
)

// noActiveDeployment refuses a change that would make a second deployment.
func noActiveDeployment(d *cluster.Draft, app cluster.AppName) error {
	x := d.State().ActiveDeployment(app)
	if x == nil {
		return nil
	}
	return cluster.Conflict("deploy_active", "app %s is being deployed", app).
		Because("deployment %s of %s is %s", x.ID, x.Release, x.State).
		WithHint("wait for it, or look at it with: paas ps -a " + string(app))
}

// startRelease makes r the app's next release, with the app's config, and begins
// its deployment, at whose end the pushed branch moves. r's App, Image, Processes,
// Rollout and description are set.
func (b By) startRelease(d *cluster.Draft, r cluster.Release, push *cluster.RefMove) (Outcome, error) {
	found, err := d.State().App(r.App)
	if err != nil {
		return Outcome{}, err
	}
	app := *found
	app.Latest++
	d.PutApp(app)

	r.Version, r.State = app.Latest, cluster.ReleasePending
	r.CreatedAt, r.CreatedBy = b.At, b.Actor
	r.Config = cluster.CloneConfig(app.Config)
	d.PutRelease(r)
	b.event(d, cluster.Event{Action: "release.created", App: r.App, Target: r.Version.String(), Text: fmt.Sprintf("%s created: %s", r.Version, r.Description)})

	x := cluster.Deployment{
		ID:  cluster.DeploymentID(fmt.Sprintf("d-%d", d.NextSequence())),
		App: r.App, Release: r.Version, From: app.Current, State: cluster.DeploymentRolling,
		CreatedAt: b.At, ProgressAt: b.At, Push: push,
	}
	if _, ok := r.Processes[cluster.ProcessRelease]; ok {
		x.State = cluster.DeploymentReleasing
	}
	d.PutDeployment(x)
	b.event(d, cluster.Event{Action: "deployment.started", App: r.App, Target: r.Version.String(), Text: fmt.Sprintf("deployment %s of %s started", x.ID, r.Version)})

	pruneReleases(d, r.App)
	pruneDeployments(d, r.App)
	return Outcome{Release: r.Version, Deployment: x.ID}, nil
}

// updateDeployment applies u to the deployment it names; false if it does not
// apply any more.
func (b By) updateDeployment(d *cluster.Draft, u cluster.DeploymentUpdate) bool {
	found, err := d.State().Deployment(u.ID)
	if err != nil || found.State.Ended() {
		return false
	}
	x := *found
	switch {
	case u.State > cluster.DeploymentCancelled:
		return false
	case u.State.Ended():
		b.endDeployment(d, x, u.State, u.Failure)
		return true
	case u.State > x.State: // Releasing → Rolling; states only move forward
		x.State = u.State
	}
	x.ProgressAt = b.At
	d.PutDeployment(x)
	return true
}

// endDeployment ends x: its release serves from now on, or failed and the app
// goes back to the config of the release that still serves.
func (b By) endDeployment(d *cluster.Draft, x cluster.Deployment, state cluster.DeploymentState, why *cluster.Failure) {
	x.State, x.ProgressAt, x.FinishedAt, x.Failure = state, b.At, b.At, nil
	if state != cluster.DeploymentSucceeded {
		x.Failure = failure(state, why)
	} else {
		moveBranch(d, &x)
	}
	d.PutDeployment(x)
	b.settleRelease(d, &x)
	e := cluster.Event{Action: "deployment." + state.String(), App: x.App, Target: x.Release.String(), Text: fmt.Sprintf("%s serves", x.Release)}
	if x.Failure != nil {
		e.Text = fmt.Sprintf("%s %s: %s", x.Release, state, x.Failure.Message)
	}
	b.event(d, e)
}

// failure is why, in bounds, or a default for who gave none.
func failure(state cluster.DeploymentState, why *cluster.Failure) *cluster.Failure {
	if why == nil {
		return &cluster.Failure{Code: state.String(), Message: "the deployment was " + state.String()}
	}
	f := *why
	f.Message = clip(f.Message, maxFailure)
	return &f
}

func (b By) settleRelease(d *cluster.Draft, x *cluster.Deployment) {
	s := d.State()
	if found, err := s.Release(x.App, x.Release); err == nil {
		r := *found
		r.State = cluster.ReleaseFailed
		if x.State == cluster.DeploymentSucceeded {
			r.State = cluster.ReleaseSucceeded
		}
		d.PutRelease(r)
	}
	found, err := s.App(x.App)
	if err != nil {
		return
	}
	app := *found
	if x.State == cluster.DeploymentSucceeded {
		app.Current = x.Release
	} else if current, err := s.Release(x.App, app.Current); err == nil {
		app.Config = cluster.CloneConfig(current.Config)
	}
	d.PutApp(app)
}

// pruneReleases keeps the newest keptReleases, the newest keptGood that succeeded,
// and whatever is in use: the serving one, both ends of the active deployment, and
// what replicas still run.
func pruneReleases(d *cluster.Draft, name cluster.AppName) {
	s := d.State()
	app, err := s.App(name)
	if err != nil {
		return
	}
	inUse := map[cluster.ReleaseVersion]bool{app.Current: true, app.Latest: true}
	if x := s.ActiveDeployment(name); x != nil {
		inUse[x.Release], inUse[x.From] = true, true
	}
	for a := range s.AllocationsOf(name) {
		inUse[a.Release] = true
	}
	var all, good []cluster.ReleaseVersion
	for r := range s.Releases(name) {
		all = append(all, r.Version)
		if r.State == cluster.ReleaseSucceeded {
			good = append(good, r.Version)
		}
	}
	for _, v := range good[max(0, len(good)-keptGood):] {
		inUse[v] = true
	}
	for _, v := range all[:max(0, len(all)-keptReleases)] {
		if !inUse[v] {
			d.RemoveRelease(name, v)
		}
	}
}

// pruneDeployments keeps the newest keptDeployments and the active one.
func pruneDeployments(d *cluster.Draft, app cluster.AppName) {
	var all []*cluster.Deployment
	for x := range d.State().Deployments(app) {
		all = append(all, x)
	}
	for _, x := range all[:max(0, len(all)-keptDeployments)] {
		if x.State.Ended() {
			d.RemoveDeployment(x)
		}
	}
}
