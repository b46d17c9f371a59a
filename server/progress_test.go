package server

import (
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

// TestHintOfWhatListensElsewhere: who deployed it is told where to listen.
func TestHintOfWhatListensElsewhere(t *testing.T) {
	f := &cluster.Failure{Code: "rollout.unhealthy", Message: "web.1 on vm " + cluster.NotListening(8080, time.Minute, []string{"localhost:8080"})}
	if got := hint("blog", f); got != "listen on 0.0.0.0:$PORT, not on localhost, and deploy again: paas deploy -a blog" {
		t.Errorf("got %q", got)
	}
	f.Message = "web.1 on vm GET /up answered 503 for 60s"
	if got := hint("blog", f); !strings.Contains(got, "paas events -a blog") {
		t.Errorf("got %q", got)
	}
}
