package store

import (
	"fmt"

	"paas/cluster"
)

// levelOf is the feature level from which on every server knows a command. Servers
// are upgraded one after the other: one that meets a command in its log that it does
// not know stops, so none is proposed before all can read it. Level 2 brought
// clusters of several hosts, and the command that raises the level comes before it.
func levelOf(t CommandType) int {
	if t < typeCreateVolume || t == typeRaiseFeatureLevel {
		return 1
	}
	return 2
}

// known refuses a command that a server of the cluster may not know.
func (s *Store) known(c Command) error {
	set := s.State().Settings()
	if !s.State().Bootstrapped() || levelOf(c.Type()) <= max(set.FeatureLevel, 1) {
		return nil
	}
	e := cluster.Conflict("upgrade", "the change cannot be made yet")
	for n := range s.State().Nodes() {
		if n.Server && n.FeatureLevel < levelOf(c.Type()) {
			return e.Because("server %s runs version %s, which does not know it", n.Name, n.Version).WithHint("upgrade " + n.Name + ", then try again")
		}
	}
	return e.Because("not all servers are known to understand it").WithHint("try again in a moment")
}

// RaiseFeatureLevel lets commands be proposed that came with a level. It is refused
// while a server reports a lower one.
type RaiseFeatureLevel struct {
	By
	Level int
}

func (c RaiseFeatureLevel) apply(d *cluster.Draft) (Outcome, error) {
	s := *d.State().Settings()
	if c.Level <= s.FeatureLevel {
		return Outcome{}, errUnchanged
	}
	for n := range d.State().Nodes() {
		if n.Server && n.FeatureLevel < c.Level {
			return Outcome{}, cluster.Conflict("upgrade", "the feature level stays %d", s.FeatureLevel).Because("server %s has %d", n.Name, n.FeatureLevel)
		}
	}
	s.FeatureLevel = c.Level
	d.PutSettings(s)
	c.event(d, cluster.Event{Action: "cluster.upgraded", Target: fmt.Sprint(c.Level), Text: fmt.Sprintf("all servers are upgraded: feature level %d", c.Level)})
	return Outcome{}, nil
}
