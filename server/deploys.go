package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"paas/api"
	"paas/builder"
	"paas/cluster"
	"paas/store"
)

// deployer turns source and images into running releases.
//
//	queue → receive → StartBuild → build → FinishBuild → CreateRelease → (release command) → rollout
//
// Until CreateRelease the work is its caller's: who goes away cancels it, and
// nothing is left. From then on the deployment is the cluster's, watched or not.
type deployer struct {
	*control
	images   Images
	copies   *imageCopies
	queue    *queue
	logs     *buildLogs
	spaces   *spaces
	evidence *evidence

	mu      sync.Mutex
	running map[cluster.BuildID]context.CancelCauseFunc // guarded by mu
	sources map[string]bool                             // directories of sources in use; guarded by mu
}

// job is one deploy. Exactly one of image and unpack is set.
type job struct {
	app         cluster.AppName
	commit      string // full hash, or ""
	description string // of the release; "" makes one
	image       string
	unpack      func(ctx context.Context, dir string) error
	// hold takes over the app's turn, to give it up later than the deploy's end; nil
	// gives it up at once.
	hold func(leave func())
	// push is the branch that moves when the deployment succeeds; nil if none does.
	push *cluster.RefMove
	// keep is told that the release of a build is about to be made, and may refuse
	// it; nil says nothing against it.
	keep func() error
}

// DeploySource implements api.DeployService.
func (d *deployer) DeploySource(ctx context.Context, app cluster.AppName, in api.DeploySource, send func(api.Progress)) (*api.DeployResult, error) {
	if in.Archive == nil {
		return nil, cluster.Invalid("archive", "the deploy has no source").WithHint("try: paas deploy DIR")
	}
	if in.Commit != "" && !hashRE.MatchString(in.Commit) {
		return nil, cluster.Invalid("commit", "the commit is not a full hash")
	}
	if len(in.Description) > 200 {
		return nil, cluster.Invalid("description", "the description is too long").Because("it may have 200 bytes")
	}
	return d.deploy(ctx, newReport(send), job{app: app, commit: in.Commit, description: plain(in.Description),
		unpack: func(ctx context.Context, dir string) error {
			return builder.Unpack(ctx, in.Archive, dir, builder.Limits{})
		}})
}

// DeployImage implements api.DeployService.
func (d *deployer) DeployImage(ctx context.Context, app cluster.AppName, in api.DeployImage, send func(api.Progress)) (*api.DeployResult, error) {
	if err := cluster.ValidateImageRef(in.Image); err != nil {
		return nil, err
	}
	return d.deploy(ctx, newReport(send), job{app: app, image: in.Image, description: "Deploy " + in.Image})
}

// Deployments implements api.DeployService.
func (d *deployer) Deployments(ctx context.Context, app cluster.AppName) ([]cluster.Deployment, error) {
	st, _, err := d.app(ctx, app)
	if err != nil {
		return nil, err
	}
	out := []cluster.Deployment{}
	for x := range st.Deployments(app) {
		out = append(out, *x)
	}
	slices.Reverse(out)
	return out, nil
}

// CancelDeployment implements api.DeployService.
func (d *deployer) CancelDeployment(ctx context.Context, app cluster.AppName, id cluster.DeploymentID) error {
	st, err := d.read(ctx)
	if err != nil {
		return err
	}
	x, err := deploymentOf(st, app, id)
	if err != nil {
		return err
	}
	if x.State.Ended() {
		return cluster.Conflict("ended", "deployment %s cannot be cancelled", id).Because("it has %s already", x.State)
	}
	by := d.by(ctx)
	_, err = d.store.Propose(ctx, store.ApplyPlan{By: by, Plan: cluster.Plan{Index: st.Index(),
		Deployments: []cluster.DeploymentUpdate{{ID: id, State: cluster.DeploymentCancelled,
			Failure: &cluster.Failure{Code: "cancelled", Message: "cancelled by " + by.Actor}}}}})
	return err
}

