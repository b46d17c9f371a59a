package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"paas/cluster"
)

// chaos drives a sim with random operators, failures and delays.
type chaos struct {
	*sim
	t     *rapid.T
	nodes []cluster.NodeID
	apps  []cluster.AppName
}

func newChaos(t *rapid.T) *chaos {
	c := &chaos{sim: newSim(t), t: t}
	zones := []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "zones")]
	for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
		id := c.node(fmt.Sprintf("node-%d", i), zones[i%len(zones)], memory(int64(rapid.IntRange(3, 12).Draw(t, "memory"))*100))
		c.nodes = append(c.nodes, id)
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "apps") {
		f := formation{"web": rapid.IntRange(0, 5).Draw(t, "web"), "worker": rapid.IntRange(0, 2).Draw(t, "worker")}
		c.apps = append(c.apps, c.app(cluster.AppName(fmt.Sprintf("app%d", i)), f))
	}
	return c
}

func (c *chaos) someNode() cluster.NodeID { return rapid.SampledFrom(c.nodes).Draw(c.t, "node") }
func (c *chaos) someApp() *cluster.App {
	a, err := c.state.App(rapid.SampledFrom(c.apps).Draw(c.t, "app"))
	if err != nil || a.Destroying {
		return nil
	}
	return a
}

// actions is what can happen, by name.
func (c *chaos) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"decide":       func(*rapid.T) { c.decide() },
		"tick":         func(*rapid.T) { c.tick(100 * time.Millisecond) },
		"second":       func(*rapid.T) { c.tick(time.Second) },
		"some seconds": c.someSeconds,
		"wait": func(t *rapid.T) {
			c.now = c.now.Add(time.Duration(rapid.IntRange(1, 20000).Draw(t, "ms")) * time.Millisecond)
			c.decide()
		},
		"agents":      func(*rapid.T) { c.agents() },
		"one agent":   c.oneAgent,
		"acknowledge": func(*rapid.T) { c.acknowledge() },
		"lag": func(t *rapid.T) {
			c.lagging[c.someNode()] = rapid.Bool().Draw(t, "lags")
		},
		"forget router": func(*rapid.T) { delete(c.routers, c.someNode()) },
		"lead":          func(*rapid.T) { c.lead() },
		"deploy":        c.randomDeploy,
		"scale": func(t *rapid.T) {
			if a := c.someApp(); a != nil {
				typ := rapid.SampledFrom([]cluster.ProcessType{"web", "worker"}).Draw(t, "type")
				c.scale(a.Name, typ, c.most(a, typ, rapid.IntRange(0, 6).Draw(t, "n")))
			}
		},
		"restart": func(*rapid.T) {
			if a := c.someApp(); a != nil {
				c.restart(a.Name, "web")
			}
		},
		"node":   c.randomNode,
		"volume": c.volumeActions,
		"sicken": func(t *rapid.T) {
			c.afflict(t, cluster.AllocationUnhealthy)
		},
		"ail":     c.ail,
		"crash":   func(t *rapid.T) { c.afflict(t, cluster.AllocationBackoff) },
		"give up": func(t *rapid.T) { c.afflict(t, cluster.AllocationFailed) },
		"balk": func(t *rapid.T) {
			id := c.someNode()
			if how := rapid.SampledFrom(append(ways, cluster.AllocationHealthy)).Draw(t, "how"); how != cluster.AllocationHealthy {
				c.balk[id] = how
			} else {
				delete(c.balk, id)
			}
		},
		"break": func(t *rapid.T) { c.broken[c.someNode()] = rapid.Bool().Draw(t, "broken") },
		"minute": func(*rapid.T) {
			for range 6 {
				c.tick(10 * time.Second)
			}
		},
		"requests": func(t *rapid.T) {
			for a := range c.state.Allocations() {
				c.inFlight[a.ID] = rapid.IntRange(0, 1).Draw(t, "in flight")
			}
		},
		"destroy": func(t *rapid.T) {
			if a := c.someApp(); a != nil && rapid.IntRange(0, 9).Draw(t, "really") == 0 {
				c.setApp(a.Name, func(a *cluster.App) { a.Destroying = true })
			}
		},
		"": func(*rapid.T) { c.samePlan() },
	}
}

// someSeconds lets a rollout get on.
func (c *chaos) someSeconds(t *rapid.T) {
	for range rapid.IntRange(1, 20).Draw(t, "seconds") {
		c.tick(time.Second)
	}
}

func (c *chaos) oneAgent(t *rapid.T) {
	if all := slices.Collect(c.state.Allocations()); len(all) > 0 {
		c.act(rapid.SampledFrom(all).Draw(t, "allocation"))
	}
}

func (c *chaos) randomDeploy(t *rapid.T) {
	a := c.someApp()
	if a == nil || c.state.ActiveDeployment(a.Name) != nil {
		return
	}
	how := rapid.SampledFrom([]fate{fine, fine, fine, crashes, runsOutOfMemory, hasNoImage, neverPasses, staysStarting}).Draw(t, "fate")
	types := rapid.SampledFrom([][]cluster.ProcessType{{"web"}, {"web", "worker"}, {"worker", "release"}}).Draw(t, "types")
	c.deploy(a.Name, how, types...)
}

