package server

import (
	"context"
	"testing"

	"paas/api"
)

// A pusher can hang up at any moment: no build may go on for ever in the list.
func TestHangUpAtTheStartOfABuildLeavesNoneBehind(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	app, err := h.server.store.State().App("blog")
	if err != nil {
		t.Fatal(err)
	}
	d := h.server.hooks.git.deployer
	for range 50 {
		ctx, hangUp := context.WithCancel(t.Context())
		began := h.server.store.State().Index()
		go func() { // while the record of the build is on its way
			<-h.server.store.Changed(began)
			hangUp()
		}()
		_, _, err := d.build(ctx, newReport(func(api.Progress) {}), job{app: "blog", image: "blog:1"}, app, "")
		hangUp()
		_ = err // it may have been quick enough
	}
	for b := range h.server.store.State().Builds("blog") {
		if !b.State.Ended() {
			t.Errorf("build %s is %s", b.ID, b.State)
		}
	}
}
