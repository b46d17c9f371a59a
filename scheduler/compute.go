package scheduler

import (
	"time"

	"paas/cluster"
)

// Input is all that a decision depends on.
type Input struct {
	State *cluster.State
	// Routers is what each router last acknowledged. A router that is up and
	// missing here has acknowledged nothing yet.
	Routers map[cluster.NodeID]cluster.RouterStatus
	// Now is the caller's clock.
	Now time.Time
	// LeadingSince is when who asks began to lead. Time before it is nobody's delay:
	// no progress could be made, and no router be heard. Zero counts all time.
	LeadingSince time.Time
}

// Compute decides what should change. It may be called from any goroutine and
// as often as one likes: it keeps nothing, and the plan for a settled world is
// empty. Plan.Next is set only when time alone would change the answer.
func Compute(in Input) cluster.Plan {
	p := &pass{
		state: in.State, now: in.Now, leading: in.LeadingSince, world: newWorld(in.State), acks: readAcks(in),
		plan: cluster.Plan{Index: in.State.Index()}, moving: map[int]int{},
	}
	for app := range in.State.Apps() {
		if app.Destroying {
			p.destroy(app)
		} else {
			p.reconcile(app)
		}
	}
	p.placeNeeds()
	p.rebalance()
	return p.plan
}

// pass is one Compute under way.
type pass struct {
	state   *cluster.State
	now     time.Time
	leading time.Time
	world   *world
	acks    acks
	needs   []need
	// restless are the process types that may be uneven; moving is how many replicas
	// are on the way to a host, by index in world.hosts.
	restless []restless
	moving   map[int]int
	plan     cluster.Plan
}

// reconcile decides one app: first what is on its way out, then what should
// run, then what that means for its deployment.
func (p *pass) reconcile(app *cluster.App) {
	v, ok := p.view(app)
	if !ok {
		return
	}
	p.sweep(v)
	if p.convict(v) {
		return // the next pass sees a failed release and reverts it
	}
	for _, g := range v.groups {
		p.retire(v, g)
		p.want(v, g)
	}
	p.conclude(v)
	p.watchMoves(v)
}

// patience is when something that began at t has lasted for d of the time in which
// there was a leader.
func (p *pass) patience(t time.Time, d time.Duration) time.Time {
	if t.Before(p.leading) {
		t = p.leading
	}
	return t.Add(d)
}

// wake asks for another pass at t, unless that is now or never.
func (p *pass) wake(t time.Time) {
	if t.After(p.now) && (p.plan.Next.IsZero() || t.Before(p.plan.Next)) {
		p.plan.Next = t
	}
}

// drain takes r out of service the gentle way: replicas that routers may know
// are drained first, all others are told to stop.
func (p *pass) drain(r *replica) {
	if r.a.Type == cluster.ProcessWeb && !r.lost() && r.mayServe() {
		r.leaving = true
		p.plan.Drain = append(p.plan.Drain, r.a.ID)
		return
	}
	p.stop(r)
}

// stop ends r now.
func (p *pass) stop(r *replica) {
	r.leaving = true
	p.plan.Stop = append(p.plan.Stop, r.a.ID)
}