func (c *chaos) randomNode(t *rapid.T) {
	id := c.someNode()
	c.set(id, func(n *cluster.Node) {
		switch rapid.SampledFrom([]string{"down", "up", "drain", "cordon", "back"}).Draw(t, "what") {
		case "down":
			n.State = cluster.NodeDown
		case "up":
			n.State = cluster.NodeUp
		case "drain":
			n.Draining = true
		case "cordon":
			n.Cordoned = true
		case "back":
			n.Draining, n.Cordoned = false, false
		}
	})
}

// afflict makes a replica report trouble.
func (c *chaos) afflict(t *rapid.T, s cluster.AllocationState) {
	var ill []*cluster.Allocation
	for a := range c.state.Allocations() {
		if a.Live() && a.Desired == cluster.DesiredRun && a.Observed.State != cluster.AllocationPending {
			ill = append(ill, a)
		}
	}
	if len(ill) == 0 {
		return
	}
	a := rapid.SampledFrom(ill).Draw(t, "allocation")
	o := a.Observed
	o.State, o.HealthySince, o.Ailing = s, time.Time{}, false
	if s == cluster.AllocationBackoff {
		o.Restarts++
	}
	c.observe(a, o)
}

// ail makes any number of replicas fail their checks at once, as when what all of
// them depend on fails, some for so long that they should be replaced.
func (c *chaos) ail(t *rapid.T) {
	for _, a := range slices.Collect(c.state.Allocations()) {
		s := a.Observed.State
		if a.Desired != cluster.DesiredRun || s != cluster.AllocationHealthy && s != cluster.AllocationUnhealthy {
			continue
		}
		if rapid.Bool().Draw(t, "ill") {
			o := a.Observed
			o.State, o.HealthySince, o.Ailing = cluster.AllocationUnhealthy, time.Time{}, rapid.Bool().Draw(t, "for long")
			c.observe(a, o)
		}
	}
}

// samePlan: the same question has the same answer, whatever the order in which
// the state was put together.
func (c *chaos) samePlan() {
	in := c.input()
	want := Compute(in)
	snap := in.State.Snapshot()
	slices.Reverse(snap.Nodes)
	slices.Reverse(snap.Allocations)
	slices.Reverse(snap.Apps)
	slices.Reverse(snap.Releases)
	other := in
	other.State = snap.State()
	if diff := cmp.Diff(want, Compute(other)); diff != "" {
		c.t.Fatalf("another order, another plan:\n%s", diff)
	}
}

// heal ends all trouble and lets everything come to rest.
func (c *chaos) heal() {
	clear(c.broken)
	clear(c.balk)
	c.lagging, c.inFlight = map[cluster.NodeID]bool{}, map[cluster.AllocationID]int{}
	for a := range c.state.Apps() {
		c.fate[release{a.Name, a.Current}] = fine // a bad one can stand while nothing of it is wanted
	}
	for _, id := range c.nodes {
		c.set(id, func(n *cluster.Node) {
			n.State, n.Draining, n.Cordoned, n.MemoryBytes = cluster.NodeUp, false, false, 1<<40
		})
	}
	c.settle()
}

// atRest: exactly what is wanted runs, nothing dead is kept, a second pass does
// nothing.
func (c *chaos) atRest() {
	for app := range c.state.Apps() {
		if app.Destroying {
			c.t.Fatalf("%s is not gone\n%s", app.Name, c.dump())
		}
		if c.state.ActiveDeployment(app.Name) != nil {
			c.t.Fatalf("%s still deploys\n%s", app.Name, c.dump())
		}
		var want []string
		for _, typ := range []cluster.ProcessType{"web", "worker"} {
			for i := range c.wanted(app, typ) {
				want = append(want, fmt.Sprintf("%s.%d %s", typ, i+1, app.Current))
			}
		}
		if diff := cmp.Diff(want, c.run(app.Name)); diff != "" {
			c.t.Fatalf("%s (-want +got):\n%s\n%s", app.Name, diff, c.dump())
		}
	}
	for a := range c.state.Allocations() {
		if a.Desired != cluster.DesiredRun || a.Observed.State != cluster.AllocationHealthy {
			c.t.Fatalf("%s is kept %s and %s\n%s", a.ID, a.Desired, a.Observed.State, c.dump())
		}
	}
	for app := range c.state.Apps() {
		for _, typ := range []cluster.ProcessType{"web", "worker"} {
			if how := c.uneven(app.Name, typ); how != "" {
				c.t.Fatalf("%s/%s is uneven: %s\n%s", app.Name, typ, how, c.dump())
			}
		}
	}
	if p := Compute(c.input()); !p.Empty() || !p.Next.IsZero() {
		c.t.Fatalf("a settled cluster gets %+v", p)
	}
}

// TestPromisesHoldInChaos: sim.check holds every plan to capacity, minimum
// healthy, spread and order of stopping; here the world around it goes mad, and
// comes to rest when the trouble ends.
func TestPromisesHoldInChaos(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newChaos(t)
		t.Repeat(c.actions())
		c.heal()
		c.atRest()
	})
}
