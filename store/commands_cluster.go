package store

import (
	"paas/cluster"
)

func (c Bootstrap) apply(d *cluster.Draft) (Outcome, error) {
	if d.State().Bootstrapped() {
		return Outcome{}, cluster.Conflict("cluster_exists", "there is a cluster already")
	}
	s := c.Settings
	if err := s.ID.Validate(); err != nil {
		return Outcome{}, err
	}
	if err := cluster.ValidateDomain(s.Domain); err != nil {
		return Outcome{}, err
	}
	if s.CreatedAt.IsZero() {
		s.CreatedAt = c.At
	}
	d.PutSettings(s)
	c.event(d, cluster.Event{Action: "cluster.created", Target: string(s.ID), Text: "cluster created; apps live under " + string(s.Domain)})
	return Outcome{}, nil
}
