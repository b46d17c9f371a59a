package store

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"paas/cluster"
)

// commands draws any command, mostly of nouns that may exist.
type commands struct {
	t   *rapid.T
	now int
}

func pick[T any](t *rapid.T, label string, values ...T) T {
	return rapid.SampledFrom(values).Draw(t, label)
}

func (g *commands) by() By {
	g.now += rapid.IntRange(0, 20).Draw(g.t, "seconds")
	return by(g.now)
}

func (g *commands) app() cluster.AppName {
	return pick[cluster.AppName](g.t, "app", "blog", "shop", "x")
}
func (g *commands) node() cluster.NodeID { return pick(g.t, "node", nodeA, nodeB) }
func (g *commands) typ() cluster.ProcessType {
	return pick[cluster.ProcessType](g.t, "type", "web", "worker", "release")
}
func (g *commands) id(prefix string) string {
	return fmt.Sprintf("%s-%d", prefix, rapid.IntRange(1, 40).Draw(g.t, "id"))
}

func (g *commands) config() map[string]cluster.Secret {
	return rapid.MapOfN(rapid.SampledFrom([]string{"A", "B", "C", "1bad"}), rapid.Just(sealed("v")), 0, 3).Draw(g.t, "config")
}

func (g *commands) processes() map[cluster.ProcessType]cluster.Process {
	if rapid.Bool().Draw(g.t, "with release") {
		return processes("web", "worker", "release")
	}
	return processes("web")
}

func (g *commands) draw() Command {
	kinds := []func() Command{
		g.drawApp, g.drawConfig, g.drawRelease, g.drawRelease, g.drawPlan, g.drawPlan, g.drawPlan, g.drawPlan,
		g.drawObserve, g.drawObserve, g.drawNode, g.drawBuild, g.drawDomain, g.drawToken, g.drawFile, g.drawScale,
		g.drawVolume, g.drawVolume, g.drawJoin, g.drawRefs,
	}
	return rapid.SampledFrom(kinds).Draw(g.t, "kind")()
}

func (g *commands) drawApp() Command {
	if rapid.IntRange(0, 9).Draw(g.t, "destroy") == 0 {
		return DestroyApp{By: g.by(), Name: g.app()}
	}
	return CreateApp{By: g.by(), Name: g.app(), DeployBranch: pick(g.t, "branch", "", "main", "-bad")}
}

func (g *commands) drawConfig() Command {
	return ChangeConfig{By: g.by(), App: g.app(), Set: g.config(), Unset: rapid.SliceOfN(rapid.SampledFrom([]string{"A", "B"}), 0, 1).Draw(g.t, "unset")}
}

func (g *commands) drawRelease() Command {
	if rapid.IntRange(0, 3).Draw(g.t, "rollback") == 0 {
		return Rollback{By: g.by(), App: g.app(), To: cluster.ReleaseVersion(rapid.IntRange(0, 4).Draw(g.t, "to"))}
	}
	c := CreateRelease{By: g.by(), App: g.app(), Description: "Deploy", Image: testImage, Processes: g.processes(), DefaultConfig: g.config()}
	if rapid.Bool().Draw(g.t, "pushed") {
		m := g.move()
		c.Push = &m
	}
	return c
}

func (g *commands) move() cluster.RefMove {
	hash := func(label string) string { return pick(g.t, label, "", "", testHash(1), testHash(2), "HEAD") }
	return cluster.RefMove{Name: pick(g.t, "ref", "refs/heads/main", "refs/heads/main", "refs/tags/v1", "main"), Old: hash("old"), New: hash("new")}
}

func (g *commands) drawRefs() Command {
	if rapid.Bool().Draw(g.t, "begin") {
		return BeginCommand{By: g.by(), Deployment: cluster.DeploymentID(g.id("d"))}
	}
	return MoveRefs{By: g.by(), App: g.app(), Born: by(rapid.IntRange(0, 20).Draw(g.t, "born")).At, Moves: []cluster.RefMove{g.move(), g.move()}}
}

