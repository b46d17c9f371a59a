package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"paas/api"
	"paas/cluster"
)

// watcher tells one caller how one deployment goes: it compares each state with
// what it told last, so it can begin at any time and miss any number of states.
type watcher struct {
	*deployer
	r   *report
	app cluster.AppName
	id  cluster.DeploymentID

	told  map[cluster.AllocationID]api.InstanceNews
	stuck map[cluster.ProcessType]bool // told that they fit nowhere
	state cluster.DeploymentState      // told last
	since time.Time                    // of state

	output *logReader // of the release command; nil if there is none
	lines  lineWriter
	grown  <-chan struct{}
}

// WatchDeployment implements api.DeployService.
func (d *deployer) WatchDeployment(ctx context.Context, app cluster.AppName, id cluster.DeploymentID, send func(api.Progress)) error {
	st, err := d.read(ctx)
	if err != nil {
		return err
	}
	x, err := deploymentOf(st, app, id)
	if err != nil {
		return err
	}
	r := newReport(send)
	if err := d.watch(ctx, r, app, id); err != nil {
		e := d.classify(ctx, app, err)
		r.failed(e, logOf(err))
		return e
	}
	r.done(x.Release.String()+" is live", &api.DeployResult{App: app, Release: x.Release, Deployment: id, URL: d.appURL(st, app)})
	return nil
}

