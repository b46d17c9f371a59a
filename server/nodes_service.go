package server

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/store"
)

// nodeService implements api.NodeService.
type nodeService struct {
	*control
	fleet *fleet
}

// Nodes implements api.NodeService: by name.
func (s *nodeService) Nodes(ctx context.Context) ([]api.NodeInfo, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	out := []api.NodeInfo{}
	at := map[cluster.NodeID]int{}
	for n := range st.Nodes() {
		at[n.ID] = len(out)
		out = append(out, s.info(n))
	}
	for a := range st.Allocations() {
		if i, known := at[a.Node]; known && a.Live() {
			reserve(&out[i], st, a)
		}
	}
	slices.SortFunc(out, func(a, b api.NodeInfo) int {
		return cmp.Or(cluster.CompareNames(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// info is a node without what is reserved on it.
func (s *nodeService) info(n *cluster.Node) api.NodeInfo {
	leader, led := s.store.Leader()
	known := *n
	known.State = s.stateOf(n)
	return api.NodeInfo{Node: known, Leader: led && n.ID == leader, LastHeard: s.fleet.heardAt(n.ID), Space: s.fleet.spaces.of(n.ID)}
}

// reserve adds what a live allocation takes of its node.
func reserve(n *api.NodeInfo, st *cluster.State, a *cluster.Allocation) {
	n.Allocations++
	if rel, err := st.Release(a.App, a.Release); err == nil {
		n.ReservedBytes += rel.Processes[a.Type].MemoryBytes
		n.ReservedMilli += rel.Processes[a.Type].CPUMilli
	}
}

// find returns the node that a person means.
func (s *nodeService) find(ctx context.Context, ref string) (*cluster.State, *cluster.Node, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	n, err := st.FindNode(ref)
	return st, n, err
}

// Node implements api.NodeService.
func (s *nodeService) Node(ctx context.Context, ref string) (*api.NodeDetail, error) {
	st, n, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	return s.detail(st, n), nil
}

func (s *nodeService) detail(st *cluster.State, n *cluster.Node) *api.NodeDetail {
	d := &api.NodeDetail{NodeInfo: s.info(n), AllLabels: n.AllLabels(), Replicas: []api.NodeReplica{}}
	if n.Router {
		d.RouterIndex = s.fleet.statuses()[n.ID].Index
	}
	for _, a := range st.AllocationsOn(n.ID) {
		if !a.Live() {
			continue
		}
		reserve(&d.NodeInfo, st, a)
		r := api.NodeReplica{AllocationInfo: api.AllocationInfo{Allocation: *a, Instance: a.Instance(), NodeName: n.Name, Zone: n.Zone}}
		if n.Draining {
			r.Stays = s.stays(a)
		}
		d.Replicas = append(d.Replicas, r)
	}
	return d
}

// stays says why a replica does not leave its draining node; nil if it is on its way.
func (s *nodeService) stays(a *cluster.Allocation) []string {
	switch {
	case a.Desired != cluster.DesiredRun:
		return nil
	case len(a.Mounts) > 0:
		return []string{"its data is on this node: volume " + string(a.Mounts[0].Name)}
	}
	return s.misfits.whyNot(a)
}

// UpdateNode implements api.NodeService.
func (s *nodeService) UpdateNode(ctx context.Context, ref string, in api.UpdateNode) (*api.NodeDetail, error) {
	_, n, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	var changes []store.Command
	if len(in.SetLabels)+len(in.UnsetLabels) > 0 {
		changes = append(changes, store.LabelNode{By: s.by(ctx), ID: n.ID, Set: in.SetLabels, Unset: in.UnsetLabels})
	}
	if in.Schedule != cluster.ScheduleUnknown {
		changes = append(changes, store.ScheduleNode{By: s.by(ctx), ID: n.ID, Schedule: in.Schedule})
	}
	if len(changes) == 0 {
		return nil, cluster.Invalid("node", "nothing of node %s is to be changed", n.Name).WithHint("say what: paas nodes cordon, drain, uncordon or label")
	}
	for _, c := range changes {
		if _, err := s.store.Propose(ctx, c); err != nil {
			return nil, err
		}
	}
	st := s.store.State()
	if n, err = st.Node(n.ID); err != nil {
		return nil, err
	}
	return s.detail(st, n), nil
}

// RemoveNode implements api.NodeService.
func (s *nodeService) RemoveNode(ctx context.Context, ref string, in api.RemoveNode) (*api.NodeInfo, error) {
	st, n, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	if err := keepsQuorum(st, s.store.Servers(), n); err != nil {
		return nil, err
	}
	by := s.by(ctx)
	// A certificate that was signed a moment ago by another leader's clock counts, too.
	until := by.At.Add(identity.NodeLife + time.Hour)
	if _, err := s.store.Propose(ctx, store.RemoveNode{By: by, ID: n.ID, Until: until, Force: in.Force}); err != nil {
		return nil, err
	}
	info := s.info(n)
	return &info, nil
}

// keepsQuorum refuses to remove a server without which the others could not decide
// anything: of those that vote then, a majority has to be up.
func keepsQuorum(st *cluster.State, servers map[cluster.NodeID]store.Voting, n *cluster.Node) error {
	if servers[n.ID] != store.Voter {
		return nil
	}
	voters, up := 0, 0
	for id, voting := range servers {
		if voting != store.Voter || id == n.ID {
			continue
		}
		voters++
		if other, err := st.Node(id); err == nil && other.State == cluster.NodeUp {
			up++
		}
	}
	if voters > 0 && up >= cluster.Majority(voters) {
		return nil
	}
	e := cluster.Conflict("quorum", "server %s cannot be removed", n.Name)
	if voters == 0 {
		return e.Because("it is the only one that decides").WithHint("let another server join first: paas join create --role server")
	}
	return e.Because("of the %d servers that would be left to decide %d are up, which is no majority", voters, up).
		WithHint("bring the others back first, or remove those that are gone for good")
}

// WatchDrain implements api.NodeService.
func (s *nodeService) WatchDrain(ctx context.Context, ref string, send func(api.Progress)) error {
	_, n, err := s.find(ctx, ref)
	if err != nil {
		return err
	}
	w := &drainWatch{nodeService: s, r: newReport(send), id: n.ID, told: map[cluster.AllocationID]api.InstanceNews{}}
	return w.run(ctx)
}

// drainWatch tells one caller how a node empties.
type drainWatch struct {
	*nodeService
	r    *report
	id   cluster.NodeID
	told map[cluster.AllocationID]api.InstanceNews
}

func (w *drainWatch) run(ctx context.Context) error {
	for {
		st := w.store.State()
		_, changed := w.misfits.of("")
		n, err := st.Node(w.id)
		if err != nil {
			w.r.done("The node was removed", nil)
			return nil
		}
		if !n.Draining {
			return cluster.Conflict("not_draining", "node %s does not drain", n.Name).WithHint("begin with: paas nodes drain " + n.Name)
		}
		d := w.detail(st, n)
		w.tell(st, d)
		if len(d.Replicas) == 0 {
			w.end(n)
			return nil
		}
		if w.misfits.at() == st.Index() && stuck(st, d) {
			return unmoved(d)
		}
		select {
		case <-w.store.Changed(st.Index()):
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tell reports what changed on the node, and what went since the last look.
func (w *drainWatch) tell(st *cluster.State, d *api.NodeDetail) {
	left := map[cluster.AllocationID]bool{}
	for i := range d.Replicas {
		a := &d.Replicas[i].Allocation
		left[a.ID] = true
		news := newsOf(st, a)
		if was, known := w.told[a.ID]; known && was.Word() == news.Word() && was.Reason == news.Reason {
			continue
		}
		w.told[a.ID] = news
		w.r.tell(api.Progress{Kind: api.ProgressInstance, Instance: &news, Text: string(a.App) + " " + text(news)})
	}
	for id, news := range w.told {
		if !left[id] {
			news.State = cluster.AllocationStopped
			w.r.tell(api.Progress{Kind: api.ProgressInstance, Instance: &news, Text: text(news)})
			delete(w.told, id)
		}
	}
}

func (w *drainWatch) end(n *cluster.Node) {
	if c := w.oneOffs.on(n.ID); c > 0 {
		w.r.warn(plural(c, "one-off process", "one-off processes") + " that somebody runs there will be cut off when the node goes")
	}
	w.r.done("Node "+n.Name+" is empty", nil)
}

// stuck reports whether nothing that is left on a draining node moves: each replica
// has no place elsewhere, and nothing of its process type is on the way.
func stuck(st *cluster.State, d *api.NodeDetail) bool {
	return !slices.ContainsFunc(d.Replicas, func(r api.NodeReplica) bool {
		if len(r.Stays) == 0 {
			return true
		}
		for a := range st.AllocationsOf(r.App) {
			if a.Type == r.Type && a.Live() && (a.Desired != cluster.DesiredRun || a.Observed.State < cluster.AllocationHealthy) {
				return true
			}
		}
		return false
	})
}

// unmoved says of each replica that is left why it can go nowhere.
func unmoved(d *api.NodeDetail) error {
	hint := "they serve on, and leave as soon as there is room"
	var held []string
	for i := range d.Replicas {
		if a := &d.Replicas[i].Allocation; len(a.Mounts) > 0 {
			held = append(held, cluster.DetachAdvice(a.App, a.Mounts[0].Name))
		}
	}
	switch {
	case len(held) == len(d.Replicas):
		hint = "they serve on here"
		fallthrough
	case len(held) > 0:
		hint += "; what has a volume leaves only without it: back its data up, then " + strings.Join(held, " and ") +
			" (it starts elsewhere with no data, which stays on " + d.Name + ")"
	}
	return cluster.Errorf(cluster.KindUnplaceable, "drain", "%s of node %s can go nowhere", plural(len(d.Replicas), "replica", "replicas"), d.Name).
		Because("%s", whyEach(d.Replicas)).
		WithHint(hint + "; give up with: paas nodes uncordon " + d.Name)
}
