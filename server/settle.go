package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/scheduler"
)

// settling is the wait until what runs of an app is what is wanted.
type settling struct {
	*processService
	app   cluster.AppName
	types []cluster.ProcessType // none means all
	// before are the replicas that had come up, or not, when the wait began: their
	// checks are not what is waited for.
	before map[cluster.AllocationID]bool
}

// Settle implements api.ProcessService.
func (s *processService) Settle(ctx context.Context, name cluster.AppName, types []cluster.ProcessType, send func(api.Progress)) error {
	st, app, err := s.app(ctx, name)
	if err != nil {
		return err
	}
	for _, t := range types {
		if err := scalable(st, app, t); err != nil {
			return err
		}
	}
	r := newReport(send)
	watch := &watcher{deployer: s.deployer, r: r, app: name, told: map[cluster.AllocationID]api.InstanceNews{}}
	w := &settling{processService: s, app: name, types: types, before: map[cluster.AllocationID]bool{}}
	for a := range s.store.State().AllocationsOf(name) {
		watch.told[a.ID] = newsOf(s.store.State(), a)
		w.before[a.ID] = a.Observed.State >= cluster.AllocationHealthy
	}
	if err := w.run(ctx, watch); err != nil {
		if ctx.Err() == nil {
			r.failed(s.deployer.classify(ctx, name, err), logOf(err))
		}
		return err
	}
	r.done("Settled", nil)
	return nil
}

// run ends when all is as it is wanted, or when it cannot become so without help.
func (w *settling) run(ctx context.Context, watch *watcher) error {
	for {
		st := w.store.State()
		app, err := st.App(w.app)
		if err != nil {
			return err
		}
		if err := watch.tell(st, &cluster.Deployment{App: w.app, Release: app.Current}); err != nil {
			return err
		}
		done, again := w.settled(st, app)
		if done {
			return nil
		}
		if err := w.hopeless(ctx, st); err != nil {
			return err
		}
		if err := w.newer(ctx, st, again); err != nil {
			return err
		}
	}
}

// counts reports whether t is waited for.
func (w *settling) counts(t cluster.ProcessType) bool {
	return len(w.types) == 0 || slices.Contains(w.types, t)
}

// settled reports whether what runs is what is wanted: every wanted slot has one
// healthy replica of the serving release that began after the last restart, nothing
// else is left, and the scheduler would change nothing.
func (w *settling) settled(st *cluster.State, app *cluster.App) (done bool, again time.Duration) {
	again = time.Second
	rel, err := st.Release(app.Name, app.Current)
	if err != nil || st.ActiveDeployment(app.Name) != nil {
		return err != nil && st.ActiveDeployment(app.Name) == nil, again
	}
	wanted := 0
	for t := range rel.Processes {
		if t != cluster.ProcessRelease && w.counts(t) {
			wanted += app.Quantity(t)
		}
	}
	spare := spares(st, app.Name)
	for a := range st.AllocationsOf(app.Name) {
		if !w.counts(a.Type) || spare[a.ID] || a.Desired == cluster.DesiredStop && (!a.Live() || a.Observed.StartedAt.IsZero()) {
			continue // of the last kind nothing runs: its host could not start it
		}
		if a.Desired != cluster.DesiredRun || a.Observed.State != cluster.AllocationHealthy ||
			a.Release != app.Current || a.Generation < app.Generation[a.Type] {
			return false, again
		}
		wanted--
	}
	if wanted != 0 {
		return false, again
	}
	plan := scheduler.Compute(w.now(st))
	return !slices.ContainsFunc(plan.Place, func(p cluster.Placement) bool { return p.App == app.Name && w.counts(p.Type) && p.Moves == "" }), again
}

func (w *settling) now(st *cluster.State) scheduler.Input {
	return scheduler.Input{State: st, Routers: w.fleet.statuses(), Now: time.Now().UTC()}
}

// hopeless is why what is waited for does not come by waiting: a replica that does not
// come up, as a rollout would judge it, or one that no node has room for while nothing
// of its type is on the way. The change stays: it is made as soon as it can be.
func (w *settling) hopeless(ctx context.Context, st *cluster.State) error {
	if st.ActiveDeployment(w.app) != nil {
		return nil // it has an end of its own
	}
	now := w.now(st)
	f := scheduler.Convict(now, w.app, func(a *cluster.Allocation) bool {
		return w.counts(a.Type) && (!w.before[a.ID] || a.Observed.State == cluster.AllocationFailed)
	})
	if f != nil {
		e := cluster.Errorf(cluster.KindRolloutFailed, f.Code, "%s of app %s does not start", f.Instance, w.app).Because("%s", f.Message).
			WithHint(hint(w.app, f))
		return &loggedError{err: e, log: w.deployer.evidence.of(ctx, f.Node, f.Allocation)}
	}
	if w.onTheWay(st) {
		return nil
	}
	plan := scheduler.Compute(now)
	if w.moves(st, &plan) {
		return nil
	}
	i := slices.IndexFunc(plan.Unplaced, func(u cluster.Unplaced) bool { return u.App == w.app && w.counts(u.Type) })
	if i < 0 {
		return nil
	}
	u := plan.Unplaced[i]
	return cluster.Errorf(cluster.KindUnplaceable, "unplaceable", "nothing has room for %s of app %s", fmt.Sprintf("%s.%d", u.Type, u.Slot), w.app).
		Because("%s", strings.Join(u.Reasons, "; ")).
		WithHint("what runs serves on, and the change is made as soon as there is room; see: paas nodes")
}

// onTheWay reports whether a replica comes up or ends on a node that is there.
func (w *settling) onTheWay(st *cluster.State) bool {
	for a := range st.AllocationsOf(w.app) {
		if n, err := st.Node(a.Node); err != nil || n.State == cluster.NodeDown || !a.Live() || !w.counts(a.Type) {
			continue
		}
		if a.Desired != cluster.DesiredRun || a.Observed.State < cluster.AllocationHealthy {
			return true
		}
	}
	return false
}

// moves reports whether a plan is about to change anything of the app.
func (w *settling) moves(st *cluster.State, plan *cluster.Plan) bool {
	ours := func(id cluster.AllocationID) bool {
		a, err := st.Allocation(id)
		return err == nil && a.App == w.app
	}
	return slices.ContainsFunc(plan.Place, func(p cluster.Placement) bool { return p.App == w.app }) ||
		slices.ContainsFunc(plan.Drain, ours) || slices.ContainsFunc(plan.Stop, ours)
}

// spares are replicas that nobody waits for: of two of one slot, one of which takes the
// place of the other for the sake of the spread, the one that does not serve yet, or
// not any more.
func spares(st *cluster.State, app cluster.AppName) map[cluster.AllocationID]bool {
	spare := map[cluster.AllocationID]bool{}
	for a := range st.AllocationsOf(app) {
		if a.Moves == "" {
			continue
		}
		if old, err := st.Allocation(a.Moves); err == nil && old.Desired == cluster.DesiredRun {
			spare[a.ID] = true
		} else if err == nil && a.Desired == cluster.DesiredRun {
			spare[old.ID] = true
		}
	}
	return spare
}
