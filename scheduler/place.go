package scheduler

import (
	"cmp"
	"slices"
	"time"

	"paas/cluster"
)

// need is one replica that should be started.
type need struct {
	app     cluster.AppName
	release cluster.ReleaseVersion
	group   *group
	slot    int
	attempt int
	last    *replica  // the attempt before; nil if none
	cover   *replica  // who serves the slot meanwhile; nil if nobody
	since   time.Time // when the slot lost its replica
}

// placeNeeds finds a node for each need: slots that nobody covers first, the
// oldest of them before the others; then replacements of what still runs.
func (p *pass) placeNeeds() {
	slices.SortStableFunc(p.needs, func(a, b need) int {
		if c := compareBool(a.cover != nil, b.cover != nil); c != 0 {
			return c
		}
		return a.since.Compare(b.since)
	})
	stuck := map[*group][]string{}
	for _, n := range p.needs {
		reasons, full := stuck[n.group]
		if !full {
			if i := p.world.choose(n.group); i >= 0 {
				p.place(n, i)
				continue
			}
			reasons = p.world.explain(n.group)
			stuck[n.group] = reasons
			p.makeRoom(n)
		}
		p.plan.Unplaced = append(p.plan.Unplaced, cluster.Unplaced{
			App: n.app, Type: n.group.typ, Slot: n.slot, Reasons: reasons,
		})
	}
}

// makeRoom ends the ailing replica that n is to replace and finds no room beside:
// it starts again where it was. One at a time, and only while enough others run.
func (p *pass) makeRoom(n need) {
	if n.cover == nil || !n.cover.ailing() || n.group.removed {
		return
	}
	if n.cover.running() && n.group.upBeside(n.cover) >= n.group.least() {
		p.drain(n.cover)
	}
}

// place puts n on a host and reserves its share.
func (p *pass) place(n need, host int) {
	p.world.take(n.group, host)
	p.plan.Place = append(p.plan.Place, cluster.Placement{
		App: n.app, Type: n.group.typ, Slot: n.slot, Attempt: n.attempt, Release: n.release,
		Generation: n.group.generation, Node: p.world.hosts[host].node.ID,
	})
}

// take reserves what one replica of g needs on a host.
func (w *world) take(g *group, host int) {
	w.hosts[host].reserve(g.demand)
	g.spread.add(w, host)
}

// choose returns the index of the best host for one more replica of g, or -1:
// filters, then the zone rule, then host spread, then the fullest host that
// still has room. One that balks is taken only if there is no other.
func (w *world) choose(g *group) int {
	if g.spread == nil {
		g.spread = w.spreadOf(g)
	}
	least := g.spread.least()
	best := -1
	for i := range w.hosts {
		h := &w.hosts[i]
		if g.spread.refuses(h.node.Zone, least) || refused(h, g.demand) != nil {
			continue
		}
		if best < 0 || w.better(g, i, best) {
			best = i
		}
	}
	return best
}

// better reports whether host a suits g better than host b. Equals keep the
// order of node IDs.
func (w *world) better(g *group, a, b int) bool {
	x, y := &w.hosts[a], &w.hosts[b]
	return cmp.Or(
		compareBool(g.balking[x.node.ID], g.balking[y.node.ID]),
		cmp.Compare(g.spread.onHost[a], g.spread.onHost[b]),
		cmp.Compare(x.freeMemory(), y.freeMemory()),
		cmp.Compare(x.freeCPU(), y.freeCPU()),
	) < 0
}

// explain says, host by host or zone by zone, why one more replica of g fits
// nowhere. It is empty if one would.
func (w *world) explain(g *group) []string {
	if g.spread == nil {
		g.spread = w.spreadOf(g)
	}
	least := g.spread.least()
	return explainHosts(w.hosts, g.demand, func(h *host) string {
		if g.spread.refuses(h.node.Zone, least) {
			return g.spread.explain(h.node.Zone)
		}
		return ""
	})
}
