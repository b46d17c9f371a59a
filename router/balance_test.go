package router

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"

	"paas/cluster"
)

func upstreams(n int, zone string) (ups []*upstream) {
	for i := range n {
		ups = append(ups, &upstream{Upstream: cluster.Upstream{Allocation: cluster.AllocationID(fmt.Sprint(zone, i)), Zone: zone}, transport: &http.Transport{}})
	}
	return ups
}

func TestPickProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pool{near: upstreams(rapid.IntRange(0, 5).Draw(t, "near"), "a"), far: upstreams(rapid.IntRange(0, 5).Draw(t, "far"), "b")}
		all := append(append([]*upstream{}, p.near...), p.far...)
		now := time.Now()
		var skip []*upstream
		usable := 0
		for i, u := range all {
			u.held.Store(int64(rapid.IntRange(0, 40).Draw(t, fmt.Sprint("load", i))))
			switch rapid.IntRange(0, 3).Draw(t, fmt.Sprint("state", i)) {
			case 0:
				u.strike(now)
			case 1:
				skip = append(skip, u)
			default:
				usable++
			}
		}
		got := p.pick(skip, now)
		if got == nil {
			if len(skip) < len(all) {
				t.Fatal("nothing picked though a replica was left: all of them may be ejected, never all left out")
			}
			return
		}
		for _, s := range skip {
			if s == got {
				t.Fatal("picked a replica to skip")
			}
		}
		if got.ejected(now) && usable > 0 {
			t.Fatal("picked an ejected replica though others were fine")
		}
	})
}

func TestOwnZoneFirstThenSpillOver(t *testing.T) {
	p := pool{near: upstreams(2, "a"), far: upstreams(2, "b")}
	now := time.Now()
	load := func(near, far int64) {
		for i := range 2 {
			p.near[i].held.Store(near)
			p.far[i].held.Store(far)
		}
	}
	for _, tt := range []struct {
		near, far int64
		zone      string
	}{{0, 0, "a"}, {7, 0, "a"}, {8, 0, "b"}, {8, 4, "a"}, {100, 49, "b"}, {100, 50, "a"}} {
		load(tt.near, tt.far)
		if got := p.pick(nil, now).Zone; got != tt.zone {
			t.Errorf("near %d, far %d: zone %s, want %s", tt.near, tt.far, got, tt.zone)
		}
	}
	load(0, 0)
	p.near[0].strike(now)
	p.near[1].strike(now)
	if got := p.pick(nil, now).Zone; got != "b" {
		t.Errorf("own zone ejected: zone %s, want b", got)
	}
}

func TestTwoChoicesKeepLoadsTogether(t *testing.T) {
	p := pool{near: upstreams(10, "a")}
	for range 10000 {
		p.pick(nil, time.Now()).hold()
	}
	for _, u := range p.near {
		if n := u.load(); n < 980 || n > 1020 {
			t.Errorf("%s has %d of 10000 requests, want about 1000", u.Allocation, n)
		}
	}
}