// watch reports until the deployment ends; its error is the deployment's, with
// the evidence.
func (d *deployer) watch(ctx context.Context, r *report, app cluster.AppName, id cluster.DeploymentID) error {
	w := &watcher{deployer: d, r: r, app: app, id: id, told: map[cluster.AllocationID]api.InstanceNews{},
		lines: lineWriter{line: r.line}}
	defer w.close()
	for {
		st := d.store.State()
		x, err := deploymentOf(st, app, id)
		if err != nil {
			return cluster.Errorf(cluster.KindRolloutFailed, "cancelled", "the deployment ended with its app").Because("app %s was destroyed", app)
		}
		if err := w.tell(st, x); err != nil {
			return err
		}
		if x.State.Ended() {
			return w.outcome(ctx, st, x)
		}
		select {
		case <-d.store.Changed(st.Index()):
		case <-w.tellMisfits(st, x):
		case <-w.grown:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (w *watcher) close() {
	if w.output != nil {
		_ = w.output.Close() // it was only read
	}
}

// tell reports what is new in st.
func (w *watcher) tell(st *cluster.State, x *cluster.Deployment) error {
	if x.State != w.state {
		w.turn(st, x)
	}
	if err := w.tellOutput(); err != nil {
		return err
	}
	for _, a := range instances(st, w.app) {
		was, known := w.told[a.ID]
		news := newsOf(st, a)
		if known && was == news {
			continue
		}
		w.told[a.ID] = news
		if known && was.Word() == news.Word() && was.Reason == news.Reason {
			continue
		}
		// What other releases' replicas did before, and those of neither side ever
		// do, is not this deployment's news.
		if a.Release == x.Release || known && (a.Release == x.From || x.ID == "") {
			w.r.tell(api.Progress{Kind: api.ProgressInstance, Instance: &news, Text: text(news)})
		}
	}
	return nil
}

// tellMisfits says at once, and once for each process type, that replicas fit nowhere:
// the deployment waits for room until its deadline. While something of the app ends it
// may be what makes room. It returns when to look again.
func (w *watcher) tellMisfits(st *cluster.State, x *cluster.Deployment) <-chan struct{} {
	list, changed := w.misfits.of(w.app)
	if x.State != cluster.DeploymentRolling || w.misfits.at() < x.Index {
		return changed
	}
	for a := range st.AllocationsOf(w.app) {
		if a.Live() && a.Desired != cluster.DesiredRun {
			return changed
		}
	}
	wait := "" // said once
	if rel, err := st.Release(w.app, x.Release); err == nil && len(w.stuck) == 0 {
		wait = fmt.Sprintf("; the rollout waits for room for %s, and gives up then", rel.Rollout.Patience().Round(time.Second))
	}
	for _, u := range list {
		if w.stuck[u.Type] {
			continue
		}
		if w.stuck == nil {
			w.stuck = map[cluster.ProcessType]bool{}
		}
		w.stuck[u.Type] = true
		w.r.warn(fmt.Sprintf("%s.%d fits nowhere yet: %s%s", u.Type, u.Slot, strings.Join(u.Reasons, "; "), wait))
		wait = ""
	}
	return changed
}

// turn tells of the deployment's own step, and measures the one before.
func (w *watcher) turn(st *cluster.State, x *cluster.Deployment) {
	phase := map[cluster.DeploymentState]string{cluster.DeploymentReleasing: "release", cluster.DeploymentRolling: "rollout"}
	if name := phase[w.state]; name != "" {
		w.r.phase(name, time.Since(w.since))
	}
	w.state, w.since = x.State, time.Now()
	switch x.State {
	case cluster.DeploymentReleasing:
		w.begin(x, "Running the release command of "+x.Release.String())
		w.output = w.logs.open(releaseLogName(x.ID))
	case cluster.DeploymentRolling:
		from := ""
		if x.From > 0 {
			from = x.From.String() + " → "
		}
		w.begin(x, "Rolling out "+from+x.Release.String())
	}
}

// begin tells of a step of the deployment, and which one it is: from here on it
// goes its way whoever hangs up.
func (w *watcher) begin(x *cluster.Deployment, step string) {
	w.r.tell(api.Progress{Kind: api.ProgressStep, Text: step,
		Result: &api.DeployResult{App: x.App, Release: x.Release, Deployment: x.ID}})
}

// tellOutput passes on what the release command printed since the last time.
func (w *watcher) tellOutput() error {
	if w.output == nil {
		return nil
	}
	for {
		data, grown, ended, err := w.output.next()
		if err != nil {
			return err
		}
		w.grown = grown
		if len(data) == 0 {
			if ended {
				w.grown = nil
				w.lines.flush()
			}
			return nil
		}
		_, _ = w.lines.Write(data) // cannot fail
	}
}

// outcome is what the deployment's end means to who asked for it.
func (w *watcher) outcome(ctx context.Context, st *cluster.State, x *cluster.Deployment) error {
	if x.State == cluster.DeploymentSucceeded {
		return nil
	}
	f := x.Failure
	if f == nil {
		f = &cluster.Failure{Code: "rollout.failed", Message: "the deployment has " + x.State.String()}
	}
	kind := cluster.KindRolloutFailed
	if f.Code == "rollout.unplaceable" {
		kind = cluster.KindUnplaceable
	}
	e := cluster.Errorf(kind, f.Code, "%s", headline(st, x, f)).Because("%s", f.Message).WithHint(hint(w.app, f))
	log := w.evidence.of(ctx, f.Node, f.Allocation)
	if f.Code == codeReleaseFailed {
		log = w.logs.lastLines(releaseLogName(x.ID))
	}
	return &loggedError{err: e, log: log}
}

func headline(st *cluster.State, x *cluster.Deployment, f *cluster.Failure) string {
	did := "did not start"
	switch {
	case x.State == cluster.DeploymentCancelled:
		did = "was cancelled"
	case strings.HasPrefix(f.Code, "release."):
		did = "was not rolled out"
	}
	if app, err := st.App(x.App); err == nil && app.Current > 0 {
		return fmt.Sprintf("%s %s; %s still serves", x.Release, did, app.Current)
	}
	return fmt.Sprintf("%s %s", x.Release, did)
}

func hint(app cluster.AppName, f *cluster.Failure) string {
	switch f.Code {
	case "rollout.unplaceable":
		return "see what the nodes have to give with: paas nodes"
	case "cancelled":
		return "deploy again when you are ready: paas deploy -a " + string(app)
	case "release.interrupted":
		return "check what the release command did before, then deploy again: paas deploy -a " + string(app)
	}
	if advice := cluster.ListeningAdvice(f.Message); advice != "" {
		return advice + ", and deploy again: paas deploy -a " + string(app)
	}
	return "mend it and deploy again; what happened is listed by: paas events -a " + string(app)
}

// instances lists the app's allocations that have not been forgotten.
func instances(st *cluster.State, app cluster.AppName) []*cluster.Allocation {
	var out []*cluster.Allocation
	for a := range st.AllocationsOf(app) {
		out = append(out, a)
	}
	return out
}

// newsOf is an allocation as people hear of it.
func newsOf(st *cluster.State, a *cluster.Allocation) api.InstanceNews {
	n := api.InstanceNews{Name: a.Instance(), Node: nodeName(st, a.Node), Release: a.Release,
		State: a.Observed.State, Desired: a.Desired, Reason: plain(a.Observed.Reason), ExitCode: a.Observed.ExitCode}
	if node, err := st.Node(a.Node); err == nil {
		n.Zone = node.Zone
	}
	return n
}

func text(n api.InstanceNews) string {
	return fmt.Sprintf("%s %s %s on %s", n.Name, n.Release, n.Word(), n.Node)
}
