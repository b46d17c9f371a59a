//go:build e2e && faults

package e2e

import (
	"testing"
	"time"
)

// TestFaultClusterFarZones puts 40 ms and a lost packet in a thousand between any two
// hosts, as zones of neighbouring countries have: nobody stops to lead for it, deploys
// work, and the loss of the leader costs little more than nearby.
func TestFaultClusterFarZones(t *testing.T) {
	f, entry, dir := newDrill(t, plan{})
	l := f.newLedger("ledger")
	for _, m := range f.members {
		f.bed.must(t, "delay", m.index, "10", "0.05") // each way, at each end
	}
	changes := f.leaders(f.servers()...)
	traffic := entry.load("https://shop.localhost/", "version=", 200)
	began, lasts := time.Now(), drillTime(time.Minute)
	f.await("time passes", lasts+time.Minute, func() string {
		if time.Since(began) < lasts {
			return "not yet"
		}
		return ""
	})
	at := time.Now()
	f.must(dir, "config", "set", "GREETING=far")
	t.Logf("a rollout of 3 took %v", time.Since(at).Round(time.Millisecond))
	f.settled("shop", 3, time.Minute)
	if seen := changes(); len(seen) != 1 {
		t.Errorf("the leader changed for nothing: %v", seen)
	}
	killed, first, all := f.killLeader(l)
	t.Logf("%s led and was killed: writes through every server after %v", killed.name, all.Round(time.Millisecond))
	within(t, "writes back", first, 2*time.Second)
	killed.start()
	f.allUp(30 * time.Second)
	traffic.stop(t)
	f.bed.must(t, "heal")
	t.Logf("%d writes acknowledged, none may be lost", l.check())
	f.exports(10 * time.Second)
}