// deploymentOf returns an app's deployment; another app's is not found.
func deploymentOf(st *cluster.State, app cluster.AppName, id cluster.DeploymentID) (*cluster.Deployment, error) {
	x, err := st.Deployment(id)
	if err == nil && x.App != app {
		return nil, cluster.NotFound("deployment", "app %.60q has no deployment %.60q", app, id)
	}
	return x, err
}

// deploy runs a job to its end and tells it, good or bad.
func (d *deployer) deploy(ctx context.Context, r *report, j job) (*api.DeployResult, error) {
	res, err := d.run(ctx, r, j)
	if err != nil {
		e := d.classify(ctx, j.app, err)
		r.failed(e, logOf(err))
		return res, e
	}
	r.done(res.Release.String()+" is live", res)
	return res, nil
}

func (d *deployer) run(ctx context.Context, r *report, j job) (*api.DeployResult, error) {
	if _, _, err := d.app(ctx, j.app); err != nil {
		return nil, err
	}
	if err := d.room(); err != nil {
		return nil, err
	}
	leave, err := d.turn(ctx, r, j.app, "a deploy by "+d.by(ctx).Actor)
	if err != nil {
		return nil, err
	}
	if j.hold == nil {
		defer leave()
	} else {
		j.hold(leave)
	}
	st, app, err := d.app(ctx, j.app) // it may have been destroyed meanwhile
	if err != nil {
		return nil, err
	}
	if err := d.room(); err != nil { // nor is the disk what it was
		return nil, err
	}
	dir, err := d.receive(ctx, r, j)
	if err != nil {
		return nil, err
	}
	defer d.discard(dir)

	res := &api.DeployResult{App: j.app, URL: d.appURL(st, j.app)}
	if err := d.makeRelease(ctx, r, j, app, dir, res); err != nil {
		return res, err
	}
	if err := d.watch(ctx, r, j.app, res.Deployment); err != nil {
		return res, err
	}
	for _, t := range idleTypes(d.store.State(), j.app, res.Release, app.Current) {
		r.warn(fmt.Sprintf("%s has no replica yet; start one: paas scale %s=1 -a %s", t, t, j.app))
	}
	return res, nil
}

// idleTypes are the process types that are new with release v, compared with the
// one before, and have no replica: who pushed the first worker would wait for it.
func idleTypes(st *cluster.State, name cluster.AppName, v, before cluster.ReleaseVersion) []cluster.ProcessType {
	app, err := st.App(name)
	if err != nil {
		return nil
	}
	rel, err := st.Release(name, v)
	if err != nil {
		return nil
	}
	known := map[cluster.ProcessType]cluster.Process{}
	if old, err := st.Release(name, before); err == nil {
		known = old.Processes
	}
	var idle []cluster.ProcessType
	for t := range rel.Processes {
		if _, was := known[t]; !was && t != cluster.ProcessRelease && t != cluster.ProcessWeb && app.Quantity(t) == 0 {
			idle = append(idle, t)
		}
	}
	slices.Sort(idle)
	return idle
}

// makeRelease builds and creates the release. Between the two no release names
// the image; the builder keeps what it has just built.
func (d *deployer) makeRelease(ctx context.Context, r *report, j job, app *cluster.App, dir string, res *api.DeployResult) error {
	id, made, err := d.build(ctx, r, j, app, dir)
	res.Build = id
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := d.copies.spread(ctx, r, made.Image); err != nil {
		return err
	}
	if j.keep != nil {
		if err := j.keep(); err != nil {
			return err
		}
	}
	out, err := d.release(ctx, j, app, id, made)
	if err != nil {
		return err
	}
	res.Release, res.Deployment = out.Release, out.Deployment
	return nil
}

