package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"paas/builder"
	"paas/cluster"
	"paas/store"
)

// hashRE is a full commit hash, SHA-1 or SHA-256.
var hashRE = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// errBuildCancelled is the cause of a build's end when a person asked for it.
var errBuildCancelled = cluster.Errorf(cluster.KindBuildFailed, "build.cancelled", "the build was cancelled")

// build makes the job's image. Whatever happens, the build it recorded ends.
func (d *deployer) build(ctx context.Context, r *report, j job, app *cluster.App, dir string) (cluster.BuildID, *builder.Result, error) {
	out, err := d.startBuild(ctx, j)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.track(out.Build, cancel)
	defer d.untrack(out.Build)

	began := time.Now()
	result, err := d.buildLogged(ctx, r, j, app, out.Build, dir)
	var stopped *cluster.Error
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errBuildCancelled) {
		err = errBuildCancelled.Because("%s was asked to stop", out.Build)
	} else if err != nil && errors.As(cause, &stopped) { // the disk is full, another server leads
		err = stopped
	}
	if err == nil {
		recordPhases(r, result, time.Since(began))
	}
	if ferr := d.finishBuild(ctx, out.Build, result, err); ferr != nil && err == nil {
		err = ferr
	}
	return out.Build, result, err
}

// startBuild records a build. Who goes away meanwhile must not leave one that
// nobody knows of, so it is not their context that ends the wait.
func (d *deployer) startBuild(ctx context.Context, j job) (store.Outcome, error) {
	if ctx.Err() != nil {
		return store.Outcome{}, context.Cause(ctx)
	}
	ctx, cancel := aside(ctx)
	defer cancel()
	return d.store.Propose(ctx, store.StartBuild{By: d.by(ctx), App: j.app, Commit: j.commit, Node: d.self})
}

func recordPhases(r *report, result *builder.Result, total time.Duration) {
	push := result.Phases["push"]
	r.phase("push", push)
	r.phase("build", max(0, total-push))
}

// buildLogged runs the builder with its output going to the build's log and to
// the one who deploys.
func (d *deployer) buildLogged(ctx context.Context, r *report, j job, app *cluster.App, id cluster.BuildID, dir string) (*builder.Result, error) {
	log, err := d.logs.create(buildLogName(id))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	lines := &lineWriter{line: r.line}
	defer lines.flush()
	keys := make(map[string]bool, len(app.Config))
	for k := range app.Config {
		keys[k] = true
	}
	say := func(mark, text string) { _, _ = fmt.Fprintf(log, "%s %s\n", mark, plain(text)) } // a log never fails its build
	result, err := d.images.Build(ctx, builder.Request{App: j.app, Dir: dir, Image: j.image, Keys: keys,
		Log:  io.MultiWriter(log, lines),
		Step: func(text string) { say("----->", text); r.step("%s", text) },
		Warn: func(text string) { say(" !    ", text); r.warn(text) },
	})
	if err != nil {
		say(" !    ", oneLine(err))
	}
	return result, err
}

// finishBuild records a build's end; it does not depend on who waits for it.
func (d *deployer) finishBuild(ctx context.Context, id cluster.BuildID, result *builder.Result, err error) error {
	cmd := store.FinishBuild{ID: id, State: cluster.BuildSucceeded}
	switch {
	case err == nil:
		cmd.Method, cmd.Reason, cmd.Image = result.Method, result.Reason, result.Image
	case ctx.Err() != nil && !isDiskFull(err):
		cmd.State, cmd.Failure = cluster.BuildCancelled, "cancelled"
	default:
		cmd.State, cmd.Failure = cluster.BuildFailed, oneLine(err)
	}
	ctx, cancel := aside(ctx)
	defer cancel()
	cmd.By = d.by(ctx)
	if _, ferr := d.store.Propose(ctx, cmd); ferr != nil {
		if cluster.KindOf(ferr) == cluster.KindNotFound {
			return cluster.Conflict("destroying", "app was destroyed while it was being built")
		}
		return fmt.Errorf("record the end of build %s: %w", id, ferr)
	}
	return nil
}

// oneLine is an error for people; what nobody classified stays ours.
func oneLine(err error) string {
	var e *cluster.Error
	if errors.As(err, &e) && e.Kind != cluster.KindInternal {
		return plain(e.Error())
	}
	return "internal error: the server's log says more"
}

func (d *deployer) track(id cluster.BuildID, cancel context.CancelCauseFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running[id] = cancel
}

func (d *deployer) untrack(id cluster.BuildID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.running, id)
}

// stopBuilds ends all builds that run here, because of cause.
func (d *deployer) stopBuilds(cause *cluster.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, cancel := range d.running {
		cancel(cause)
	}
}

// cancelBuild ends a build that runs here and reports whether there was one.
func (d *deployer) cancelBuild(id cluster.BuildID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	cancel, ok := d.running[id]
	if ok {
		cancel(errBuildCancelled)
	}
	return ok
}

// interrupted ends all builds under way: only a leader builds, this one has not begun
// to, and what others did went with their lead.
func (d *deployer) interrupted(ctx context.Context, began time.Time) error {
	st := d.store.State()
	for app := range st.Apps() {
		for b := range st.Builds(app.Name) {
			if b.State.Ended() {
				continue
			}
			why := "the server that built it lost the lead"
			if b.Node == d.self && b.CreatedAt.Before(began) {
				why = "interrupted by a restart of the server"
			}
			_, err := d.store.Propose(ctx, store.FinishBuild{By: platform(), ID: b.ID, State: cluster.BuildFailed, Failure: why})
			if err != nil && cluster.KindOf(err) != cluster.KindNotFound {
				return err
			}
		}
	}
	return nil
}
