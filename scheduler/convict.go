package scheduler

import (
	"slices"

	"paas/cluster"
)

// Convict judges the replicas that the serving release should have, without a
// deployment that would: it returns the evidence that one of them does not come up, by
// the rules of a rollout, or nil. asked says which replicas count.
func Convict(in Input, name cluster.AppName, asked func(*cluster.Allocation) bool) *cluster.Failure {
	app, err := in.State.App(name)
	if err != nil {
		return nil
	}
	p := &pass{state: in.State, now: in.Now, leading: in.LeadingSince, world: newWorld(in.State), acks: readAcks(in)}
	v, ok := p.view(app)
	if !ok || v.rolling != nil {
		return nil
	}
	i := slices.IndexFunc(v.replicas, func(r replica) bool {
		return r.fresh && r.running() && !r.lost() && r.a.Slot <= app.Quantity(r.a.Type) && asked(r.a) && evidence(&r.a.Observed) != "" && !p.nodesFault(v, &r)
	})
	if i < 0 {
		return nil
	}
	r := &v.replicas[i]
	return p.failure(r, evidence(&r.a.Observed))
}