func (g *commands) drawScale() Command {
	if rapid.Bool().Draw(g.t, "restart") {
		return Restart{By: g.by(), App: g.app(), Types: rapid.SliceOfN(rapid.Custom(func(*rapid.T) cluster.ProcessType { return g.typ() }), 0, 2).Draw(g.t, "types")}
	}
	return Scale{By: g.by(), App: g.app(), Quantities: map[cluster.ProcessType]int{g.typ(): rapid.IntRange(-1, 5).Draw(g.t, "n")}}
}

func (g *commands) drawPlan() Command {
	ids := func(label string) []cluster.AllocationID {
		return rapid.SliceOfN(rapid.Custom(func(*rapid.T) cluster.AllocationID { return cluster.AllocationID(g.id("a")) }), 0, 2).Draw(g.t, label)
	}
	p := cluster.Plan{Index: pick(g.t, "index", 0, 0, 0, uint64(3)), Drain: ids("drain"), Stop: ids("stop"), Forget: ids("forget")}
	for range rapid.IntRange(0, 4).Draw(g.t, "placements") {
		p.Place = append(p.Place, cluster.Placement{
			App: g.app(), Type: g.typ(), Slot: rapid.IntRange(0, 12).Draw(g.t, "slot"), Attempt: rapid.IntRange(0, 3).Draw(g.t, "attempt"),
			Release: cluster.ReleaseVersion(rapid.IntRange(0, 4).Draw(g.t, "release")), Node: g.node(),
		})
	}
	for range rapid.IntRange(0, 2).Draw(g.t, "deployments") {
		p.Deployments = append(p.Deployments, cluster.DeploymentUpdate{
			ID: cluster.DeploymentID(g.id("d")), State: cluster.DeploymentState(rapid.IntRange(0, 6).Draw(g.t, "state")),
		})
	}
	if rapid.IntRange(0, 4).Draw(g.t, "remove") == 0 {
		p.RemoveApps = []cluster.AppName{g.app()}
	}
	return ApplyPlan{By: g.by(), Plan: p}
}

func (g *commands) drawObserve() Command {
	c := Observe{By: g.by(), Node: g.node()}
	for range rapid.IntRange(0, 3).Draw(g.t, "observations") {
		c.Observations = append(c.Observations, AllocationObservation{
			ID: cluster.AllocationID(g.id("a")),
			Observation: cluster.Observation{
				State:    cluster.AllocationState(rapid.IntRange(0, 9).Draw(g.t, "observed")),
				Address:  pick(g.t, "address", "", "10.0.0.1:80"),
				Restarts: rapid.IntRange(0, 2).Draw(g.t, "restarts"), StartedAt: by(g.now).At,
			},
		})
	}
	return c
}

func (g *commands) drawNode() Command {
	if rapid.Bool().Draw(g.t, "register") {
		return RegisterNode{By: g.by(), Node: cluster.Node{ID: g.node(), Name: "host", Zone: pick(g.t, "zone", "a", "b"), Apps: true,
			State: cluster.NodeUp, MemoryBytes: rapid.Int64Range(0, 1<<30).Draw(g.t, "memory"), CPUMilli: 1000, Labels: map[string]string{"disk": "ssd", "rack": "1"}}}
	}
	switch rapid.IntRange(0, 3).Draw(g.t, "operator") {
	case 0:
		return ScheduleNode{By: g.by(), ID: g.node(), Schedule: cluster.NodeSchedule(rapid.IntRange(0, 4).Draw(g.t, "schedule"))}
	case 1:
		return LabelNode{By: g.by(), ID: g.node(), Set: pick(g.t, "set", nil, map[string]string{"disk": "ssd", "rack": "2"}, map[string]string{"zone": "c"}),
			Unset: pick(g.t, "unset", nil, []string{"rack"}, []string{"disk", "disk"})}
	}
	return SetNodeState{By: g.by(), ID: g.node(), State: pick(g.t, "node state", cluster.NodeUp, cluster.NodeUp, cluster.NodeDown)}
}

