package agent

import (
	"context"
	"errors"
	"testing"

	"paas/api"
	"paas/cluster"
)

func TestOnlyWhatIsThereIsDialed(t *testing.T) {
	up := cluster.Upstream{Allocation: "a-1", Instance: "web.1", Address: "172.18.0.2:8080"}
	there := container{ID: "c1", Allocation: "a-1", Running: true, IP: "172.18.0.2"}
	for name, c := range map[string]struct {
		board   string
		engine  container
		err     error
		refused bool
	}{
		"there":                  {board: "c1", engine: there},
		"ended":                  {board: "c1", engine: container{ID: "c1", Allocation: "a-1", IP: "172.18.0.2"}, refused: true},
		"elsewhere":              {board: "c1", engine: container{ID: "c1", Allocation: "a-1", Running: true, IP: "172.18.0.3"}, refused: true},
		"another's":              {board: "c1", engine: container{ID: "c1", Allocation: "a-2", Running: true, IP: "172.18.0.2"}, refused: true},
		"removed":                {board: "c1", err: errNoContainer, refused: true},
		"never had a container":  {refused: true},
		"engine does not answer": {board: "c1", err: errors.New("no answer")},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			b := newBoard([]api.Observed{{ID: "a-1", Observation: cluster.Observation{ContainerID: c.board, Address: up.Address}}}, func(api.Observed) {}, func(cluster.AllocationID) {})
			o := newOrigins(b, func(context.Context, string) (container, error) { asked++; return c.engine, c.err })
			for range 3 {
				if err := o.confirm(t.Context(), up); (err != nil) != c.refused || err != nil && cluster.KindOf(err) != cluster.KindUnavailable {
					t.Errorf("got %v", err)
				}
			}
			if name == "there" && asked != 1 {
				t.Errorf("the engine was asked %d times about the same place", asked)
			}
			moved := up
			moved.Address = "172.18.0.9:8080"
			if err := o.confirm(t.Context(), moved); name == "there" && err == nil {
				t.Error("confirmed at an address where it is not")
			}
		})
	}
}

// The engine gives an address away as soon as its container has ended, to another
// app's as well, while the route still names it.
func TestAnEndedReplicasAddressIsNotDialed(t *testing.T) {
	up := cluster.Upstream{Allocation: "a-1", Instance: "web.1", Address: "172.18.0.2:8080"}
	b := newBoard(nil, func(api.Observed) {}, func(cluster.AllocationID) {})
	see := func(id, address string) {
		b.put(api.Observed{ID: "a-1", Observation: cluster.Observation{ContainerID: id, Address: address}})
	}
	engine := map[string]container{"c1": {ID: "c1", Allocation: "a-1", Running: true, IP: "172.18.0.2"}}
	o := newOrigins(b, func(_ context.Context, id string) (container, error) { return engine[id], nil })
	see("c1", up.Address)
	if err := o.confirm(t.Context(), up); err != nil {
		t.Fatal(err)
	}
	engine["c1"] = container{ID: "c1", Allocation: "a-1"}
	see("c1", "")
	if o.confirm(t.Context(), up) == nil {
		t.Error("dialed after its container had ended")
	}
	engine["c2"] = container{ID: "c2", Allocation: "a-1", Running: true, IP: "172.18.0.9"}
	see("c2", "172.18.0.9:8080")
	if o.confirm(t.Context(), up) == nil {
		t.Error("dialed where its last container was")
	}
	engine["c3"] = container{ID: "c3", Allocation: "a-1", Running: true, IP: "172.18.0.2"}
	see("c3", up.Address)
	if err := o.confirm(t.Context(), up); err != nil {
		t.Errorf("back at its old address: %v", err)
	}
}
