package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"paas/cluster"
)

func (c Scale) apply(d *cluster.Draft) (Outcome, error) {
	app, err := liveApp(d, c.App)
	if err != nil {
		return Outcome{}, err
	}
	if len(c.Quantities) == 0 {
		return Outcome{}, cluster.Invalid("scale", "there is no process type to scale").WithHint("for example: paas scale web=3")
	}
	formation := cluster.CloneConfig(app.Formation)
	var changes []string
	for _, t := range slices.Sorted(maps.Keys(c.Quantities)) {
		n := c.Quantities[t]
		if err := checkQuantity(d.State(), &app, t, n); err != nil {
			return Outcome{}, err
		}
		if err := singleUser(d.State(), c.App, t, n); err != nil {
			return Outcome{}, err
		}
		if before := app.Quantity(t); before != n {
			changes = append(changes, fmt.Sprintf("%s %d → %d", t, before, n))
		}
		formation[t] = n
	}
	if maps.Equal(formation, app.Formation) {
		return Outcome{}, errUnchanged
	}
	app.Formation = formation
	d.PutApp(app)
	if len(changes) > 0 { // else a default was only made explicit
		text := list(changes)
		c.event(d, cluster.Event{Action: "scale.changed", App: c.App, Text: text})
	}
	return Outcome{}, nil
}

// checkQuantity validates one quantity; the type must exist once a release serves.
func checkQuantity(s *cluster.State, app *cluster.App, t cluster.ProcessType, n int) error {
	if err := t.Validate(); err != nil {
		return err
	}
	if t == cluster.ProcessRelease {
		return cluster.Invalid("process_type", "process release cannot be scaled").Because("it runs once before each release")
	}
	if n < 0 || n > cluster.MaxReplicas {
		return cluster.Invalid("scale", "%s cannot have %d replicas", t, n).Because("the limits are 0 and %d", cluster.MaxReplicas)
	}
	if app.Current == 0 {
		return nil
	}
	r, err := s.Release(app.Name, app.Current)
	if err != nil {
		return err
	}
	return checkType(app.Name, r, t)
}

// checkType reports that r has no process type t, and what may have been meant.
func checkType(app cluster.AppName, r *cluster.Release, t cluster.ProcessType) error {
	if _, ok := r.Processes[t]; ok {
		return nil
	}
	var names []string
	for _, known := range slices.Sorted(maps.Keys(r.Processes)) {
		names = append(names, string(known))
	}
	e := cluster.NotFound("process_type", "app %s has no process type %.60q", app, t)
	if near := cluster.Nearest(string(t), names); len(near) > 0 {
		return e.Because("nearest: %s", strings.Join(near, ", ")).WithHint("list them with: paas ps -a " + string(app))
	}
	return e.Because("%s has: %s", r.Version, list(names)).WithHint("list them with: paas ps -a " + string(app))
}

func (c Restart) apply(d *cluster.Draft) (Outcome, error) {
	app, err := liveApp(d, c.App)
	if err != nil {
		return Outcome{}, err
	}
	if app.Current == 0 {
		return Outcome{}, noRelease(c.App)
	}
	r, err := d.State().Release(c.App, app.Current)
	if err != nil {
		return Outcome{}, err
	}
	types, text := slices.Compact(slices.Sorted(slices.Values(c.Types))), "all processes restarted"
	if len(types) == 0 {
		types = slices.Sorted(maps.Keys(r.Processes))
	} else {
		text = joinTypes(types) + " restarted"
	}
	generation := cluster.CloneConfig(app.Generation)
	for _, t := range types {
		if err := checkType(c.App, r, t); err != nil {
			return Outcome{}, err
		}
		if t != cluster.ProcessRelease {
			generation[t]++
		}
	}
	app.Generation = generation
	d.PutApp(app)
	c.event(d, cluster.Event{Action: "process.restarted", App: c.App, Text: text})
	return Outcome{}, nil
}

func joinTypes(types []cluster.ProcessType) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	return list(names)
}

func noRelease(app cluster.AppName) error {
	return cluster.Conflict("no_release", "app %s has no serving release", app).WithHint("deploy it first: git push paas main")
}
