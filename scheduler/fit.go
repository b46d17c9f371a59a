package scheduler

import (
	"strings"

	"paas/cluster"
)

// Fit reports the replicas of app's formation that would fit nowhere if its
// quantities were changed to the given ones; nil if all would. Types that the
// serving release does not have, and an app that serves nothing yet, need no
// room. It looks at the room that is reserved now, less what the change frees.
func Fit(s *cluster.State, app cluster.AppName, quantities map[cluster.ProcessType]int) []cluster.Unplaced {
	a, err := s.App(app)
	if err != nil {
		return nil
	}
	changed := *a
	changed.Formation = cluster.CloneConfig(a.Formation)
	for t, n := range quantities {
		changed.Formation[t] = n
	}
	p := &pass{state: s, world: newWorld(s)}
	v, ok := p.view(&changed)
	if !ok || v.target == nil {
		return nil
	}
	p.freeExcess(v)
	for _, g := range v.groups {
		if _, asked := quantities[g.typ]; asked && !g.removed {
			p.fill(v, g)
		}
	}
	p.placeNeeds()
	return p.plan.Unplaced
}

// freeExcess gives back what slots that are not wanted any more reserve.
func (p *pass) freeExcess(v *appView) {
	for _, g := range v.groups {
		for _, r := range g.replicas {
			i, known := p.world.byID[r.a.Node]
			if g.slot(r) == nil && known && r.a.Live() {
				p.world.hosts[i].release(demandOf(v.releases[r.a.Release], g.typ))
			}
		}
	}
}

// fill asks for every slot that nothing holds.
func (p *pass) fill(v *appView, g *group) {
	for i := range g.slots {
		if s := &g.slots[i]; s.keeper == nil && s.cover == nil {
			p.needs = append(p.needs, need{app: v.app.Name, release: v.target.Version, group: g, slot: i + 1})
		}
	}
}

// OneOff is a one-off process that runs on a node. The state knows none.
type OneOff struct {
	Node        cluster.NodeID
	MemoryBytes int64
	CPUMilli    int64
}

// PickNode chooses a node for a one-off process of an image's architecture ("" is
// any): the one with the most free memory, so that it disturbs least. What running
// ones take is not free. If there is none the error is of KindUnplaceable and says
// why, node by node.
func PickNode(s *cluster.State, proc cluster.Process, arch string, running ...OneOff) (cluster.NodeID, error) {
	w := newWorld(s)
	for _, o := range running {
		if i, known := w.byID[o.Node]; known {
			w.hosts[i].reserve(demand{memory: o.MemoryBytes, cpuMilli: o.CPUMilli})
		}
	}
	d := demandOfProcess(proc, arch)
	var best *host
	for i := range w.hosts {
		h := &w.hosts[i]
		if refused(h, d) == nil && (best == nil || h.freeMemory() > best.freeMemory()) {
			best = h
		}
	}
	if best != nil {
		return best.node.ID, nil
	}
	reasons := explainHosts(w.hosts, d, func(*host) string { return "" })
	return "", cluster.Errorf(cluster.KindUnplaceable, "unplaceable", "no node can run the process").
		Because("%s", strings.Join(reasons, "; ")).
		WithHint("see what the nodes have to give with: paas nodes")
}
