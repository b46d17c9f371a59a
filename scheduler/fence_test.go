package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"paas/cluster"
)

// fence is a cluster whose hosts go on by themselves: what runs on one that is cut
// off, or that the leader believes to be down, is a fact that no state knows.
type fence struct {
	*sim
	rt    *rapid.T
	hosts []*machine
	where map[cluster.VolumeID]*machine // who has the data
}

// machine is one host with its agent.
type machine struct {
	id     cluster.NodeID
	linked bool // the leader and it hear each other
	alive  bool
	told   []*cluster.Allocation
	runs   map[cluster.AllocationID]*running
}

// running is one container.
type running struct {
	mounts   []cluster.Mount
	stopping bool
}

func newFence(rt *rapid.T) *fence {
	f := &fence{sim: newSim(rt), rt: rt, where: map[cluster.VolumeID]*machine{}}
	for range 3 {
		f.join()
	}
	f.app("blog", formation{"web": 1, "worker": 1})
	f.volume("blog", "data", rapid.SampledFrom([]cluster.ProcessType{"web", "worker"}).Draw(rt, "to"))
	f.deploy("blog", fine, "web", "worker")
	return f
}

func (f *fence) join() {
	id := f.node(fmt.Sprintf("node-%d", len(f.hosts)), "a")
	f.hosts = append(f.hosts, &machine{id: id, linked: true, alive: true, runs: map[cluster.AllocationID]*running{}})
}

func (f *fence) some() *machine { return rapid.SampledFrom(f.hosts).Draw(f.rt, "host") }

// live lets a host do what it can: it hears what it should have, ends what it should
// not, and starts what nothing with the same volume bars.
func (f *fence) live(m *machine) {
	if !m.alive {
		return
	}
	_, err := f.state.Node(m.id)
	hears := m.linked && err == nil
	if hears {
		m.told = f.state.AllocationsOn(m.id)
	}
	for _, id := range sortedKeys(m.runs) {
		i := slices.IndexFunc(m.told, func(a *cluster.Allocation) bool { return a.ID == id })
		switch r := m.runs[id]; {
		case i >= 0 && m.told[i].Desired != cluster.DesiredStop:
		case r.stopping:
			delete(m.runs, id)
		default:
			r.stopping = true
		}
	}
	for _, a := range m.told {
		if a.Desired != cluster.DesiredStop && !a.Observed.State.Terminal() && m.runs[a.ID] == nil && !m.uses(a.Mounts) {
			m.runs[a.ID] = &running{mounts: a.Mounts}
			f.mounted(m, a)
		}
		if hears {
			f.report(m, a.ID)
		}
	}
	if hears {
		f.rid(m)
	}
}

func (m *machine) uses(mounts []cluster.Mount) bool {
	for _, r := range m.runs {
		for _, x := range r.mounts {
			if slices.ContainsFunc(mounts, func(y cluster.Mount) bool { return x.Volume == y.Volume }) {
				return true
			}
		}
	}
	return false
}

// mounted notes where data is, and that it is nowhere else.
func (f *fence) mounted(m *machine, a *cluster.Allocation) {
	for _, x := range a.Mounts {
		if at := f.where[x.Volume]; at != nil && at != m {
			f.rt.Fatalf("%s has volume %s on %s, its data is on %s\n%s", a.ID, x.Volume, m.id, at.id, f.dump())
		}
		f.where[x.Volume] = m
	}
}

// report says what became of an allocation.
func (f *fence) report(m *machine, id cluster.AllocationID) {
	a, err := f.state.Allocation(id)
	if err != nil || a.Observed.State.Terminal() {
		return
	}
	switch r := m.runs[id]; {
	case r == nil && a.Desired == cluster.DesiredStop:
		f.observe(a, cluster.Observation{State: cluster.AllocationStopped})
	case r != nil && !r.stopping && a.Observed.State != cluster.AllocationHealthy:
		f.observe(a, cluster.Observation{State: cluster.AllocationHealthy, ContainerID: "c-" + string(id), Address: "10.0.0.1:80", HealthySince: f.now})
	}
}

// rid removes the data of destroyed volumes that nothing uses.
func (f *fence) rid(m *machine) {
	for _, v := range f.state.DestroyedOn(m.id) {
		if !m.uses([]cluster.Mount{{Volume: v.ID}}) {
			f.change(func(d *cluster.Draft) { d.RemoveVolume(v) })
		}
	}
}

