package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// spread is where the up-to-date replicas of one process type are, and the
// zones among which they have to be even. Old and excess replicas do not count:
// they go, and what remains must be spread.
type spread struct {
	onHost map[int]int    // by index in world.hosts
	inZone map[string]int // live zones only, zeros included
}

// spreadOf counts g's replicas. A zone is live when one of its nodes could take
// such a replica if it were empty: a full zone still counts, a dead one does not, nor
// does one whose nodes all balk, unless all zones are like that.
func (w *world) spreadOf(g *group) *spread {
	s := &spread{onHost: map[int]int{}, inZone: map[string]int{}}
	balking := map[string]int{}
	for i := range w.hosts {
		h := &w.hosts[i]
		empty := host{node: h.node}
		if refused(&empty, g.demand) != nil {
			continue
		}
		if g.balking[h.node.ID] {
			balking[h.node.Zone] = 0
			continue
		}
		s.inZone[h.node.Zone] = 0
	}
	if len(s.inZone) == 0 {
		s.inZone = balking
	}
	for i := range g.slots {
		if k := g.slots[i].keeper; k != nil {
			s.add(w, w.byID[k.a.Node])
		}
	}
	return s
}

// add counts one more replica on a host.
func (s *spread) add(w *world, host int) {
	s.onHost[host]++
	zone := w.hosts[host].node.Zone
	if n, live := s.inZone[zone]; live {
		s.inZone[zone] = n + 1
	}
}

// least is the smallest count of a live zone.
func (s *spread) least() int {
	least := -1
	for _, n := range s.inZone {
		if least < 0 || n < least {
			least = n
		}
	}
	return max(0, least)
}

// maxSkew is how far live zones may differ: architecture.md section 5.
const maxSkew = 1

// refuses reports whether a host's zone may not have one more, when a live zone
// has least.
func (s *spread) refuses(zone string, least int) bool { return s.inZone[zone]+1-least > maxSkew }

// explain says what refuses meant.
func (s *spread) explain(zone string) string {
	var others []string
	for _, z := range sortedKeys(s.inZone) {
		if z != zone && s.inZone[z] == s.least() {
			others = append(others, z)
		}
	}
	return fmt.Sprintf("zone %s has %d, the next belongs to zone %s, which has %d",
		zone, s.inZone[zone], strings.Join(others, " or "), s.least())
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
