package server

import (
	"testing"
	"time"

	"paas/cluster"
)

// TestLeaseOfWhoLedBefore: all others were heard by nobody before a tenure begins; the
// leader was, and an election costs its replacement no time.
func TestLeaseOfWhoLedBefore(t *testing.T) {
	now := time.Now()
	begun := tenureStart{at: now, predecessor: "old", heard: now.Add(-600 * time.Millisecond)}
	f := &fleet{alive: map[cluster.NodeID]time.Time{"back": now.Add(time.Second), "old": now.Add(-time.Hour)}}
	for id, want := range map[cluster.NodeID]time.Time{"old": begun.heard, "agent": now, "back": now.Add(time.Second)} {
		if got := f.lastHeard(&cluster.Node{ID: id, State: cluster.NodeUp}, begun); !got.Equal(want) {
			t.Errorf("%s: heard %s after the start, want %s", id, got.Sub(now), want.Sub(now))
		}
	}
	if got := f.lastHeard(&cluster.Node{ID: "agent", State: cluster.NodeDown}, begun); !got.IsZero() {
		t.Errorf("a node that was down: %s", got)
	}
}