// turn waits until the app has no other deploy before this one and no deployment
// that goes on.
func (d *deployer) turn(ctx context.Context, r *report, app cluster.AppName, what string) (leave func(), err error) {
	leave, err = d.queue.enter(ctx, app, what, func(ahead string) {
		r.step("Waiting for %s to end", ahead)
	})
	if err != nil {
		return nil, err
	}
	told := cluster.DeploymentID("")
	err = d.until(ctx, func(st *cluster.State) (bool, error) {
		active := st.ActiveDeployment(app)
		if active == nil {
			return true, nil
		}
		if active.ID != told {
			told = active.ID
			r.step("Waiting for the deployment of %s to end", active.Release)
		}
		return false, nil
	})
	if err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// receive unpacks the job's source into a directory of its own; "" for images.
func (d *deployer) receive(ctx context.Context, r *report, j job) (dir string, err error) {
	if j.unpack == nil {
		return "", nil
	}
	defer r.timed("receive")()
	if dir, err = d.sourceDir(); err != nil {
		return "", err
	}
	if err := j.unpack(ctx, dir); err != nil {
		d.discard(dir)
		return "", err
	}
	if _, err := os.Lstat(filepath.Join(dir, ".gitmodules")); err == nil && j.commit != "" {
		r.warn("Git submodules are not fetched: the build sees their directories empty")
	}
	return dir, nil
}

// room refuses builds while a disk of this host is full.
func (d *deployer) room() error { return d.spaces.room(d.self, nodeName(d.store.State(), d.self)) }

// sourceDir makes a directory for a source; discard must follow.
func (d *deployer) sourceDir() (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, err := os.MkdirTemp(d.layout.tmp(), "source-")
	if err != nil {
		return "", fmt.Errorf("make build directory: %w", err)
	}
	d.sources[dir] = true
	return dir, nil
}

// sweepSources removes sources that no deploy uses, because discard could not.
func (d *deployer) sweepSources() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := filepath.Glob(filepath.Join(d.layout.tmp(), "source-*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range all {
		if !d.sources[dir] {
			errs = append(errs, removeTree(dir))
		}
	}
	return errors.Join(errs...)
}

// discard drops a build's source.
func (d *deployer) discard(dir string) {
	if dir == "" {
		return
	}
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.sources, dir)
	}()
	if err := removeTree(dir); err != nil {
		d.log.Warn("source of a build was not removed, the next start does it", "err", err)
	}
}

// release proposes the release. From here on the deployment does not depend on
// its caller, so the proposal does not either.
func (d *deployer) release(ctx context.Context, j job, app *cluster.App, id cluster.BuildID, made *builder.Result) (store.Outcome, error) {
	ctx, cancel := aside(ctx)
	defer cancel()
	if b := made.DeployBranch; b != "" && b != app.DeployBranch {
		if _, err := d.store.Propose(ctx, store.UpdateApp{By: d.by(ctx), Name: j.app, DeployBranch: &b}); err != nil {
			return store.Outcome{}, err
		}
	}
	defaults := map[string]cluster.Redacted{}
	for key, v := range made.Env {
		if _, has := app.Config[key]; !has {
			defaults[key] = v
		}
	}
	sealed, err := d.seal(j.app, defaults)
	if err != nil {
		return store.Outcome{}, err
	}
	out, err := d.store.Propose(ctx, store.CreateRelease{By: d.by(ctx), App: j.app, Description: describe(j), Build: id,
		Commit: j.commit, Image: made.Image, Processes: made.Processes, Rollout: made.Rollout,
		DefaultConfig: sealed, DefaultFormation: made.Formation, Push: j.push})
	if err != nil {
		return out, err
	}
	d.log.Info("release created", "app", string(j.app), "release", out.Release.String(), slog.String("deployment", string(out.Deployment)))
	return out, nil
}

func describe(j job) string {
	switch {
	case j.description != "":
		return j.description
	case j.commit != "":
		return "Deploy " + j.commit[:7]
	}
	return "Deploy"
}
