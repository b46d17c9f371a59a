package server

import (
	"path/filepath"
	"testing"

	"paas/api"
)

// A session that is broken for a moment is no reason to fail a deploy.
func TestReleaseCommandWaitsForItsNode(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.stopAgent()
	n := &news{}
	done := make(chan error, 1)
	go func() {
		_, err := h.client.DeploySource(t.Context(), "blog", api.DeploySource{Archive: archive(t, procfile("web: ok\nrelease: ok\n"))}, n.add)
		done <- err
	}()
	h.await("the release command is begun", func() bool {
		begun, _ := filepath.Glob(filepath.Join(h.dir, "builds", "*.release.log"))
		return len(begun) == 1
	})
	h.startAgent()
	if err := <-done; err != nil {
		t.Fatalf("deploy: %v\n%s", err, n)
	}
	contains(t, n.String(), "migrated")
}
