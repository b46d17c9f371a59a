package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"paas/cluster"
)

// filter is one reason why a replica may not go to a host. Each can explain
// itself: what said no is what answers "why not?".
type filter struct {
	name    string // for a summary of many hosts: "12 short of memory"
	admits  func(h *host, d demand) bool
	explain func(h *host, d demand) string // only after admits said no
}

// filters in the order in which they are asked: what an operator did or has to
// repair comes before what is merely full.
var filters = []filter{
	{"without its volume", func(h *host, d demand) bool { return d.pin == "" || d.pin == h.node.ID }, func(_ *host, d demand) string { return d.pinned }},
	{"without apps", func(h *host, _ demand) bool { return h.node.Apps }, says("runs no apps")},
	{"down", func(h *host, _ demand) bool { return h.node.State == cluster.NodeUp }, says("down")},
	{"cordoned", func(h *host, _ demand) bool { return !h.node.Cordoned }, says("cordoned")},
	{"draining", func(h *host, _ demand) bool { return !h.node.Draining }, says("draining")},
	{"of another architecture", admitsArch, func(h *host, d demand) string {
		return fmt.Sprintf("is %s, the image needs %s", h.node.Arch, d.arch)
	}},
	{"outside its constraints", func(h *host, d demand) bool { return d.refusing(h) == nil }, func(h *host, d demand) string {
		return d.refusing(h).Explain(h.node)
	}},
	{"short of memory", func(h *host, d demand) bool { return d.memory <= h.freeMemory() }, func(h *host, d demand) string {
		return fmt.Sprintf("%s free, needs %s", bytesText(h.freeMemory()), bytesText(d.memory))
	}},
	{"short of CPU", func(h *host, d demand) bool { return d.cpuMilli <= h.freeCPU() }, func(h *host, d demand) string {
		return fmt.Sprintf("%dm CPU free, needs %dm", max(0, h.freeCPU()), d.cpuMilli)
	}},
}

func says(text string) func(*host, demand) string {
	return func(*host, demand) string { return text }
}

// refusing returns the first constraint that h does not meet, or nil.
func (d demand) refusing(h *host) *cluster.Constraint {
	for i := range d.where {
		if !d.where[i].Admits(h.node) {
			return &d.where[i]
		}
	}
	return nil
}

func admitsArch(h *host, d demand) bool {
	return d.arch == "" || h.node.Arch == "" || d.arch == h.node.Arch
}

// refused returns the first filter that says no, or nil.
func refused(h *host, d demand) *filter {
	for i := range filters {
		if !filters[i].admits(h, d) {
			return &filters[i]
		}
	}
	return nil
}

// asEmpty is h with nothing reserved on it, up and open to all: what is left to
// refuse is what no waiting can cure.
func (h *host) asEmpty() host {
	n := *h.node
	n.State, n.Cordoned, n.Draining = cluster.NodeUp, false, false
	return host{node: &n}
}

// neverFits reports whether there are hosts for apps and d is too much for each
// of them. Without any host there is hope: one may join.
func (w *world) neverFits(d demand) bool {
	hosts := 0
	for i := range w.hosts {
		h := &w.hosts[i]
		if !h.node.Apps {
			continue
		}
		hosts++
		if empty := h.asEmpty(); refused(&empty, d) == nil {
			return false
		}
	}
	return hosts > 0
}

// explainEmpty says why each host refuses d for ever.
func (w *world) explainEmpty(d demand) []string {
	empty := make([]host, 0, len(w.hosts))
	for i := range w.hosts {
		empty = append(empty, w.hosts[i].asEmpty())
	}
	return explainHosts(empty, d, func(*host) string { return "" })
}

// maxReasons is how many hosts are named one by one; more are summed up by zone.
const maxReasons = 8

// explainHosts says why each host refuses d; also is asked about those that do
// not. It is empty if one would take it.
func explainHosts(hosts []host, d demand, also func(*host) string) []string {
	if len(hosts) == 0 {
		return []string{"there is no node"}
	}
	var reasons []string
	sum := zoneSums{}
	for i := range hosts {
		h := &hosts[i]
		f := refused(h, d)
		why, kind := also(h), "kept free by the zone spread"
		if f != nil {
			why, kind = f.explain(h, d), f.name
		}
		if why == "" {
			return nil
		}
		if len(hosts) > maxReasons {
			sum.add(h, kind)
			continue
		}
		reasons = append(reasons, fmt.Sprintf("%s%s: %s", h.name(), zoneText(h.node.Zone), why))
	}
	if len(hosts) > maxReasons {
		return sum.text(d)
	}
	slices.SortFunc(reasons, cluster.CompareNames) // each begins with the host's name
	return reasons
}

// name names a host for people.
func (h *host) name() string {
	if h.node.Name != "" {
		return h.node.Name
	}
	return string(h.node.ID)
}

func zoneText(zone string) string {
	if zone == "" {
		return ""
	}
	return " (zone " + zone + ")"
}

// zoneSums counts refusals by zone and kind.
type zoneSums map[string]*zoneSum

type zoneSum struct {
	hosts    int
	kinds    map[string]int
	mostFree int64 // memory, of the hosts that are short of it
}

func (z zoneSums) add(h *host, kind string) {
	s := z[h.node.Zone]
	if s == nil {
		s = &zoneSum{kinds: map[string]int{}}
		z[h.node.Zone] = s
	}
	s.hosts++
	s.kinds[kind]++
	if kind == "short of memory" {
		s.mostFree = max(s.mostFree, h.freeMemory())
	}
}

func (z zoneSums) text(d demand) []string {
	var out []string
	for _, zone := range sortedKeys(z) {
		s := z[zone]
		var parts []string
		for _, kind := range sortedKeys(s.kinds) {
			part := fmt.Sprintf("%d %s", s.kinds[kind], kind)
			if kind == "short of memory" {
				part += fmt.Sprintf(" (at most %s free, needs %s)", bytesText(s.mostFree), bytesText(d.memory))
			}
			parts = append(parts, part)
		}
		name := "zone " + zone
		if zone == "" {
			name = "no zone"
		}
		out = append(out, fmt.Sprintf("%s, %d nodes: %s", name, s.hosts, strings.Join(parts, ", ")))
	}
	return out
}

// bytesText shows memory as people ask for it.
func bytesText(n int64) string {
	const mib, gib = 1 << 20, 1 << 30
	n = max(0, n)
	if n >= gib && n%gib == 0 {
		return fmt.Sprintf("%d GiB", n/gib)
	}
	return fmt.Sprintf("%d MiB", n/mib)
}
