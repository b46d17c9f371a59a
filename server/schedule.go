package server

import (
	"context"
	"reflect"
	"time"

	"paas/cluster"
	"paas/scheduler"
	"paas/store"
)

// scheduleInterval is the least time between two passes: a burst of observations
// becomes one plan.
const scheduleInterval = 10 * time.Millisecond

// planner is the scheduler's loop: newest state → Compute → ApplyPlan.
type planner struct {
	*control
	fleet *fleet
}

// Run plans while this server leads. A pass that fails, or that changed nothing
// although it wanted to, is repeated with growing pauses: the world stays dirty
// until a pass over it wants nothing.
func (p *planner) Run(ctx context.Context) error {
	var last cluster.Plan
	futile := 0
	began := time.Now()
	w := watchBegun(began)
	for {
		st := p.store.State()
		now := time.Now()
		plan := scheduler.Compute(scheduler.Input{State: st, Routers: p.fleet.statuses(), Now: now.UTC(), LeadingSince: w.since(now, now.Sub(began))})
		p.misfits.planned(&plan)
		wait := p.untilNext(plan)
		if plan.Empty() {
			futile, last = 0, cluster.Plan{}
		} else {
			if samePlan(plan, last) {
				futile++
			} else {
				futile = 0
			}
			last = plan
			if _, err := p.store.Propose(ctx, store.ApplyPlan{By: store.By{Actor: "scheduler", At: time.Now().UTC()}, Plan: plan}); err != nil {
				futile++
				if ctx.Err() == nil {
					p.log.Warn("plan was not committed", "err", err)
				}
			}
			wait = scheduleInterval
		}
		if futile > 0 {
			if pause(ctx, backoff(futile)) != nil {
				return nil
			}
			continue
		}
		if !p.wait(ctx, st, wait) {
			return nil
		}
	}
}

// leaderWatch knows since when a leader could do something: since it leads, or
// since its host woke up or got another clock. Whatever waited then has waited for
// nobody.
type leaderWatch struct {
	start time.Time // wall time
	awake time.Duration
}

// wakeGrain is what clocks may differ by without anybody having slept: adjustments
// of NTP are slower.
const wakeGrain = time.Second

func watchBegun(at time.Time) *leaderWatch { return &leaderWatch{start: at.UTC()} }

// since is told the wall time and how long the process itself has counted since
// the watch began: that clock stands still while a host sleeps.
func (w *leaderWatch) since(now time.Time, counted time.Duration) time.Time {
	now = now.Round(0).UTC()
	if jump := now.Sub(w.start) - (counted - w.awake); jump.Abs() > wakeGrain {
		w.start, w.awake = now, counted
	}
	return w.start
}

// untilNext is how long the plan is good if nothing happens.
func (p *planner) untilNext(plan cluster.Plan) time.Duration {
	if plan.Next.IsZero() {
		return time.Hour // a look now and then costs nothing and repairs what nobody thought of
	}
	return max(time.Until(plan.Next), scheduleInterval)
}

// wait blocks until there is a reason to plan again, and at least scheduleInterval.
func (p *planner) wait(ctx context.Context, st *cluster.State, atMost time.Duration) bool {
	t := time.NewTimer(atMost)
	defer t.Stop()
	select {
	case <-p.store.Changed(st.Index()):
	case <-p.fleet.routed:
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	return pause(ctx, scheduleInterval) == nil
}

// samePlan reports whether b wants what a wants.
func samePlan(a, b cluster.Plan) bool {
	a.Index, a.Unplaced, a.Next = b.Index, b.Unplaced, b.Next
	return reflect.DeepEqual(a, b)
}
