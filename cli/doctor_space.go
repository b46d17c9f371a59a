package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/client"

	"paas/cluster"
)

const (
	lowMemory = 512 << 20
	badMemory = 64 << 20
	lowDisk   = 2 << 30
	badDisk   = 256 << 20
)

// memoryFacts is what the kernel says of memory.
type memoryFacts struct {
	AvailableBytes int64 // can be had without swapping
	TotalBytes     int64
	Err            error // why that is not known
}

// readMemory reads proc/meminfo below root, which is "/" but for tests.
func readMemory(root string) memoryFacts {
	data, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return memoryFacts{Err: err}
	}
	f, seen := memoryFacts{}, 0
	for line := range strings.SplitSeq(string(data), "\n") {
		for name, to := range map[string]*int64{"MemAvailable": &f.AvailableBytes, "MemTotal": &f.TotalBytes} {
			var kib int64
			if _, err := fmt.Sscanf(line, name+": %d kB", &kib); err == nil {
				*to, seen = kib<<10, seen+1
			}
		}
	}
	if seen < 2 {
		f.Err = fmt.Errorf("%s does not say it", "/proc/meminfo")
	}
	return f
}

func judgeMemory(f memoryFacts) finding {
	const do = "stop something, or scale apps down: paas scale\nwhat takes it: ps aux --sort -rss"
	text := fmt.Sprintf("%d of %d MiB of memory are available", f.AvailableBytes>>20, f.TotalBytes>>20)
	switch {
	case f.Err != nil:
		return warning("memory", "", "memory is not known: %v", f.Err)
	case f.AvailableBytes < badMemory:
		return broken("memory", cluster.Errorf(cluster.KindUnavailable, "memory", "%s", text).Because("the kernel will end processes to get some").WithHint(do))
	case f.AvailableBytes < lowMemory:
		return warning("memory", do, "%s; builds want %d MiB", text, lowMemory>>20)
	}
	return fine("memory", "%.1f GiB of memory are available", float64(f.AvailableBytes)/(1<<30))
}

// diskFacts is one file system that a host depends on.
type diskFacts struct {
	cluster.Space
	ReadOnly bool
}

// readDisks looks at the file systems that dirs lie on, each once. A directory
// that is not there yet will be where the nearest one above it is.
func readDisks(dirs ...string) []diskFacts {
	var out []diskFacts
	seen := map[uint64]bool{}
	for _, dir := range dirs {
		var of syscall.Stat_t
		for dir != "" && syscall.Stat(dir, &of) != nil && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
		}
		var fs syscall.Statfs_t
		if dir == "" || seen[of.Dev] || syscall.Statfs(dir, &fs) != nil {
			continue
		}
		seen[of.Dev] = true
		used, left := int64(fs.Blocks-fs.Bfree), int64(fs.Bavail) // as df counts
		out = append(out, diskFacts{cluster.Space{Path: dir, TotalBytes: (used + left) * fs.Bsize, FreeBytes: left * fs.Bsize,
			TotalFiles: int64(fs.Files), FreeFiles: int64(fs.Ffree)}, fs.Flags&syscall.MS_RDONLY != 0})
	}
	return out
}

func judgeDisks(all []diskFacts) []finding {
	if len(all) == 0 {
		return []finding{warning("disk", "", "how full the disk is, is not known")}
	}
	var out []finding
	for _, f := range all {
		out = append(out, judgeDisk(f))
	}
	return out
}

// judgeDisk judges as a cluster does, and knows in addition how little is too
// little on a small disk.
func judgeDisk(f diskFacts) finding {
	const do = "see what is large: docker system df; drop build caches: docker builder prune"
	bad := func(why, do string) finding {
		return broken("disk", cluster.Errorf(cluster.KindUnavailable, "disk", "the disk at %s is %s", f.Path, f.Space).Because("%s", why).WithHint(do))
	}
	switch level := f.Judge(cluster.SpaceAmple); {
	case f.ReadOnly:
		return broken("disk", cluster.Errorf(cluster.KindUnavailable, "disk", "the disk at %s is read-only", f.Path).
			Because("it was mounted so, or the kernel found errors on it").WithHint("see what the kernel says: sudo dmesg"))
	case f.FreeBytes < badDisk:
		return bad("neither state nor images can be written for long", do)
	case level == cluster.SpaceFull:
		return bad("nothing is built until some is freed", do)
	case level == cluster.SpaceTight, f.FreeBytes < lowDisk:
		return warning("disk", do, "the disk at %s is %s; builds stop at 90%%", f.Path, f.Space)
	}
	return fine("disk", "%.1f GiB of disk are free at %s", float64(f.FreeBytes)/(1<<30), f.Path)
}

// engineRoot is where the engine of this host keeps images; "" if it does not say.
func engineRoot(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return ""
	}
	defer func() { _ = c.Close() }()
	if !strings.HasPrefix(c.DaemonHost(), "unix://") {
		return "" // another host's
	}
	info, err := c.Info(ctx)
	if err != nil {
		return ""
	}
	return info.DockerRootDir
}
