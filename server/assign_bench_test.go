package server

import (
	"fmt"
	"testing"
	"time"

	"paas/cluster"
)

// largeCluster is 300 nodes in 3 zones, 6 of them with routers, with 100 apps of 30
// replicas that serve.
func largeCluster() *cluster.State {
	d := (&cluster.State{}).Draft(1)
	d.PutSettings(cluster.Settings{ID: "c0ffee", Domain: "localhost"})
	for i := range 300 {
		d.PutNode(cluster.Node{ID: benchNode(i), Name: fmt.Sprintf("host-%d", i), Zone: string(rune('a' + i%3)), Apps: true, Router: i < 6, State: cluster.NodeUp})
	}
	for app := range 100 {
		name := benchApp(app)
		d.PutApp(cluster.App{Name: name, Latest: 1, Current: 1, Formation: map[cluster.ProcessType]int{"web": 30}})
		d.PutRelease(cluster.Release{App: name, Version: 1, Image: cluster.Image{Repository: "apps/" + string(name), Digest: "sha256:1"},
			Processes: map[cluster.ProcessType]cluster.Process{"web": {Command: []string{"./server"}, Port: 8080}}})
		for slot := range 30 {
			d.PutAllocation(cluster.Allocation{ID: benchAllocation(app, slot), App: name, Type: "web", Slot: slot + 1, Attempt: 1, Release: 1,
				Node: benchNode(app*30 + slot), Desired: cluster.DesiredRun,
				Observed: cluster.Observation{State: cluster.AllocationHealthy, Address: "10.0.0.1:8080"}})
		}
	}
	return d.State()
}

func benchNode(i int) cluster.NodeID { return cluster.NodeID(fmt.Sprintf("%016x", i%300+1)) }
func benchApp(i int) cluster.AppName { return cluster.AppName(fmt.Sprintf("app-%02d", i)) }
func benchAllocation(app, slot int) cluster.AllocationID {
	return cluster.AllocationID(fmt.Sprintf("a-%d", app*30+slot+1))
}

// BenchmarkDesired is what the leader does after a command until every agent that it
// concerns has been told, at 300 nodes and 3,000 allocations.
func BenchmarkDesired(b *testing.B) {
	for _, c := range []struct {
		name    string
		command func(d *cluster.Draft, i int)
	}{
		{"token", func(d *cluster.Draft, i int) { d.PutToken(cluster.Token{ID: "t", Name: fmt.Sprint(i)}) }},
		{"observe", func(d *cluster.Draft, i int) {
			x, _ := d.State().Allocation(benchAllocation(i%100, i/100%30))
			changed := *x
			o := x.Observed
			o.Restarts++
			changed.Observe(o, uint64(i), time.Unix(int64(i), 0))
			d.PutAllocation(changed)
		}},
		{"serve", func(d *cluster.Draft, i int) {
			x, _ := d.State().Allocation(benchAllocation(i%100, i/100%30))
			changed := *x
			o := x.Observed
			if o.State == cluster.AllocationHealthy {
				o.State, o.Address = cluster.AllocationStarting, ""
			} else {
				o.State, o.Address = cluster.AllocationHealthy, "10.0.0.1:8080"
			}
			changed.Observe(o, uint64(i), time.Unix(int64(i), 0))
			d.PutAllocation(changed)
		}},
		{"place", func(d *cluster.Draft, i int) {
			d.PutAllocation(cluster.Allocation{ID: cluster.AllocationID(fmt.Sprintf("a-%d", 10000+i%100)), App: benchApp(i % 100), Type: "worker", Slot: 1, Attempt: i,
				Release: 1, Node: benchNode(i), Desired: cluster.DesiredState(1 + i/100%3)})
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			st := largeCluster()
			a := newAssigner(&control{})
			waiting := make([]<-chan struct{}, 300)
			tell(b, a, st, waiting)
			told := 0
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				d := st.Draft(st.Index() + 1)
				c.command(d, int(st.Index()))
				st = d.State()
				b.StartTimer()
				told += tell(b, a, st, waiting)
			}
			b.ReportMetric(float64(told)/float64(b.N), "woken/op")
		})
	}
}

// tell asks for every node that is woken, and returns how many are.
func tell(b *testing.B, a *assigner, st *cluster.State, waiting []<-chan struct{}) (told int) {
	a.routes(st)
	for i := range waiting {
		select {
		case <-waiting[i]:
		default:
			if waiting[i] != nil {
				continue
			}
		}
		told++
		var err error
		if _, waiting[i], err = a.desired(st, benchNode(i)); err != nil {
			b.Fatal(err)
		}
	}
	return told
}
