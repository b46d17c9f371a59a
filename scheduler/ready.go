package scheduler

import (
	"time"

	"paas/cluster"
)

// clockSkew is how far ahead a time in the state may be before it is not waited
// for: the clock was set back, or the leader before had another one. An hour of
// skew must not hold a rollout for an hour.
const clockSkew = time.Second

// readiness reports whether r counts as serving: healthy for long enough and,
// if routers serve it, in every live router's table. When only time is missing,
// at is when to look again.
func (p *pass) readiness(r *replica) (ok bool, at time.Time) {
	if r.a.Desired != cluster.DesiredRun || !r.healthy() || r.lost() {
		return false, time.Time{}
	}
	skewed := r.a.HealthyAt.After(p.now.Add(clockSkew))
	if at := r.settledAt(); at.After(p.now) && !skewed {
		return false, at
	}
	return p.routed(r)
}

// settledAt is when r was healthy for its release's minimum time.
func (r *replica) settledAt() time.Time {
	return r.a.HealthyAt.Add(orDefault(r.rollout.MinHealthy, cluster.DefaultMinHealthy))
}

// routed reports whether every router had the chance to learn of r.
func (p *pass) routed(r *replica) (ok bool, at time.Time) {
	if r.a.Type != cluster.ProcessWeb || p.acks.all(r.a.ObservedIndex) {
		return true, time.Time{}
	}
	patience := r.a.HealthyAt.Add(routerPatience)
	return !patience.After(p.now), patience
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}
