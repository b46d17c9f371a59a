package agent

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"paas/cluster"
)

// spares is what the host remembers of images that nothing uses.
type spares struct {
	// Mirrors are the addresses that the mirror named images after: its own, and those
	// of earlier times under which the engine still has some.
	Mirrors []string
	// Since says of each name since when it is not used.
	Since map[string]time.Time
}

// spare is an image's name that nothing uses.
type spare struct {
	name  string
	since time.Time
}

// after is s after a look at the engine: mirror is where the mirror listens, names are
// all that the cluster's images have, used those of them that are needed.
func (s spares) after(mirror string, names []string, used map[string]bool, now time.Time) spares {
	out := spares{Mirrors: []string{mirror}, Since: map[string]time.Time{}}
	for _, name := range names {
		if !givenBy(out.Mirrors, name) && !givenBy(s.Mirrors, name) {
			continue // somebody else's
		}
		if address, _, _ := strings.Cut(name, "/"); !slices.Contains(out.Mirrors, address) {
			out.Mirrors = append(out.Mirrors, address)
		}
		if used[name] {
			continue
		}
		if since, known := s.Since[name]; known && !since.After(now) {
			out.Since[name] = since
		} else {
			out.Since[name] = now
		}
	}
	slices.Sort(out.Mirrors)
	return out
}

// equal reports whether both remember the same.
func (s spares) equal(o spares) bool {
	return slices.Equal(s.Mirrors, o.Mirrors) && maps.EqualFunc(s.Since, o.Since, time.Time.Equal)
}

// oldest are the spares, the longest unused first.
func (s spares) oldest() []spare {
	var out []spare
	for name, since := range s.Since {
		out = append(out, spare{name, since})
	}
	slices.SortFunc(out, func(a, b spare) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.name, b.name)) })
	return out
}

// sparedFor is how long an image stays that nothing uses. A day makes a rollback, and a
// job of the next night, quick; on a disk that fills, room counts for more, but what
// comes and goes by the minute is still not pulled each time.
func sparedFor(l cluster.SpaceLevel) time.Duration {
	return [...]time.Duration{cluster.SpaceAmple: 24 * time.Hour, cluster.SpaceTight: 10 * time.Minute, cluster.SpaceFull: 0}[l]
}

// sparesLook is how often the engine is looked at for them.
func sparesLook(l cluster.SpaceLevel) time.Duration {
	return [...]time.Duration{cluster.SpaceAmple: time.Hour, cluster.SpaceTight: 10 * time.Minute, cluster.SpaceFull: time.Minute}[l]
}
