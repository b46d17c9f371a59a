package store

import (
	"regexp"

	"paas/cluster"
)

var actionRE = regexp.MustCompile(`^[a-z]{1,30}\.[a-z]{1,30}$`)

func (c Audit) apply(d *cluster.Draft) (Outcome, error) {
	if !actionRE.MatchString(c.Action) {
		return Outcome{}, cluster.Invalid("action", "audit action %q is not valid", oneLine(c.Action))
	}
	if c.App != "" {
		if _, err := d.State().App(c.App); err != nil {
			return Outcome{}, err
		}
	}
	c.event(d, cluster.Event{Action: c.Action, App: c.App, Target: oneLine(c.Target), Text: c.Text})
	return Outcome{}, nil
}
