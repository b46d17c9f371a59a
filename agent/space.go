package agent

import (
	"context"
	"sync/atomic"
	"syscall"
	"time"

	"paas/cluster"
)

// spaceEvery is how often file systems are measured: that costs microseconds,
// and a disk that is written at 1 GB/s loses 2 GB meanwhile.
const spaceEvery = 2 * time.Second

// spaceWatch measures the file systems that the node depends on.
type spaceWatch struct {
	// dir is the agent's own directory. root asks for the engine's; "" when there is
	// none or it does not answer.
	dir  string
	root func(ctx context.Context) string
	// filled has capacity 1: a level changed. Sent by run; received by the retention.
	filled chan struct{}
	told   func([]cluster.Space)           // nil: nobody
	now    atomic.Pointer[[]cluster.Space] // judged; nil before the first measurement
	engine atomic.Pointer[string]          // the engine's root; nil before it answered
}

// run measures until ctx ends. The engine is asked until it has answered once.
func (w *spaceWatch) run(ctx context.Context) error {
	root := ""
	for ctx.Err() == nil {
		w.judge(measure(w.dir, root))
		if root == "" {
			if root = w.root(ctx); root != "" {
				w.engine.Store(&root)
				continue
			}
		}
		pause(ctx, spaceEvery)
	}
	return nil
}

// judge takes a measurement and says whether a level changed.
func (w *spaceWatch) judge(all []cluster.Space) {
	all, changed := cluster.JudgeSpaces(w.last(), all)
	w.now.Store(&all)
	if w.told != nil {
		w.told(all)
	}
	if changed {
		wake(w.filled)
	}
}

// engineSpace measures where the engine keeps images; false when that is not known.
func (w *spaceWatch) engineSpace() (cluster.Space, bool) {
	root := w.engine.Load()
	if root == nil {
		return cluster.Space{}, false
	}
	all := measure(*root)
	if len(all) == 0 {
		return cluster.Space{}, false
	}
	return all[0], true
}

// last is the newest measurement; nil before the first.
func (w *spaceWatch) last() []cluster.Space {
	if all := w.now.Load(); all != nil {
		return *all
	}
	return nil
}

// measure looks at the file systems that dirs lie on, each once. What cannot be
// looked at is left out: an engine's root may be on another machine.
func measure(dirs ...string) []cluster.Space {
	var out []cluster.Space
	seen := map[uint64]bool{}
	for _, dir := range dirs {
		var of syscall.Stat_t
		var fs syscall.Statfs_t
		if dir == "" || syscall.Stat(dir, &of) != nil || syscall.Statfs(dir, &fs) != nil || seen[of.Dev] {
			continue
		}
		seen[of.Dev] = true
		out = append(out, spaceOf(dir, &fs))
	}
	return out
}

// spaceOf counts as df does: what is kept for root is neither used nor free.
func spaceOf(dir string, fs *syscall.Statfs_t) cluster.Space {
	used := int64(fs.Blocks - fs.Bfree)
	free := int64(fs.Bavail)
	return cluster.Space{Path: dir, TotalBytes: (used + free) * fs.Bsize, FreeBytes: free * fs.Bsize,
		TotalFiles: int64(fs.Files), FreeFiles: int64(fs.Ffree)}
}

// engineRoot asks the engine where it keeps images, containers and their logs.
func (a *Agent) engineRoot(ctx context.Context) string {
	if a.docker == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	info, err := a.docker.Info(ctx)
	if err != nil {
		return "" // others say that the engine is down
	}
	return info.Root
}
