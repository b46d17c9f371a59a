package builder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// bornMark is in the name of the control group of every step of BuildKit's in an
// engine with the systemd driver: PARENT.slice:docker:ID. The engine's services
// and containers have other names.
const bornMark = ".slice:docker:"

// movePasses bounds the attempts to empty a group; one or two are enough.
const movePasses = 100

// stepCatcher moves BuildKit's steps from where the engine starts them into the
// group with the limits. A new step is frozen until it has been moved, so that
// none of its commands runs before. It is safe for one goroutine.
type stepCatcher struct {
	born, to string
	logger   *slog.Logger
	notify   *os.File
	fd       int // notify's: its Fd method would make reads block
	done     sync.WaitGroup
	waiting  map[int]string // by watch: groups whose processes have not come yet
}

// catch begins to catch steps, those under way included, if the group needs that;
// else it returns nil. Close must follow.
func (g *stepGroup) catch(logger *slog.Logger) (*stepCatcher, error) {
	if g.born == "" {
		return nil, nil
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("catch build steps: %w", err)
	}
	c := &stepCatcher{
		born: filepath.Join(g.root, g.born), to: filepath.Join(g.root, g.name, sliceLeaf, "cgroup.procs"),
		logger: logger, notify: os.NewFile(uintptr(fd), "inotify"), fd: fd, waiting: map[int]string{},
	}
	_, err = unix.InotifyAddWatch(fd, c.born, unix.IN_CREATE|unix.IN_ONLYDIR)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("catch build steps in %s: %w", c.born, err), c.notify.Close())
	}
	entries, err := os.ReadDir(c.born)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("catch build steps: %w", err), c.notify.Close())
	}
	for _, e := range entries {
		c.begin(e.Name())
	}
	c.done.Go(c.run)
	return c, nil
}

// Close ends the catching. Nothing stays frozen.
func (c *stepCatcher) Close() error {
	if c == nil {
		return nil
	}
	err := c.notify.Close()
	c.done.Wait()
	for _, dir := range c.waiting {
		c.thaw(dir)
	}
	return err
}

// run reads events until the descriptor is closed.
func (c *stepCatcher) run() {
	buffer := make([]byte, 64<<10)
	for {
		n, err := c.notify.Read(buffer)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				c.logger.Warn("build steps are no longer limited", "err", err)
			}
			return
		}
		for rest := buffer[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			watch := int(int32(binary.NativeEndian.Uint32(rest)))
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
			name := string(bytes.TrimRight(rest[unix.SizeofInotifyEvent:size], "\x00"))
			rest = rest[size:]
			if dir, ok := c.waiting[watch]; ok {
				c.try(watch, dir)
			} else if name != "" {
				c.begin(name)
			}
		}
	}
}

// begin freezes a new step's group and waits for its processes.
func (c *stepCatcher) begin(name string) {
	if !strings.Contains(name, bornMark) {
		return
	}
	dir := filepath.Join(c.born, name)
	if err := os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("1"), 0o644); err != nil {
		c.failed(dir, err)
		return
	}
	watch, err := unix.InotifyAddWatch(c.fd, filepath.Join(dir, "cgroup.events"), unix.IN_MODIFY)
	if err != nil {
		c.failed(dir, err)
		c.thaw(dir)
		return
	}
	c.waiting[watch] = dir
	c.try(watch, dir)
}

// try moves a step's processes if there are any, and lets go of its group.
func (c *stepCatcher) try(watch int, dir string) {
	moved, err := c.move(dir)
	if !moved && err == nil {
		return // to come
	}
	c.failed(dir, err)
	c.thaw(dir)
	delete(c.waiting, watch)
	_, _ = unix.InotifyRmWatch(c.fd, uint32(watch)) // gone with the group, at the latest
}

// move moves processes until none is left, and reports whether there were any.
// One that is frozen has no new children, or one: it cannot outrun this.
func (c *stepCatcher) move(dir string) (moved bool, err error) {
	for range movePasses {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil || len(data) == 0 {
			return moved, err
		}
		for _, pid := range strings.Fields(string(data)) {
			// The engine's score protects it, and a step would inherit it. One that is
			// higher, and may not be lowered, is as good.
			_ = os.WriteFile(filepath.Join("/proc", pid, "oom_score_adj"), []byte("0"), 0o644)
			if err := os.WriteFile(c.to, []byte(pid), 0o644); err != nil && !isGone(err) {
				return moved, fmt.Errorf("move process %s: %w", pid, err)
			}
			moved = true
		}
	}
	return moved, errors.New("its processes do not come along")
}

func (c *stepCatcher) thaw(dir string) {
	if err := os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("0"), 0o644); err != nil {
		c.failed(dir, err)
	}
}

// failed tells of an error, unless it only says that the step is over.
func (c *stepCatcher) failed(dir string, err error) {
	if err != nil && !isGone(err) {
		c.logger.Warn("a build step has no limits of memory, processes and CPU", "group", filepath.Base(dir), "err", err)
	}
}

// isGone reports whether a process or a control group ended meanwhile.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}
