package store

import (
	"paas/cluster"
)

// Every move is checked before any is made: refs move together or not at all.
func (c MoveRefs) apply(d *cluster.Draft) (Outcome, error) {
	app, err := liveApp(d, c.App)
	if err != nil {
		return Outcome{}, err
	}
	if !app.CreatedAt.Equal(c.Born) {
		return Outcome{}, cluster.Conflict("app_anew", "nothing of the push was kept").
			Because("app %s was destroyed and made anew meanwhile", c.App).WithHint("push again")
	}
	r := cluster.Repository{App: c.App}
	if known := d.State().Repository(c.App); known != nil {
		r = *known
	}
	moved := false
	for _, m := range c.Moves {
		if err := m.Validate(); err != nil {
			return Outcome{}, err
		}
		now := r.Hash(m.Name)
		if now == m.New {
			continue // the proposer did not hear the first answer
		}
		if now != m.Old {
			return Outcome{}, refMoved(m, now)
		}
		r, moved = r.Moved(m), true
	}
	if len(r.Refs) > cluster.MaxRefs {
		return Outcome{}, tooManyRefs(len(r.Refs))
	}
	if !moved && d.State().Repository(c.App) != nil {
		return Outcome{}, errUnchanged
	}
	d.PutRepository(r)
	return Outcome{}, nil
}

func tooManyRefs(n int) error {
	return cluster.Invalid("refs", "the branches and tags cannot be kept").
		Because("there would be %d of them; an app's repository keeps at most %d", n, cluster.MaxRefs).WithHint("push only what is deployed: git push paas main")
}

func refMoved(m cluster.RefMove, now string) error {
	if now == "" {
		now = "nothing"
	}
	return cluster.Conflict("branch_moved", "%s cannot be moved", m.Name).
		Because("it was moved to %.7s meanwhile", now).WithHint("fetch, merge, and push again")
}

// checkPush reports why the branch that a release is to move cannot be.
func (c CreateRelease) checkPush(s *cluster.State) error {
	if c.Push == nil {
		return nil
	}
	if err := c.Push.Validate(); err != nil {
		return err
	}
	r := s.Repository(c.App)
	now := r.Hash(c.Push.Name)
	if now != c.Push.Old && now != c.Push.New {
		return refMoved(*c.Push, now)
	}
	if r != nil && now == "" && len(r.Refs) >= cluster.MaxRefs {
		return tooManyRefs(len(r.Refs) + 1)
	}
	return nil
}

// moveBranch moves what a deployment that succeeded was pushed to, unless something
// else was since.
func moveBranch(d *cluster.Draft, x *cluster.Deployment) {
	if x.Push == nil {
		return
	}
	r := cluster.Repository{App: x.App}
	if known := d.State().Repository(x.App); known != nil {
		r = *known
	}
	if r.Hash(x.Push.Name) == x.Push.Old {
		d.PutRepository(r.Moved(*x.Push))
	}
}

func (c BeginCommand) apply(d *cluster.Draft) (Outcome, error) {
	found, err := d.State().Deployment(c.Deployment)
	if err != nil {
		return Outcome{}, err
	}
	if found.State != cluster.DeploymentReleasing {
		return Outcome{}, cluster.Conflict("deployment_state", "the release command of %s cannot begin", found.Release).Because("deployment %s is %s", found.ID, found.State)
	}
	if !found.CommandAt.IsZero() {
		return Outcome{}, cluster.Conflict(CodeCommandBegun, "the release command of %s cannot begin", found.Release).Because("it was begun before, and runs once")
	}
	x := *found
	x.CommandAt, x.ProgressAt = c.At, c.At
	d.PutDeployment(x)
	return Outcome{}, nil
}
