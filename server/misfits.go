package server

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"paas/api"
	"paas/cluster"
)

// misfits is what the scheduler found no place for when it planned last, and why. It
// is memory of the leader: the next pass finds the same.
type misfits struct {
	mu      sync.Mutex
	index   uint64                                 // of the state that was planned for; guarded by mu
	all     map[cluster.AppName][]cluster.Unplaced // likewise
	changed chan struct{}                          // closed when index or all changes; likewise
}

func newMisfits() *misfits { return &misfits{changed: make(chan struct{})} }

// planned takes over what a plan says.
func (m *misfits) planned(p *cluster.Plan) {
	all := map[cluster.AppName][]cluster.Unplaced{}
	for _, u := range p.Unplaced {
		all[u.App] = append(all[u.App], u)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	same := len(all) == 0 && len(m.all) == 0 || reflect.DeepEqual(all, m.all)
	if same && p.Index == m.index {
		return
	}
	m.index, m.all = p.Index, all
	close(m.changed)
	m.changed = make(chan struct{})
}

// of returns an app's replicas without a place, and a channel that is closed when
// anybody's change, or are found to be the same in a newer state: who waits for that
// state to be planned for hears of nothing else.
func (m *misfits) of(app cluster.AppName) ([]cluster.Unplaced, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all[app], m.changed
}

// at is the index of the state that was planned for last.
func (m *misfits) at() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index
}

// whyNot returns why no node takes a replica in the place of a: the reasons of its own
// slot, else those of any other of its type, which waits for the same.
func (m *misfits) whyNot(a *cluster.Allocation) []string {
	list, _ := m.of(a.App)
	var reasons []string
	for _, u := range list {
		if u.Type == a.Type && (u.Slot == a.Slot || reasons == nil) {
			reasons = u.Reasons
		}
	}
	return slices.Clone(reasons)
}

// stranded is list with the replicas that have to leave their node, too, and wait behind
// those of their type that found no place: the scheduler asks for few of them at a time.
func stranded(st *cluster.State, app cluster.AppName, list []cluster.Unplaced) []cluster.Unplaced {
	out := slices.Clone(list)
	for a := range st.AllocationsOf(app) {
		n, err := st.Node(a.Node)
		if err != nil || !n.Draining || a.Desired != cluster.DesiredRun || !a.Live() || len(a.Mounts) > 0 || succeeded(st, a) {
			continue
		}
		same := func(u cluster.Unplaced) bool { return u.Type == a.Type && u.Slot == a.Slot }
		i := slices.IndexFunc(out, func(u cluster.Unplaced) bool { return u.Type == a.Type })
		if i >= 0 && !slices.ContainsFunc(out, same) {
			out = append(out, cluster.Unplaced{App: app, Type: a.Type, Slot: a.Slot, Reasons: out[i].Reasons})
		}
	}
	slices.SortStableFunc(out, func(a, b cluster.Unplaced) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Slot, b.Slot))
	})
	return out
}

// succeeded reports whether another replica comes or is in the slot of a.
func succeeded(st *cluster.State, a *cluster.Allocation) bool {
	for o := range st.AllocationsOf(a.App) {
		if o.Type == a.Type && o.Slot == a.Slot && o.Attempt > a.Attempt && o.Desired == cluster.DesiredRun && o.Live() {
			return true
		}
	}
	return false
}

// whyEach lists replicas and their reasons; what has the same ones is listed together.
func whyEach(list []api.NodeReplica) string {
	var order []string
	names := map[string][]string{}
	for _, r := range list {
		why := strings.Join(r.Stays, "; ")
		if names[why] == nil {
			order = append(order, why)
		}
		names[why] = append(names[why], string(r.App)+" "+r.Instance)
	}
	var parts []string
	for _, why := range order {
		parts = append(parts, strings.Join(names[why], ", ")+": "+why)
	}
	return strings.Join(parts, " / ")
}

// plural is a count with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