func (g *commands) drawJoin() Command {
	id := pick[cluster.TokenID](g.t, "join", "000000000001", "000000000002")
	switch rapid.IntRange(0, 3).Draw(g.t, "join command") {
	case 0:
		return CreateJoin{By: g.by(), Join: join(id, g.now+rapid.IntRange(-10, 200000).Draw(g.t, "good for"))}
	case 1:
		return redeem(g.now, id, byte(rapid.IntRange(1, 2).Draw(g.t, "key")), pick(g.t, "new node", nodeB, cluster.NodeID("cccccccccccccccc")))
	case 2:
		return RevokeJoin{By: g.by(), ID: id}
	}
	return RemoveNode{By: g.by(), ID: g.node(), Until: epoch, Force: rapid.Bool().Draw(g.t, "force")}
}

func (g *commands) drawBuild() Command {
	if rapid.Bool().Draw(g.t, "start") {
		return StartBuild{By: g.by(), App: g.app()}
	}
	return FinishBuild{By: g.by(), ID: cluster.BuildID(g.id("b")), State: cluster.BuildState(rapid.IntRange(0, 4).Draw(g.t, "build")), Image: testImage}
}

func (g *commands) drawDomain() Command {
	host := pick[cluster.Hostname](g.t, "host", "a.example.org", "blog.apps.example.com", "new.apps.example.com")
	if rapid.Bool().Draw(g.t, "add") {
		return AddDomain{By: g.by(), App: g.app(), Host: host}
	}
	return RemoveDomain{By: g.by(), App: g.app(), Host: host}
}

func (g *commands) drawToken() Command {
	id := pick[cluster.TokenID](g.t, "token", "000000000001", "000000000002")
	switch rapid.IntRange(0, 2).Draw(g.t, "token command") {
	case 0:
		tok := token(id, cluster.ScopeRead)
		tok.Once = rapid.Bool().Draw(g.t, "once")
		return CreateToken{By: g.by(), Token: tok}
	case 1:
		return ExchangeToken{By: g.by(), Once: id, Token: token("00000000000a", cluster.ScopeAdmin)}
	}
	return RevokeToken{By: g.by(), ID: id}
}

func (g *commands) drawFile() Command {
	key := pick(g.t, "key", "a", "a/b", "a/b/c", "../x")
	switch rapid.IntRange(0, 3).Draw(g.t, "file command") {
	case 0:
		return PutFile{By: g.by(), Key: key, Value: sealed("v")}
	case 1:
		return DeleteFile{By: g.by(), Key: key}
	case 2:
		return AcquireLock{By: g.by(), Name: key, Holder: pick(g.t, "holder", "x", "y"), TTL: time.Second}
	}
	return ReleaseLock{By: g.by(), Name: key, Holder: "x"}
}

// begin is a cluster with two nodes and one deployed app: most drawn commands apply.
func begin(tb testing.TB) *replica {
	r := withApp(tb)
	r.withNode(nodeA)
	r.withNode(nodeB)
	r.deploy(1, cluster.DeploymentSucceeded)
	return r
}

func TestReplicasOfALogAreEqualAndSnapshotsAreIdentity(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := begin(t), begin(t)
		g := &commands{t: rt, now: 10}
		for range rapid.IntRange(1, 60).Draw(rt, "commands") {
			c := g.draw()
			before := a.state
			outA, errA := a.try(c)
			outB, errB := b.try(c)
			if outA != outB || fmt.Sprint(errA) != fmt.Sprint(errB) {
				rt.Fatalf("%T: replicas answer %+v %v and %+v %v", c, outA, errA, outB, errB)
			}
			if errA != nil && a.state != before {
				rt.Fatalf("%T was refused and changed the state", c)
			}
			if rapid.IntRange(0, 9).Draw(rt, "restart") == 0 {
				restored, err := readSnapshot(bytes.NewReader(b.bytes()))
				if err != nil {
					rt.Fatal(err)
				}
				b.state = restored // from here on one replica goes on from a snapshot
			}
		}
		if !bytes.Equal(a.bytes(), b.bytes()) {
			rt.Fatal("replicas of one log differ")
		}
		x, errX := Export(a.state)
		y, errY := Export(b.state)
		if errX != nil || errY != nil || !bytes.Equal(x, y) {
			rt.Fatalf("exports of equal states differ: %v %v", errX, errY)
		}
	})
}

