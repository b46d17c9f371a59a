package cluster

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSpaceIsJudgedByBytesAndFiles(t *testing.T) {
	for _, tt := range []struct {
		name string
		s    Space
		was  SpaceLevel
		want SpaceLevel
	}{
		{"empty", Space{TotalBytes: 100, FreeBytes: 100}, SpaceAmple, SpaceAmple},
		{"below", Space{TotalBytes: 100, FreeBytes: 21}, SpaceAmple, SpaceAmple},
		{"tight", Space{TotalBytes: 100, FreeBytes: 20}, SpaceAmple, SpaceTight},
		{"full", Space{TotalBytes: 100, FreeBytes: 10}, SpaceAmple, SpaceFull},
		{"nothing left", Space{TotalBytes: 100, FreeBytes: 0}, SpaceTight, SpaceFull},
		{"no files left", Space{TotalBytes: 100, FreeBytes: 90, TotalFiles: 1000, FreeFiles: 3}, SpaceAmple, SpaceFull},
		{"files not counted", Space{TotalBytes: 100, FreeBytes: 90}, SpaceAmple, SpaceAmple},
		{"not measured", Space{}, SpaceAmple, SpaceAmple},
		{"stays full", Space{TotalBytes: 100, FreeBytes: 11}, SpaceFull, SpaceFull},
		{"heals to tight", Space{TotalBytes: 100, FreeBytes: 12}, SpaceFull, SpaceTight},
		{"stays tight", Space{TotalBytes: 100, FreeBytes: 21}, SpaceTight, SpaceTight},
		{"heals", Space{TotalBytes: 100, FreeBytes: 22}, SpaceTight, SpaceAmple},
		{"heals at once", Space{TotalBytes: 100, FreeBytes: 90}, SpaceFull, SpaceAmple},
	} {
		if got := tt.s.Judge(tt.was); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A level that is judged again without news is the same one, and more room
// never makes it worse.
func TestSpaceLevelIsSteadyAndMonotonic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(1, 1<<50).Draw(t, "total")
		free := rapid.Int64Range(0, total).Draw(t, "free")
		was := SpaceLevel(rapid.IntRange(0, 2).Draw(t, "was"))
		s := Space{TotalBytes: total, FreeBytes: free}
		level := s.Judge(was)
		if again := s.Judge(level); again != level {
			t.Fatalf("%v becomes %v without news", level, again)
		}
		s.FreeBytes = rapid.Int64Range(free, total).Draw(t, "more")
		if better := s.Judge(was); better > level {
			t.Fatalf("more room makes %v of %v", better, level)
		}
		if p := s.Percent(); p < 0 || p > 100 {
			t.Fatalf("%d%%", p)
		}
	})
}

func TestJudgedSpacesChangeByPath(t *testing.T) {
	at := func(path string, used int64, l SpaceLevel) Space {
		return Space{Path: path, TotalBytes: 100, FreeBytes: 100 - used, Level: l}
	}
	before := []Space{at("/", 81, SpaceTight), at("/data", 50, SpaceAmple)}
	for _, c := range []struct {
		name       string
		news, want []Space
		changed    bool
	}{
		{"nothing is known", nil, nil, false},
		{"as before, and never mind what it says of itself", []Space{at("/data", 50, SpaceFull), at("/", 79, SpaceAmple)}, []Space{at("/data", 50, SpaceAmple), at("/", 79, SpaceTight)}, false},
		{"one fills", []Space{at("/", 79, SpaceAmple), at("/data", 95, SpaceAmple)}, []Space{at("/", 79, SpaceTight), at("/data", 95, SpaceFull)}, true},
		{"one has room again", []Space{at("/", 78, SpaceAmple), at("/data", 50, SpaceAmple)}, []Space{at("/", 78, SpaceAmple), at("/data", 50, SpaceAmple)}, true},
		{"a new one with room", []Space{at("/new", 79, SpaceAmple)}, []Space{at("/new", 79, SpaceAmple)}, false},
		{"a new one without", []Space{at("/new", 80, SpaceAmple)}, []Space{at("/new", 80, SpaceTight)}, true},
	} {
		sent := slices.Clone(c.news)
		if got, changed := JudgeSpaces(before, c.news); !slices.Equal(got, c.want) || changed != c.changed || !slices.Equal(sent, c.news) {
			t.Errorf("%s: %+v, changed %t", c.name, got, changed)
		}
	}
}

func TestSpaceSaysItsNumber(t *testing.T) {
	for want, s := range map[string]Space{
		"91% full (1.8 of 20.0 GB free)": {TotalBytes: 20 << 30, FreeBytes: 1850 << 20},
		// 101 in floating point, rounded up
		"100% full (0.0 of 83055.5 GB free)": {TotalBytes: 89180190641000},
		"100% full (3 of 1000 files left)":   {TotalBytes: 20 << 30, FreeBytes: 19 << 30, TotalFiles: 1000, FreeFiles: 3},
	} {
		if got := s.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
