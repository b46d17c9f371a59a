package scheduler

import (
	"fmt"
	"slices"
	"time"

	"paas/cluster"
)

// A process type with volumes runs where their data is, once: its replica ends
// before the next one starts. Who holds a volume holds it until its agent says that
// nothing of it is left, whatever its node's state; only a node that is no member
// any more is not waited for, for nothing can be placed on its data.

// bind finds the volumes of g, and who has to end before a replica of g may start.
func (p *pass) bind(v *appView, g *group) {
	g.volumes = p.state.AttachedTo(v.app.Name, g.typ)
	for _, x := range g.volumes {
		if x.Node != "" && g.demand.pin == "" {
			g.demand.pin, g.demand.pinned = x.Node, p.pinText(x)
		}
		if a := p.state.HolderOf(x); a != nil {
			g.held = true
		}
	}
}

// pinText says where a volume is, for hosts that are elsewhere.
func (p *pass) pinText(v *cluster.Volume) string {
	text := fmt.Sprintf("volume %s is on %s", v.Name, p.world.nodeName(v.Node))
	switch n := p.world.node(v.Node); {
	case n == nil:
		return text + ", which was removed"
	case n.State == cluster.NodeDown:
		return text + ", which is down since " + n.StateAt.UTC().Format(time.DateTime) + " UTC"
	}
	return text
}

// bound reports whether r has volumes: no other node could take it.
func (r *replica) bound() bool { return len(r.a.Mounts) > 0 }

// bars reports whether r has to end before a replica of g may start.
func (r *replica) bars(g *group) bool {
	return slices.ContainsFunc(g.volumes, func(v *cluster.Volume) bool { return r.a.Holds(v.ID) })
}

// makeWay ends the old replica that bars the next one, if that finds its place:
// else the old one goes on serving.
func (p *pass) makeWay(v *appView, g *group) {
	for _, r := range g.replicas {
		s := g.slot(r)
		if s == nil || s.keeper == r || !r.present() || !r.bars(g) {
			continue
		}
		i, known := p.world.byID[r.a.Node]
		if !known {
			continue
		}
		after := p.world.hosts[i]
		after.release(demandOf(v.releases[r.a.Release], g.typ))
		if refused(&after, g.demand) == nil {
			p.drain(r)
		}
	}
}

// waitForVolume is for a slot that stays empty until somebody else ended. That it
// could not be filled then either is worth telling.
func (p *pass) waitForVolume(v *appView, g *group, slot int) {
	if reasons := p.world.explain(g); len(reasons) > 0 {
		p.plan.Unplaced = append(p.plan.Unplaced, cluster.Unplaced{App: v.app.Name, Type: g.typ, Slot: slot, Reasons: reasons})
	}
}