func TestInvariantsHoldAfterEveryCommand(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := begin(t)
		g := &commands{t: rt, now: 10}
		for range rapid.IntRange(1, 60).Draw(rt, "commands") {
			before := r.state
			c := g.draw()
			_, _ = r.try(c) // refusals are part of the game
			checkCapacity(rt, before, r.state, c)
			checkApps(rt, r.state)
			checkForward(rt, before, r.state)
			checkVolumes(rt, before, r.state, c)
		}
	})
}

// checkCapacity: a plan never fills a node beyond what it has. What was there
// before a node reported less may stay.
func checkCapacity(rt *rapid.T, before, after *cluster.State, c Command) {
	if _, ok := c.(ApplyPlan); !ok {
		return
	}
	was, is := loadOf(before), loadOf(after)
	for n := range after.Nodes() {
		if is[n.ID].memoryBytes > max(was[n.ID].memoryBytes, n.MemoryBytes) || is[n.ID].cpuMilli > max(was[n.ID].cpuMilli, n.CPUMilli) {
			rt.Fatalf("node %s has %d bytes and %d m; reserved are %+v, before %+v", n.ID, n.MemoryBytes, n.CPUMilli, is[n.ID], was[n.ID])
		}
	}
}

// checkApps: at most one active deployment, and everything that is referred to exists.
func checkApps(rt *rapid.T, s *cluster.State) {
	for a := range s.Apps() {
		active := 0
		for x := range s.Deployments(a.Name) {
			if !x.State.Ended() {
				active++
				if _, err := s.Release(a.Name, x.Release); err != nil {
					rt.Fatalf("active deployment %s: %v", x.ID, err)
				}
			}
		}
		if active > 1 {
			rt.Fatalf("app %s has %d active deployments", a.Name, active)
		}
		if a.Current != 0 {
			if r, err := s.Release(a.Name, a.Current); err != nil || r.State != cluster.ReleaseSucceeded {
				rt.Fatalf("app %s serves %s, which is %+v: %v", a.Name, a.Current, r, err)
			}
		}
	}
	seen := map[string]bool{}
	for a := range s.Allocations() {
		if _, err := s.App(a.App); err != nil {
			rt.Fatalf("allocation %s of no app: %v", a.ID, err)
		}
		if _, err := s.Release(a.App, a.Release); err != nil {
			rt.Fatalf("allocation %s runs a release that is gone: %v", a.ID, err)
		}
		if (a.Observed.State == cluster.AllocationHealthy) == a.HealthyAt.IsZero() {
			rt.Fatalf("allocation %s is %s, healthy at %s", a.ID, a.Observed.State, a.HealthyAt)
		}
		key := fmt.Sprintf("%s %s %d", a.App, a.Instance(), a.Attempt)
		if seen[key] {
			rt.Fatalf("two allocations are %s", key)
		}
		seen[key] = true
	}
	hosts := map[cluster.Hostname]bool{}
	for _, route := range s.Routes().Routes {
		if hosts[route.Host] {
			rt.Fatalf("two routes for %s", route.Host)
		}
		hosts[route.Host] = true
	}
}

// checkForward: desired states, ended deployments and terminal observations stay.
func checkForward(rt *rapid.T, before, after *cluster.State) {
	if after.Index() < before.Index() {
		rt.Fatal("the index went back")
	}
	for old := range before.Allocations() {
		a, err := after.Allocation(old.ID)
		if err != nil {
			continue
		}
		if a.Desired < old.Desired || old.Observed.State.Terminal() && !a.Observed.State.Terminal() {
			rt.Fatalf("allocation %s went back from %s/%s to %s/%s", a.ID, old.Desired, old.Observed.State, a.Desired, a.Observed.State)
		}
	}
}
