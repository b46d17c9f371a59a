package server

import (
	"testing"

	"paas/api"
	"paas/cluster"
)

// Every name that cannot be added or removed comes with what works instead.
func TestHostNamesThatAreRefusedComeWithAWayOut(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	for host, c := range map[cluster.Hostname]struct {
		kind         cluster.Kind
		reason, hint string
	}{
		"blog.localhost": {cluster.KindConflict, "it is the app's own, and leads to it already", "see: paas domains -a blog"},
		"shop.localhost": {cluster.KindConflict, "names directly under localhost belong to the apps of that name",
			"make an app of that name: paas apps create shop\nor put another part in front: paas domains add www.shop.localhost -a blog"},
		"*.example.com": {cluster.KindInvalid, "wildcards are not supported", "add each name by itself: paas domains add shop.example.com"},
	} {
		_, err := h.client.AddDomain(t.Context(), "blog", api.AddDomain{Host: host})
		if e := wantKind(t, err, c.kind, ""); e.Reason != c.reason || e.Hint != c.hint {
			t.Errorf("%s: %q, %q", host, e.Reason, e.Hint)
		}
	}
	if _, err := h.client.AddDomain(t.Context(), "blog", api.AddDomain{Host: "www.shop.localhost"}); err != nil {
		t.Errorf("the way out: %v", err)
	}
}
