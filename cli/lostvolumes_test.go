package cli

import (
	"slices"
	"strings"
	"testing"

	"paas/api"
	"paas/cluster"
)

func TestVolumesThatStayBehindAreNamedWithWhatHelps(t *testing.T) {
	v := api.VolumeInfo{Volume: cluster.Volume{App: "own", Name: "data", Node: "n", Process: "web", Path: "/data"}, NodeGone: true}
	free := v
	free.Name, free.Process = "old", ""
	there := v
	there.NodeGone = false
	if got, want := lostVolumes([]api.VolumeInfo{there, v, free}), []string{"paas volumes detach data -a own"}; !slices.Equal(got, want) {
		t.Errorf("next is %q, want %q", got, want)
	}
	found := judgeVolumes([]api.VolumeInfo{there, v, free})
	if len(found) != 1 || found[0].State != "broken" || !strings.Contains(found[0].Text, "app own") || !strings.Contains(found[0].Do, "paas volumes detach data -a own") {
		t.Errorf("the doctor found %+v", found)
	}
	text := leftBehind(&v, "h3")
	for _, want := range []string{"web of app own is down", "volume data", "h3", "paas volumes detach data -a own"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if text := leftBehind(&free, "h3"); !strings.Contains(text, "volume old of app own is out of reach") || strings.Contains(text, "down") {
		t.Errorf("of one that nothing uses: %q", text)
	}
}
