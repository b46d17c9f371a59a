package server

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"paas/api"
	"paas/cluster"
	"paas/scheduler"
	"paas/store"
)

// processService implements api.ProcessService.
type processService struct {
	*control
	deployer *deployer
	fleet    *fleet
	// scaling makes reading quantities and writing new ones one step.
	scaling sync.Mutex
}

// Processes implements api.ProcessService.
func (s *processService) Processes(ctx context.Context, name cluster.AppName) (*api.ProcessList, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	app, err := st.App(name)
	if err != nil {
		return nil, err
	}
	return s.list(st, app), nil
}

func (s *processService) list(st *cluster.State, app *cluster.App) *api.ProcessList {
	list := &api.ProcessList{App: app.Name, Release: app.Current, Formation: map[cluster.ProcessType]int{},
		Processes: map[cluster.ProcessType]api.ProcessInfo{}, Allocations: []api.AllocationInfo{}, Index: st.Index()}
	maps.Copy(list.Formation, app.Formation)
	if rel, err := st.Release(app.Name, app.Current); err == nil {
		for t, p := range rel.Processes {
			if t == cluster.ProcessRelease {
				list.Processes[t] = api.ProcessInfo{Process: p}
				continue
			}
			list.Processes[t] = api.ProcessInfo{Process: p, Quantity: app.Quantity(t)}
			list.Formation[t] = app.Quantity(t)
		}
	}
	misfits, _ := s.misfits.of(app.Name)
	list.Unplaced = stranded(st, app.Name, misfits)
	silent := s.fleet.silent()
	for a := range st.AllocationsOf(app.Name) {
		info := api.AllocationInfo{Allocation: *a, Instance: a.Instance(), NodeName: nodeName(st, a.Node)}
		if n, err := st.Node(a.Node); err == nil {
			info.Zone = n.Zone
		}
		if a.Live() {
			info.SilentSince = silent[a.ID]
		}
		list.Allocations = append(list.Allocations, info)
	}
	slices.SortStableFunc(list.Allocations, func(a, b api.AllocationInfo) int {
		if c := strings.Compare(string(a.Type), string(b.Type)); c != 0 {
			return c
		}
		return a.Slot - b.Slot
	})
	return list
}

// Scale implements api.ProcessService.
func (s *processService) Scale(ctx context.Context, name cluster.AppName, in api.Scale) (*api.ProcessList, error) {
	s.scaling.Lock()
	defer s.scaling.Unlock()
	st, app, err := s.app(ctx, name)
	if err != nil {
		return nil, err
	}
	quantities, err := scaled(st, app, in)
	if err != nil {
		return nil, err
	}
	if err := fits(st, app, quantities); err != nil {
		return nil, err
	}
	if _, err := s.store.Propose(ctx, store.Scale{By: s.by(ctx), App: name, Quantities: quantities}); err != nil {
		return nil, err
	}
	st = s.store.State()
	if app, err = st.App(name); err != nil {
		return nil, err
	}
	return s.list(st, app), nil
}

// scaled computes the quantities that a request asks for.
func scaled(st *cluster.State, app *cluster.App, in api.Scale) (map[cluster.ProcessType]int, error) {
	if len(in.Changes) == 0 {
		return nil, cluster.Invalid("scale", "nothing is to be scaled").WithHint("try: paas scale web=2")
	}
	out := map[cluster.ProcessType]int{}
	for _, c := range in.Changes {
		if err := scalable(st, app, c.Type); err != nil {
			return nil, err
		}
		n := c.Quantity
		if c.Relative {
			base, again := out[c.Type]
			if !again {
				base = app.Quantity(c.Type)
			}
			n = base + c.Quantity
		}
		if n < 0 || n > cluster.MaxReplicas {
			return nil, cluster.Invalid("quantity", "%s cannot be scaled to %d", c.Type, n).
				Because("a quantity is 0 to %d", cluster.MaxReplicas).WithHint("see what the nodes have room for: paas nodes")
		}
		out[c.Type] = n
	}
	return out, nil
}

// scalable reports why t has no quantity.
func scalable(st *cluster.State, app *cluster.App, t cluster.ProcessType) error {
	if err := t.Validate(); err != nil {
		return err
	}
	if t == cluster.ProcessRelease {
		return cluster.Invalid("process_type", "the release process cannot be scaled").Because("it runs once per release")
	}
	rel, err := st.Release(app.Name, app.Current)
	if err != nil {
		return nil // the first release will say which types there are
	}
	if _, ok := rel.Processes[t]; ok {
		return nil
	}
	var known []string
	for k := range rel.Processes {
		if k != cluster.ProcessRelease {
			known = append(known, string(k))
		}
	}
	slices.Sort(known)
	e := cluster.NotFound("process_type", "app %s has no process type %.60q", app.Name, t).Because("%s has: %s", rel.Version, strings.Join(known, ", "))
	if near := cluster.Nearest(string(t), known); len(near) > 0 {
		return e.WithHint("did you mean: " + near[0])
	}
	return e.WithHint("add it to the Procfile and deploy")
}

// fits refuses quantities that no nodes have room for, with numbers.
func fits(st *cluster.State, app *cluster.App, quantities map[cluster.ProcessType]int) error {
	grows := map[cluster.ProcessType]int{}
	for t, n := range quantities {
		if n > app.Quantity(t) {
			grows[t] = n
		}
	}
	if len(grows) == 0 {
		return nil
	}
	unplaced := scheduler.Fit(st, app.Name, quantities)
	if len(unplaced) == 0 {
		return nil
	}
	wanted := 0
	for _, n := range grows {
		wanted += n
	}
	var reasons []string
	for _, u := range unplaced {
		for _, r := range u.Reasons {
			if !slices.Contains(reasons, r) {
				reasons = append(reasons, r)
			}
		}
	}
	return cluster.Errorf(cluster.KindUnplaceable, "unplaceable", "only %d of %d replicas can be placed; nothing was changed", wanted-len(unplaced), wanted).
		Because("%s", strings.Join(reasons, "; ")).WithHint("scale to fewer, or see what the nodes have to give with: paas nodes")
}

// Restart implements api.ProcessService.
func (s *processService) Restart(ctx context.Context, name cluster.AppName, in api.Restart) error {
	st, app, err := s.app(ctx, name)
	if err != nil {
		return err
	}
	for _, t := range in.Types {
		if err := scalable(st, app, t); err != nil {
			return err
		}
	}
	if app.Current == 0 {
		return cluster.Conflict("no_release", "app %s has nothing to restart", name).Because("no release serves yet").
			WithHint("deploy it: git push paas main")
	}
	_, err = s.store.Propose(ctx, store.Restart{By: s.by(ctx), App: name, Types: in.Types})
	return err
}
