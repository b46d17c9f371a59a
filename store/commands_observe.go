package store

import (
	"fmt"

	"paas/cluster"
)

func (c Observe) apply(d *cluster.Draft) (Outcome, error) {
	changed := 0
	for _, news := range c.Observations {
		found, err := d.State().Allocation(news.ID)
		if err != nil || found.Node != c.Node || !follows(found.Observed, news.Observation) {
			continue
		}
		a := *found
		news.Observation.Reason = oneLine(news.Observation.Reason)
		a.Observe(news.Observation, d.State().Index(), c.At)
		d.PutAllocation(a)
		written(d, &a)
		c.audit(d, found, &a)
		changed++
	}
	if changed == 0 {
		return Outcome{}, errUnchanged
	}
	return Outcome{}, nil
}

// follows reports whether next is news after last. What is gone stays gone: a
// late message must not bring back an allocation that was counted out.
func follows(last, next cluster.Observation) bool {
	if next.State > cluster.AllocationFailed || last.State.Terminal() && !next.State.Terminal() {
		return false
	}
	if last.StartedAt.Equal(next.StartedAt) && last.HealthySince.Equal(next.HealthySince) {
		next.StartedAt, next.HealthySince = last.StartedAt, last.HealthySince
	}
	next.Reason = oneLine(next.Reason)
	return next != last
}

// audit records a replica's end that nobody asked for.
func (c Observe) audit(d *cluster.Draft, before, after *cluster.Allocation) {
	if after.Desired != cluster.DesiredRun {
		return
	}
	o := &after.Observed
	e := cluster.Event{App: after.App, Target: after.Instance()}
	switch {
	case o.State == cluster.AllocationFailed && before.Observed.State != cluster.AllocationFailed:
		e.Action, e.Text = "instance.failed", fmt.Sprintf("%s failed", after.Instance())
	case o.Restarts > before.Observed.Restarts, o.State == cluster.AllocationBackoff && before.Observed.State != cluster.AllocationBackoff:
		// One crash is seen twice: as backoff, then as a restart after it.
		if before.Observed.State == cluster.AllocationBackoff && o.State != cluster.AllocationBackoff {
			return
		}
		e.Action, e.Text = "instance.crashed", fmt.Sprintf("%s exited with code %d", after.Instance(), o.ExitCode)
	default:
		return
	}
	crashes := crashes(o)
	if e.Action == "instance.crashed" && !worthTelling(crashes) {
		return
	}
	if o.OOM {
		e.Text += ", out of memory"
	}
	if o.Reason != "" {
		e.Text = fmt.Sprintf("%s: %s", after.Instance(), o.Reason)
	}
	if crashes > everyCrash {
		e.Text += fmt.Sprintf(" (%d times)", crashes)
		if canGoBack(d.State(), after) {
			e.Text += "; back to the release before: paas rollback -a " + string(after.App)
		}
	}
	c.event(d, e)
}

// canGoBack reports whether a is of the current release and an earlier one became
// healthy once.
func canGoBack(st *cluster.State, a *cluster.Allocation) bool {
	app, err := st.App(a.App)
	if err != nil || app.Current != a.Release {
		return false
	}
	for r := range st.Releases(a.App) {
		if r.State == cluster.ReleaseSucceeded && r.Version < a.Release {
			return true
		}
	}
	return false
}

// everyCrash is how many crashes of one replica are told one by one.
const everyCrash = 4

// crashes is how often the replica has ended by itself. In its backoff the
// restart after the last end is still to come.
func crashes(o *cluster.Observation) int {
	if o.State == cluster.AllocationBackoff {
		return o.Restarts + 1
	}
	return o.Restarts
}

// worthTelling thins out a crash loop: after the first few only every doubling
// is told, or one broken app would push everybody's actions out of the audit.
func worthTelling(crashes int) bool {
	return crashes <= everyCrash || crashes&(crashes-1) == 0
}
