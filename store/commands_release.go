package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"paas/cluster"
)

func (c CreateRelease) apply(d *cluster.Draft) (Outcome, error) {
	app, err := liveApp(d, c.App)
	if err != nil {
		return Outcome{}, err
	}
	if err := noActiveDeployment(d, c.App); err != nil {
		return Outcome{}, err
	}
	c.Processes = withDefaults(c.Processes)
	if err := c.check(d.State()); err != nil {
		return Outcome{}, err
	}
	app.Config = cluster.CloneConfig(app.Config)
	for key, value := range c.DefaultConfig { // each key once: order does not matter
		if _, set := app.Config[key]; !set {
			app.Config[key] = value
		}
	}
	if app.Latest == 0 {
		app.Formation = cluster.CloneConfig(app.Formation)
		for t, n := range c.DefaultFormation { // each type once: order does not matter
			if _, set := app.Formation[t]; !set {
				if singleUser(d.State(), c.App, t, n) != nil {
					n = 1
				}
				app.Formation[t] = n
			}
		}
	}
	d.PutApp(app)
	return c.startRelease(d, cluster.Release{
		App: c.App, Description: c.Description, Build: c.Build, Commit: c.Commit, Image: c.Image,
		Processes: c.Processes, Rollout: c.Rollout,
	}, c.Push)
}

// check validates everything that the builder and the user gave.
func (c CreateRelease) check(s *cluster.State) error {
	for _, err := range []error{
		cluster.ValidateLine("description", c.Description), cluster.ValidateCommit(c.Commit), c.Image.Validate(),
		cluster.ValidateProcesses(c.Processes), c.Rollout.Validate(), checkSecrets(c.DefaultConfig), c.checkPush(s),
	} {
		if err != nil {
			return err
		}
	}
	for _, t := range slices.Sorted(maps.Keys(c.DefaultFormation)) {
		if err := checkQuantity(s, &cluster.App{}, t, c.DefaultFormation[t]); err != nil {
			return err
		}
	}
	if c.Build == "" {
		return nil
	}
	b, err := s.Build(c.Build)
	if err != nil {
		return err
	}
	if b.App != c.App || b.State != cluster.BuildSucceeded {
		return cluster.Conflict("build", "build %s cannot be released", b.ID).Because("it is a %s build of app %s", b.State, b.App)
	}
	return nil
}

// withDefaults fills in reservations that were left open: without one a node
// would never be full.
func withDefaults(m map[cluster.ProcessType]cluster.Process) map[cluster.ProcessType]cluster.Process {
	out := cluster.CloneConfig(m)
	for t, p := range out { // each type once: order does not matter
		if p.MemoryBytes == 0 {
			p.MemoryBytes = cluster.DefaultMemoryBytes
		}
		if p.CPUMilli == 0 {
			p.CPUMilli = cluster.DefaultCPUMilli
		}
		out[t] = p
	}
	return out
}

func (c Rollback) apply(d *cluster.Draft) (Outcome, error) {
	app, err := liveApp(d, c.App)
	if err != nil {
		return Outcome{}, err
	}
	if err := noActiveDeployment(d, c.App); err != nil {
		return Outcome{}, err
	}
	if app.Current == 0 {
		return Outcome{}, noRelease(c.App)
	}
	old, err := c.target(d.State(), &app)
	if err != nil {
		return Outcome{}, err
	}
	app.Config = cluster.CloneConfig(old.Config)
	d.PutApp(app)
	next := *old
	next.RollbackOf, next.Description = old.Version, fmt.Sprintf("Rollback to %s", old.Version)
	return c.startRelease(d, next, nil)
}

// target finds the release to go back to.
func (c Rollback) target(s *cluster.State, app *cluster.App) (*cluster.Release, error) {
	var before *cluster.Release
	var eligible []string
	for r := range s.Releases(app.Name) {
		if r.State != cluster.ReleaseSucceeded || r.Version == app.Current {
			continue
		}
		eligible = append(eligible, r.Version.String())
		if r.Version < app.Current {
			before = r
		}
	}
	if c.To == 0 {
		if before == nil {
			return nil, cluster.Conflict("no_rollback", "app %s has nothing to roll back to", app.Name).Because("no release before %s succeeded", app.Current)
		}
		return before, nil
	}
	old, err := s.Release(app.Name, c.To)
	if err != nil {
		return nil, err
	}
	if old.Version == app.Current {
		return nil, cluster.Conflict("release_current", "%s of app %s serves already", old.Version, app.Name)
	}
	if old.State != cluster.ReleaseSucceeded {
		e := cluster.Conflict("release_failed", "%s of app %s cannot be rolled back to", old.Version, app.Name).Because("it never became healthy")
		if len(eligible) > 0 {
			e = e.WithHint("these did: " + strings.Join(eligible, ", "))
		}
		return nil, e
	}
	return old, nil
}
