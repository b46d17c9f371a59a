package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"paas/api"
)

// hungEngine takes questions and answers none.
type hungEngine struct{ engine }

func (hungEngine) Info(ctx context.Context) (engineInfo, error) {
	<-ctx.Done()
	return engineInfo{}, ctx.Err()
}

// A node whose engine hangs says hello all the same, in time for a second server
// inside its lease: else everything on it would be placed elsewhere.
func TestAHungEngineDoesNotKeepTheNodeFromItsServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Agent{config: Config{Apps: true}, reconciler: newReconciler(&shared{runtime: runtime{engine: hungEngine{}}}, nil)}
		begun := time.Now()
		got := make(chan engineInfo, 1)
		go func() { got <- a.engineInfo(t.Context()) }()
		select {
		case info := <-got:
			if took := time.Since(begun); took > api.NodeLease/2 || info.CPUs == 0 || info.Arch == "" {
				t.Errorf("after %s: %+v", took, info)
			}
		case <-time.After(time.Minute):
			t.Fatal("the node waits for its engine")
		}
	})
}
