package builder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memoryWatch knows whether memory ran out in the group of build steps since it
// was made. The kernel counts; nothing polls.
type memoryWatch struct {
	group  *stepGroup
	event  int   // version 1: a descriptor that counts what happens in the group or below it
	before int64 // version 2: kills until now
}

// watchMemory begins to count. Close must follow. On an error the watch is nil,
// which knows of nothing.
func (g *stepGroup) watchMemory() (*memoryWatch, error) {
	w := &memoryWatch{group: g, event: -1}
	if g.unified {
		before, err := g.kills()
		if err != nil {
			return nil, err // from 0 every kill of before would be this build's
		}
		w.before = before
		return w, nil
	}
	dir := filepath.Join(g.root, "memory", g.name)
	control, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return nil, fmt.Errorf("watch memory: %w", err)
	}
	defer control.Close() // only needed to register
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch memory: %w", err)
	}
	w.event = fd // no os.File: its Fd method would make reads block
	register := fmt.Sprintf("%d %d", fd, control.Fd())
	if err := os.WriteFile(filepath.Join(dir, "cgroup.event_control"), []byte(register), 0o200); err != nil {
		return nil, errors.Join(fmt.Errorf("watch memory: %w", err), w.Close())
	}
	return w, nil
}

// ranOut reports whether the kernel had to kill for want of memory.
func (w *memoryWatch) ranOut() bool {
	if w == nil {
		return false
	}
	if w.group.unified {
		n, err := w.group.kills()
		return err == nil && n > w.before
	}
	count := make([]byte, 8)
	n, err := unix.Read(w.event, count) // never blocks: EFD_NONBLOCK
	return err == nil && n == len(count) && binary.NativeEndian.Uint64(count) > 0
}

// Close ends the count.
func (w *memoryWatch) Close() error {
	if w == nil || w.event < 0 {
		return nil
	}
	return unix.Close(w.event)
}

// kills is version 2's counter of processes killed in the group and below it.
func (g *stepGroup) kills() (int64, error) {
	data, err := os.ReadFile(filepath.Join(g.root, g.name, "memory.events"))
	if err != nil {
		return 0, fmt.Errorf("watch memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "oom_kill" {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, nil
}
