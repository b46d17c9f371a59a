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
			b := newBoard([]api.Observed{{ID: "a-1", Observation: cluster.Observation{ContainerID: c.board}}}, func(api.Observed) {}, func(cluster.AllocationID) {})
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
