//go:build e2e && faults

package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestFaultClusterAgentParted cuts an agent with a replica, and one whose replica
// has a volume, from everybody, and heals it after its work was moved.
func TestFaultClusterAgentParted(t *testing.T) {
	f, entry, _ := newDrill(t, plan{})
	db := f.deployProbe("db", 1)
	f.must(db, "volumes", "create", "data", "--node", f.members[3].name)
	f.must(db, "volumes", "attach", "data", "/data")
	f.settled("db", 1, time.Minute)
	once := watching(100*time.Millisecond, func() string {
		if list := f.allContainers("db"); len(list) > 1 {
			return "two run: " + strings.Join(list, ", ")
		}
		return ""
	})
	traffic := entry.load("https://shop.localhost/", "version=", 200)
	var cuts []span
	for round := range drillRounds(3) {
		m := f.members[3] // it has the volume
		f.await("it has a replica of the shop too", 3*time.Minute, func() string { return f.placeOn(m, "shop") })
		began := time.Now()
		f.bed.must(t, "cut", m.index)
		cuts = append(cuts, span{began, time.Now()})
		f.await("its replicas are replaced", 30*time.Second, func() string {
			list, err := f.replicas("shop")
			if err != nil {
				return err.Error()
			}
			n := 0
			for _, r := range wellOf(list) {
				if r.Node != m.name {
					n++
				}
			}
			if n != 3 {
				return lines(list)
			}
			return ""
		})
		t.Logf("round %d: replaced after %v", round, time.Since(began).Round(time.Millisecond))
		// It cannot know whether the others are dead or it is cut off, and serves on: its
		// data is nowhere else, so nobody is started in its place.
		if list := f.allContainers("db"); len(list) != 1 {
			t.Errorf("round %d: the volume's replica while its node is down: %v", round, list)
		}
		f.bed.must(t, "heal", m.index)
		healed := time.Now()
		f.exactly("shop", 3, time.Minute)
		within(t, "healed, exact replica count", time.Since(healed), 10*time.Second)
		f.allUp(30 * time.Second)
		f.healthy("shop", 3, time.Minute)
		f.healthy("db", 1, time.Minute)
	}
	traffic.stopButFor(t, inFlight(cuts...))
	for _, w := range once() {
		t.Error("a volume's replica ran twice: " + w)
	}
}

// TestFaultClusterStrangers tries 20 of each bad join string and 100 connections of
// each bad certificate.
func TestFaultClusterStrangers(t *testing.T) {
	f := newFleet(t, plan{servers: 3, agents: 2})
	joinAttacks(f, f.spare, drillRounds(20))
	clusterStrangers(f)
}
