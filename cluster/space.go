package cluster

import (
	"fmt"
	"math/bits"
	"slices"
)

// SpaceLevel says how full a file system is.
type SpaceLevel uint8

const (
	SpaceAmple SpaceLevel = iota
	SpaceTight            // people are warned and caches trimmed
	SpaceFull             // nothing is built any more
)

var spaceLevelNames = []string{"ample", "tight", "full"}

func (l SpaceLevel) String() string               { return enumName(spaceLevelNames, l) }
func (l SpaceLevel) MarshalText() ([]byte, error) { return []byte(l.String()), nil }
func (l *SpaceLevel) UnmarshalText(b []byte) error {
	return enumParse("space level", spaceLevelNames, l, b)
}

// Shares of a file system in percent, as df shows them.
const (
	tightPercent = 80
	fullPercent  = 90
	// calmPercent is how far usage has to fall below a limit before the level does:
	// a log that grows and is rotated must not warn every minute.
	calmPercent = 2
)

// Space is one file system of a node as it was last measured. It is memory of
// the leader, never part of a State.
type Space struct {
	// Path is a directory on it that matters: the data directory, the engine's root.
	Path string `json:"path"`
	// FreeBytes is what is left for everybody but root; TotalBytes is that and what is used.
	TotalBytes int64 `json:"total_bytes"`
	FreeBytes  int64 `json:"free_bytes"`
	// TotalFiles is 0 where files are not counted (btrfs).
	TotalFiles int64 `json:"total_files,omitempty"`
	FreeFiles  int64 `json:"free_files,omitempty"`
	// Level is the judgement of who has it: the host's agent, and the leader for everybody.
	Level SpaceLevel `json:"level"`
}

// Percent is the used share of bytes or of files, whichever is larger, rounded up.
func (s Space) Percent() int {
	return max(usedPercent(s.TotalBytes, s.FreeBytes), usedPercent(s.TotalFiles, s.FreeFiles))
}

// usedPercent is 0 for what is not counted. Rounded up, it never promises room that is
// not there. It is computed in integers: floating point makes 101 of some sizes.
func usedPercent(total, free int64) int {
	if total <= 0 {
		return 0
	}
	used := total - min(max(free, 0), total)
	hi, lo := bits.Mul64(uint64(used), 100)
	percent, rest := bits.Div64(hi, lo, uint64(total))
	if rest > 0 {
		percent++
	}
	return int(percent)
}

// Judge is the level of s, which had the level was before.
func (s Space) Judge(was SpaceLevel) SpaceLevel {
	used := s.Percent()
	switch {
	case used >= fullPercent, was == SpaceFull && used > fullPercent-calmPercent:
		return SpaceFull
	case used >= tightPercent, was != SpaceAmple && used > tightPercent-calmPercent:
		return SpaceTight
	}
	return SpaceAmple
}

// JudgeSpaces returns news of a host's file systems with their levels, and whether one
// is another than it was before; what was not there was ample.
func JudgeSpaces(before, news []Space) (judged []Space, changed bool) {
	judged = slices.Clone(news)
	for i, s := range judged {
		was := SpaceAmple
		if at := slices.IndexFunc(before, func(o Space) bool { return o.Path == s.Path }); at >= 0 {
			was = before[at].Level
		}
		judged[i].Level = s.Judge(was)
		changed = changed || judged[i].Level != was
	}
	return judged, changed
}

// String is for people: "91% full (1.8 of 20.0 GB free)", or in files.
func (s Space) String() string {
	if files := usedPercent(s.TotalFiles, s.FreeFiles); files > usedPercent(s.TotalBytes, s.FreeBytes) {
		return fmt.Sprintf("%d%% full (%d of %d files left)", files, s.FreeFiles, s.TotalFiles)
	}
	return fmt.Sprintf("%d%% full (%.1f of %.1f GB free)", s.Percent(), gigabytes(s.FreeBytes), gigabytes(s.TotalBytes))
}

func gigabytes(n int64) float64 { return float64(n) / (1 << 30) }