// judge is the leader's belief, which lags.
func (f *fence) judge(m *machine) {
	if _, err := f.state.Node(m.id); err != nil {
		return
	}
	f.set(m.id, func(n *cluster.Node) {
		n.State = cluster.NodeDown
		if m.linked && m.alive {
			n.State = cluster.NodeUp
		}
	})
}

// alone: a volume has one user, whoever believes what.
func (f *fence) alone() {
	users := map[cluster.VolumeID]string{}
	for _, m := range f.hosts {
		for _, id := range sortedKeys(m.runs) {
			for _, x := range m.runs[id].mounts {
				me := fmt.Sprintf("%s on %s", id, m.id)
				if other := users[x.Volume]; other != "" {
					f.rt.Fatalf("%s and %s run with volume %s\n%s", other, me, x.Volume, f.dump())
				}
				users[x.Volume] = me
			}
		}
	}
}

// operate is what people do.
func (f *fence) operate(t *rapid.T) {
	if _, err := f.state.App("blog"); err != nil {
		f.app("blog", formation{"web": 1, "worker": 1})
		f.deploy("blog", fine, "web", "worker")
		if _, err := f.state.Volume("blog", "data"); err == nil {
			f.attach("blog", "data", "web") // the data of the app before
		}
		return
	}
	v, err := f.state.Volume("blog", "data")
	switch rapid.SampledFrom([]string{"restart", "deploy", "volume", "volume", "destroy"}).Draw(t, "what") {
	case "restart":
		f.restart("blog", rapid.SampledFrom([]cluster.ProcessType{"web", "worker"}).Draw(t, "type"))
	case "deploy":
		if f.state.ActiveDeployment("blog") == nil {
			f.deploy("blog", rapid.SampledFrom([]fate{fine, crashes}).Draw(t, "fate"), "web", "worker")
		}
	case "destroy":
		f.setApp("blog", func(a *cluster.App) { a.Destroying = true })
		if err == nil && v.Attached() {
			f.detach("blog", "data")
		}
	case "volume":
		switch {
		case err != nil:
			f.volume("blog", "data", "web")
		case v.Attached():
			f.detach("blog", "data")
		case rapid.Bool().Draw(t, "end it"):
			f.destroyVolume(v)
		default:
			f.attach("blog", "data", rapid.SampledFrom([]cluster.ProcessType{"web", "worker"}).Draw(t, "to"))
		}
	}
}

// destroyVolume refuses as the store does.
func (f *fence) destroyVolume(v *cluster.Volume) {
	n, err := f.state.Node(v.Node)
	if a := f.state.HolderOf(v); a != nil && (n.State != cluster.NodeDown || a.Desired != cluster.DesiredStop) {
		return
	}
	f.change(func(d *cluster.Draft) {
		if err != nil {
			d.RemoveVolume(v)
			return
		}
		gone := *v
		gone.Destroyed = true
		d.PutVolume(gone)
	})
}

// TestAVolumeNeverHasTwoUsers: hosts die, are cut off, return, are removed while
// they run on; whatever the leader believes of them, no two containers ever have one
// volume, and its data is never sought where it is not. Without the agent's half of
// the fence (machine.uses, before a start) it fails.
func TestAVolumeNeverHasTwoUsers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFence(t)
		t.Repeat(map[string]func(*rapid.T){
			"cut":  func(*rapid.T) { f.some().linked = false },
			"heal": func(*rapid.T) { f.some().linked = true },
			"die":  func(*rapid.T) { m := f.some(); m.alive = false; clear(m.runs) },
			"boot": func(*rapid.T) { f.some().alive = true },
			"remove": func(t *rapid.T) {
				m := f.some()
				if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
					f.change(func(d *cluster.Draft) { d.RemoveNode(m.id) })
					f.join()
				}
			},
			"judge":   func(*rapid.T) { f.judge(f.some()) },
			"operate": f.operate,
			"one":     func(*rapid.T) { f.live(f.some()) },
			"all": func(t *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(t, "rounds") {
					f.now = f.now.Add(time.Second)
					for _, m := range f.hosts {
						f.judge(m)
						if rapid.Bool().Draw(t, "plans first") {
							f.plan()
						}
						f.live(m)
						f.alone()
					}
					f.acknowledge()
					f.plan()
				}
			},
			"": func(*rapid.T) { f.alone() },
		})
	})
}

// plan plans and commits, without the simulator's other promises: its agents are
// not these.
func (f *fence) plan() {
	p := Compute(f.input())
	f.commit(&p)
}
