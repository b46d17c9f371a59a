package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"paas/cluster"
)

// Failure codes of a rollout; package cluster documents them.
const (
	codeCrashed     = "rollout.crashed"
	codeUnhealthy   = "rollout.unhealthy"
	codeOOM         = "rollout.oom"
	codeImage       = "rollout.image"
	codeUnplaceable = "rollout.unplaceable"
	codeDeadline    = "rollout.deadline"
)

// complete reports whether all that the target release wants is ready.
func (v *appView) complete() bool {
	for _, g := range v.groups {
		if !g.satisfied() {
			return false
		}
	}
	return true
}

// convict fails a rolling deployment on evidence: a replica of its release that
// exited, was given up or does not pass its check; or one that no node of the
// cluster could run even if it were empty.
func (p *pass) convict(v *appView) bool {
	if v.rolling == nil {
		return false
	}
	for i := range v.replicas {
		r := &v.replicas[i]
		if r.a.Release != v.rolling.Release || !r.running() || r.lost() {
			continue
		}
		if code := evidence(&r.a.Observed); code != "" && !p.nodesFault(v, r) {
			p.fail(v, p.failure(r, code))
			return true
		}
	}
	for _, g := range v.groups {
		if g.wanted > 0 && p.world.neverFits(g.demand) {
			p.fail(v, &cluster.Failure{
				Code: codeUnplaceable, Instance: string(g.typ) + ".1",
				Message: "no node could run " + string(g.typ) + " even if it were empty: " +
					strings.Join(p.world.explainEmpty(g.demand), "; "),
			})
			return true
		}
	}
	return false
}

// evidence reads an observation of a new release's replica; "" is innocent. An
// exit is tried again by the agent; what it gives up on either never started, or
// started and did not pass its check within the boot limit.
func evidence(o *cluster.Observation) string {
	gone := o.State.Terminal()
	switch {
	case o.OOM:
		return codeOOM
	case o.State == cluster.AllocationUnhealthy:
		return codeUnhealthy
	case gone && o.ContainerID == "" && o.StartedAt.IsZero():
		return codeImage
	case o.State == cluster.AllocationBackoff, o.Restarts > 0:
		return codeCrashed
	case gone:
		return codeUnhealthy
	}
	return ""
}

// failure is the evidence for people.
func (p *pass) failure(r *replica, code string) *cluster.Failure {
	why := r.a.Observed.Reason
	if why == "" {
		why = defaultReason(code, &r.a.Observed)
	}
	return &cluster.Failure{
		Code: code, Message: fmt.Sprintf("%s on %s %s", r.a.Instance(), p.world.nodeName(r.a.Node), why),
		Allocation: r.a.ID, Instance: r.a.Instance(), Node: r.a.Node, ExitCode: r.a.Observed.ExitCode,
	}
}

func defaultReason(code string, o *cluster.Observation) string {
	switch code {
	case codeOOM:
		return "ran out of memory and was killed"
	case codeUnhealthy:
		return "does not pass its check"
	case codeImage:
		return "could not be started"
	}
	return fmt.Sprintf("exited with code %d", o.ExitCode)
}

func (p *pass) fail(v *appView, f *cluster.Failure) {
	p.update(v, cluster.DeploymentFailed, f)
}

func (p *pass) update(v *appView, s cluster.DeploymentState, f *cluster.Failure) {
	p.plan.Deployments = append(p.plan.Deployments, cluster.DeploymentUpdate{ID: v.rolling.ID, State: s, Failure: f})
}

// conclude ends a rolling deployment, records its progress, or waits for its
// deadline. What is done comes before what is late: a leader that was away for
// an hour must not fail a deployment that succeeded meanwhile.
func (p *pass) conclude(v *appView) {
	if v.rolling == nil {
		return
	}
	if v.complete() && v.replacedAll() {
		if p.outOfTables(v) {
			p.update(v, cluster.DeploymentSucceeded, nil)
		}
		return
	}
	for _, g := range v.groups {
		p.awaitReady(g)
	}
	if p.progressed(v) {
		p.update(v, cluster.DeploymentUnknown, nil)
		return
	}
	deadline := p.patience(v.rolling.ProgressAt, v.target.Rollout.Patience())
	if deadline.After(p.now) {
		p.wake(deadline)
		return
	}
	p.fail(v, p.late(v))
}

// replacedAll reports whether nothing of another release is left running.
func (v *appView) replacedAll() bool {
	for i := range v.replicas {
		if r := &v.replicas[i]; r.running() && r.a.Release != v.target.Version {
			return false
		}
	}
	return true
}

// outOfTables reports whether every router had the chance to forget the replicas
// of other releases: "live" means that the next request meets the new release,
// and no old one.
func (p *pass) outOfTables(v *appView) bool {
	for i := range v.replicas {
		r := &v.replicas[i]
		if r.a.Release == v.target.Version || r.a.Type != cluster.ProcessWeb || r.lost() || !r.mayServe() {
			continue
		}
		if r.leaving && r.a.Desired == cluster.DesiredRun {
			return false // routers hear of it when this plan is committed
		}
		patience := p.patience(r.a.DesiredAt, routerPatience)
		if r.a.Desired == cluster.DesiredDrain && !p.acks.all(r.a.DesiredIndex) && patience.After(p.now) {
			p.wake(patience)
			return false
		}
	}
	return true
}

// progressed reports whether a new replica became ready since the last record.
func (p *pass) progressed(v *appView) bool {
	for i := range v.replicas {
		r := &v.replicas[i]
		if !r.ready || r.a.Release != v.rolling.Release {
			continue
		}
		if at := r.settledAt(); at.After(v.rolling.ProgressAt) && !at.After(p.now) {
			return true
		}
	}
	return false
}

// late says what a deployment without progress was waiting for.
func (p *pass) late(v *appView) *cluster.Failure {
	for _, g := range v.groups {
		for i := range g.slots {
			s := &g.slots[i]
			if s.keeper != nil && !s.keeper.ready {
				return p.notReady(s.keeper)
			}
		}
	}
	for _, g := range v.groups {
		i := slices.IndexFunc(g.slots, func(s slot) bool { return s.keeper == nil })
		if i < 0 {
			continue
		}
		if reasons := p.world.explain(g); len(reasons) > 0 {
			name := fmt.Sprintf("%s.%d", g.typ, i+1)
			return &cluster.Failure{
				Code: codeUnplaceable, Instance: name,
				Message: "no node has room for " + name + ": " + strings.Join(reasons, "; "),
			}
		}
	}
	return &cluster.Failure{Code: codeDeadline, Message: "replicas of the old release could not be retired in time"}
}

func (p *pass) notReady(r *replica) *cluster.Failure {
	why := r.a.Observed.Reason
	if why == "" {
		why = "it is " + r.a.Observed.State.String()
	}
	return &cluster.Failure{
		Code: codeDeadline, Allocation: r.a.ID, Instance: r.a.Instance(), Node: r.a.Node, ExitCode: r.a.Observed.ExitCode,
		Message: fmt.Sprintf("%s on %s was not ready in time: %s", r.a.Instance(), p.world.nodeName(r.a.Node), why),
	}
}
