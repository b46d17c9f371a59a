package server

import (
	"testing"
	"time"

	"paas/cluster"
	"paas/store"
)

// TestARolloutThatNobodyLedIsNotLate: its last step forward was an hour ago, and
// there has been a leader for a moment.
func TestARolloutThatNobodyLedIsNotLate(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\n"))
	h.mustDeploy("blog", procfile("web: ok # again\n"))
	hourAgo := store.By{Actor: "tester", At: time.Now().Add(-time.Hour).UTC()}
	if _, err := h.server.store.Propose(t.Context(), store.Rollback{By: hourAgo, App: "blog", To: 1}); err != nil {
		t.Fatal(err)
	}
	if x := h.deployment("blog"); x.State != cluster.DeploymentSucceeded {
		t.Errorf("the deployment has %s: %+v", x.State, x.Failure)
	}
}

// TestAHostThatSleptLedForNobody: a laptop that was closed for an hour in the
// middle of a rollout must not find it late.
func TestAHostThatSleptLedForNobody(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := watchBegun(at)
	for _, c := range []struct {
		name    string
		wall    time.Duration // since at
		counted time.Duration
		want    time.Duration // since at
	}{
		{"at once", 0, 0, 0},
		{"a minute later", time.Minute, time.Minute, 0},
		{"with a clock that drifts", time.Hour + 900*time.Millisecond, time.Hour, 0},
		{"after an hour's sleep", 2*time.Hour + time.Minute, time.Hour + time.Minute, 2*time.Hour + time.Minute},
		{"later", 3*time.Hour + time.Minute, 2*time.Hour + time.Minute, 2*time.Hour + time.Minute},
		{"after the clock was set back", time.Minute, 2*time.Hour + 2*time.Minute, time.Minute},
		{"later again", 2 * time.Minute, 2*time.Hour + 3*time.Minute, time.Minute},
	} {
		if got := w.since(at.Add(c.wall), c.counted).Sub(at); got != c.want {
			t.Errorf("%s: since %s, want %s", c.name, got, c.want)
		}
	}
}
