package server

import (
	"fmt"
	"testing"

	"paas/cluster"
)

// A restart is welcome, a process whose place was taken is not.
func TestAProcessWhosePlaceWasTakenDoesNotComeBack(t *testing.T) {
	l := newLives()
	for i, step := range []struct {
		node    cluster.NodeID
		process string
		want    cluster.Kind
	}{
		{"n1", "first", cluster.KindInternal}, {"n1", "first", cluster.KindInternal}, // it lost its session
		{"n1", "second", cluster.KindInternal}, {"n1", "first", cluster.KindConflict}, {"n1", "second", cluster.KindInternal},
		{"n2", "first", cluster.KindInternal}, {"n1", "", cluster.KindInternal},
	} {
		err := l.enter(step.node, step.process)
		if (err != nil) != (step.want == cluster.KindConflict) {
			t.Errorf("step %d: %v", i, err)
		}
	}
	for i := range 3 * keptLives {
		if err := l.enter("n1", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.over["n1"]); n != keptLives {
		t.Errorf("remembers %d", n)
	}
}
