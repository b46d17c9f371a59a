package cli

import (
	"strings"
	"testing"

	"paas/api"
	"paas/cluster"
)

func TestLowDisksAreShown(t *testing.T) {
	gb := int64(1 << 30)
	ample := cluster.Space{Path: "/data", TotalBytes: 100 * gb, FreeBytes: 60 * gb}
	full := cluster.Space{Path: "/var/lib/docker", TotalBytes: 100 * gb, FreeBytes: 5 * gb, Level: cluster.SpaceFull}
	o := &output{}
	for want, all := range map[string][]cluster.Space{"-": nil, "40%": {ample}, "95%": {ample, full}} {
		if got := diskUsed(o, all); !strings.HasSuffix(got, want) {
			t.Errorf("%+v: got %q, want %q", all, got, want)
		}
	}
	if f := checkLowSpace(api.NodeSpace{Node: "one", Space: full}); f.State != "broken" ||
		!strings.Contains(f.Text, "node one at /var/lib/docker is 95% full (5.0 of 100.0 GB free)") || !strings.Contains(f.Do, "docker builder prune") {
		t.Errorf("full: got %+v", f)
	}
	tight := full
	tight.FreeBytes, tight.Level = 15*gb, cluster.SpaceTight
	if f := checkLowSpace(api.NodeSpace{Node: "one", Space: tight}); f.State != "warning" || !strings.Contains(f.Text, "85% full") {
		t.Errorf("tight: got %+v", f)
	}
}
