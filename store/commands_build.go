package store

import (
	"fmt"

	"paas/cluster"
)

func (c StartBuild) apply(d *cluster.Draft) (Outcome, error) {
	if _, err := liveApp(d, c.App); err != nil {
		return Outcome{}, err
	}
	if err := cluster.ValidateCommit(c.Commit); err != nil {
		return Outcome{}, err
	}
	b := cluster.Build{
		ID: cluster.BuildID(fmt.Sprintf("b-%d", d.NextSequence())), App: c.App, State: cluster.BuildRunning,
		Commit: c.Commit, CreatedAt: c.At, CreatedBy: c.Actor, Node: c.Node,
	}
	d.PutBuild(b)
	c.event(d, cluster.Event{Action: "build.started", App: c.App, Target: string(b.ID), Text: fmt.Sprintf("build %s started", b.ID)})
	pruneBuilds(d, c.App)
	return Outcome{Build: b.ID}, nil
}

func (c FinishBuild) apply(d *cluster.Draft) (Outcome, error) {
	if !c.State.Ended() || c.State > cluster.BuildCancelled {
		return Outcome{}, cluster.Invalid("build_state", "a build cannot end as %s", c.State)
	}
	found, err := d.State().Build(c.ID)
	if err != nil {
		return Outcome{}, err
	}
	if found.State == c.State { // the proposer did not hear the first answer
		return Outcome{Build: c.ID}, errUnchanged
	}
	if found.State.Ended() {
		return Outcome{}, cluster.Conflict("build_ended", "build %s has ended already", c.ID).Because("it is %s", found.State)
	}
	if c.State == cluster.BuildSucceeded {
		if err := c.Image.Validate(); err != nil {
			return Outcome{}, err
		}
	}
	b := *found
	b.Method, b.Reason, b.Image = oneLine(c.Method), oneLine(c.Reason), c.Image
	c.endBuild(d, b, c.State, c.Failure)
	return Outcome{Build: c.ID}, nil
}

// endBuild ends b and says so.
func (by By) endBuild(d *cluster.Draft, b cluster.Build, state cluster.BuildState, why string) {
	b.State, b.FinishedAt, b.Failure = state, by.At, ""
	text := fmt.Sprintf("build %s %s", b.ID, state)
	if state != cluster.BuildSucceeded && why != "" {
		b.Failure = oneLine(why)
		text += ": " + b.Failure
	}
	d.PutBuild(b)
	by.event(d, cluster.Event{Action: "build." + state.String(), App: b.App, Target: string(b.ID), Text: text})
}

// pruneBuilds keeps the newest keptBuilds and those that run.
func pruneBuilds(d *cluster.Draft, app cluster.AppName) {
	var all []*cluster.Build
	for b := range d.State().Builds(app) {
		all = append(all, b)
	}
	for _, b := range all[:max(0, len(all)-keptBuilds)] {
		if b.State.Ended() {
			d.RemoveBuild(b)
		}
	}
}
