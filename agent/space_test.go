package agent

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"paas/cluster"
)

func TestEveryFileSystemIsMeasuredOnce(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "registry")
	if err := os.Mkdir(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	got := measure(dir, deep, "", filepath.Join(dir, "absent"))
	if len(got) != 1 || got[0].Path != dir || got[0].TotalBytes <= 0 || got[0].FreeBytes > got[0].TotalBytes {
		t.Errorf("got %+v", got)
	}
	if both := measure(dir, "/proc"); len(both) != 2 {
		t.Errorf("two file systems: got %+v", both)
	}
}

func TestSpaceIsCountedAsDfDoes(t *testing.T) {
	// 100 blocks, 30 free, 5 of them for root only: df shows 70 used, 25 available, 74%.
	s := spaceOf("/data", &syscall.Statfs_t{Bsize: 4096, Blocks: 100, Bfree: 30, Bavail: 25, Files: 1000, Ffree: 400})
	if s.TotalBytes != 95*4096 || s.FreeBytes != 25*4096 || s.TotalFiles != 1000 || s.FreeFiles != 400 || s.Percent() != 74 {
		t.Errorf("got %+v, %d%%", s, s.Percent())
	}
}

func TestEngineIsAskedUntilItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		w := &spaceWatch{dir: "/", root: func(context.Context) string {
			if asked++; asked < 3 {
				return ""
			}
			return "/proc"
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.run(ctx) }()
		synctest.Wait()
		if got := w.last(); len(got) != 1 {
			t.Errorf("without the engine: got %+v", got)
		}
		time.Sleep(5 * spaceEvery)
		synctest.Wait()
		if got := w.last(); len(got) != 2 || asked != 3 {
			t.Errorf("asked %d times, got %+v", asked, got)
		}
		cancel()
		<-done
	})
}

func TestChangeOfALevelWakesOnce(t *testing.T) {
	told := 0
	w := &spaceWatch{filled: make(chan struct{}, 1), told: func(all []cluster.Space) { told += len(all) }}
	for i, c := range []struct {
		free  int64
		level cluster.SpaceLevel
		wakes bool
	}{
		{50, cluster.SpaceAmple, false}, {15, cluster.SpaceTight, true}, {15, cluster.SpaceTight, false}, {21, cluster.SpaceTight, false},
		{9, cluster.SpaceFull, true}, {50, cluster.SpaceAmple, true}, {50, cluster.SpaceAmple, false},
	} {
		w.judge([]cluster.Space{{Path: "/", TotalBytes: 100, FreeBytes: c.free}})
		woken := len(w.filled) == 1
		if woken {
			<-w.filled
		}
		if woken != c.wakes || w.last()[0].Level != c.level {
			t.Errorf("%d: %d free: woken %v, %+v", i, c.free, woken, w.last())
		}
	}
	if told != 7 {
		t.Errorf("told %d times of 7", told)
	}
}
