package scheduler

import (
	"time"

	"paas/cluster"
)

// sweep moves on what is already on its way out: drained replicas stop when no
// request is left, stopped ones are forgotten when nothing of them is left.
func (p *pass) sweep(v *appView) {
	for i := range v.replicas {
		r := &v.replicas[i]
		switch r.a.Desired {
		case cluster.DesiredDrain:
			if p.drained(r) {
				p.stop(r)
			}
		case cluster.DesiredStop:
			if (r.node == nil || r.dead()) && !p.remembered(r) && !p.teaches(v, r) {
				p.plan.Forget = append(p.plan.Forget, r.a.ID)
			}
		}
	}
}

// drained reports whether r can be told to stop without cutting a request off,
// or its drain deadline has passed.
func (p *pass) drained(r *replica) bool {
	if r.lost() || r.dead() {
		return true
	}
	deadline := r.a.DesiredAt.Add(orDefault(r.rollout.Drain, cluster.DefaultDrain))
	if !deadline.After(p.now) {
		return true
	}
	p.wakeDrain(r, deadline)
	quiet := p.acks.silent == 0 || !p.patience(r.a.DesiredAt, routerPatience).After(p.now)
	return quiet && p.acks.spoken(r.a.DesiredIndex) && p.acks.inFlight[r.a.ID] == 0
}

// wakeDrain comes back when time alone may end r's drain.
func (p *pass) wakeDrain(r *replica, deadline time.Time) {
	if p.acks.silent > 0 {
		p.wake(earlier(deadline, p.patience(r.a.DesiredAt, routerPatience)))
	}
	p.wake(deadline)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
