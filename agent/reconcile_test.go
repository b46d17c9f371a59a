package agent

import (
	"log/slog"
	"testing"

	"paas/api"
	"paas/cluster"
)

// quietReconciler has neither an engine nor assignments.
func quietReconciler() *reconciler {
	b := newBoard(nil, func(api.Observed) {}, func(cluster.AllocationID) {})
	return newReconciler(&shared{board: b, archive: newArchive(), log: slog.New(slog.DiscardHandler)}, nil)
}

// A replica may end between the look at it and what is then done about it.
func TestWhatIsForAReplicaThatHasEndedIsLeft(t *testing.T) {
	m := quietReconciler()
	for _, kind := range []actionKind{actionTell, actionStop, actionLook} {
		m.act(t.Context(), action{Kind: kind, ID: "a-1", Assignment: assignment("a-1")})
	}
}

func TestAReplicaThatEndsIsNeverSeenAsOneToStart(t *testing.T) {
	m := quietReconciler()
	for range 2000 {
		m.shared.board.put(api.Observed{ID: "a-1", Observation: cluster.Observation{State: cluster.AllocationPulling}})
		m.replicas["a-1"] = newReplica(m.shared, assignment("a-1"), "")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			m.shared.board.put(api.Observed{ID: "a-1", Observation: cluster.Observation{State: cluster.AllocationFailed}})
			m.mu.Lock()
			defer m.mu.Unlock()
			delete(m.replicas, "a-1")
		}()
		k := m.known()["a-1"]
		<-ended
		if !k.live() && !k.State.Terminal() {
			t.Fatalf("seen as %+v", k)
		}
		m.shared.board.forget("a-1")
	}
}
