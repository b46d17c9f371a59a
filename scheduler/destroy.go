package scheduler

import "paas/cluster"

// destroy stops everything of an app that is going; when nothing of it runs
// anywhere that can be reached, the app goes too. Replicas on a node that is
// down do not hold its name: a node that returns drops what it is not assigned.
func (p *pass) destroy(app *cluster.App) {
	left := false
	for _, a := range p.world.allocs[app.Name] {
		node := p.world.node(a.Node)
		if a.Live() && node != nil && node.State != cluster.NodeDown {
			left = true
		}
		if a.Live() && a.Desired != cluster.DesiredStop {
			p.plan.Stop = append(p.plan.Stop, a.ID)
		}
	}
	if !left {
		p.plan.RemoveApps = append(p.plan.RemoveApps, app.Name)
	}
}
