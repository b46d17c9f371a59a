//go:build e2e && faults

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
)

// loopDisk is a file system of its own in a file.
type loopDisk struct {
	t        testing.TB
	img, dir string
}

func newLoopDisk(t testing.TB, megabytes, files int) *loopDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	top := t.TempDir()
	d := &loopDisk{t: t, img: filepath.Join(top, "disk.img"), dir: filepath.Join(top, "disk")}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d.must("truncate", "-s", strconv.Itoa(megabytes)+"M", d.img)
	d.must("mkfs.ext4", "-q", "-m", "0", "-N", strconv.Itoa(files), d.img)
	d.mount()
	t.Cleanup(d.unmount)
	return d
}

func (d *loopDisk) must(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func (d *loopDisk) mount() { d.t.Helper(); d.must("mount", "-o", "loop", d.img, d.dir) }

// unmount waits for children of a killed process to go.
func (d *loopDisk) unmount() {
	d.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := exec.Command("umount", d.dir).CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("umount: %v\n%s", err, out)
		}
		<-tick.C
	}
}

// fill leaves only so many percent free; 0 takes the very last block.
func (d *loopDisk) fill(name string, leave int) {
	d.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		d.t.Fatal(err)
	}
	total := int64(s.Blocks-s.Bfree+s.Bavail) * s.Bsize
	size := int64(s.Bavail)*s.Bsize - total*int64(leave)/100
	f, err := os.Create(filepath.Join(d.dir, name))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if leave > 0 {
		if err := syscall.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
			d.t.Fatal(err)
		}
		return
	}
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
}

// fillFiles takes all inodes.
func (d *loopDisk) fillFiles(name string) {
	d.t.Helper()
	dir := filepath.Join(d.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	for i := 0; ; i++ {
		if os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600) != nil {
			return
		}
	}
}

func (d *loopDisk) free(name string) {
	d.t.Helper()
	if err := os.RemoveAll(filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}

// hostOn starts a host whose data lies on d.
func hostOn(d *loopDisk) *host {
	h := placeHost(d.t)
	h.data = filepath.Join(d.dir, "data")
	d.t.Cleanup(h.purge)
	h.start()
	return h
}

// diskLevel awaits that the cluster finds the disk at d to be at level.
func (h *host) diskLevel(d *loopDisk, level cluster.SpaceLevel) {
	h.t.Helper()
	began := time.Now()
	h.await("the disk is "+level.String(), 30*time.Second, func() string {
		var s api.ClusterStatus
		h.into(&s, h.home, "status", "--cluster")
		got := cluster.SpaceAmple
		for _, low := range s.LowSpace {
			if strings.HasPrefix(low.Path, d.dir) {
				got = low.Level
			}
		}
		if got != level {
			return fmt.Sprintf("%+v", s.LowSpace)
		}
		return ""
	})
	h.t.Logf("%s seen after %v", level, time.Since(began).Round(100*time.Millisecond))
}

func TestFaultDiskFull(t *testing.T) {
	d := newLoopDisk(t, 600, 20000)
	h := hostOn(d)
	dir := h.repo("probe")
	h.must(dir, "apps", "create", "blog")
	h.push(dir)
	l := h.load("https://blog.localhost/", "version=v1", 100)

	d.fill("ballast", 15)
	h.diskLevel(d, cluster.SpaceTight)
	h.must(dir, "config", "set", "GREETING=tight") // tight is no reason to refuse
	d.fill("more", 6)
	h.diskLevel(d, cluster.SpaceFull)
	h.refusesBuilds(dir, "GB free)")

	d.fill("last", 0)
	acked, refused := 0, 0
	for i := range 20 {
		_, errs, code := h.paas(dir, "domains", "add", fmt.Sprintf("d%d.example.com", i))
		if code == 0 {
			acked++
			continue
		}
		refused++
		contains(t, "a refused write", errs, "could not be written to disk", d.dir)
	}
	t.Logf("with not a block left: %d writes acknowledged, %d refused", acked, refused)
	var domains []cluster.Domain
	h.into(&domains, dir, "domains")
	for _, n := range []string{"ballast", "more", "last"} {
		d.free(n)
	}
	h.diskLevel(d, cluster.SpaceAmple)
	h.heals(dir, "freed")

	d.fillFiles("files")
	h.diskLevel(d, cluster.SpaceFull)
	h.refusesBuilds(dir, "files left)")
	d.free("files")
	h.diskLevel(d, cluster.SpaceAmple)
	h.heals(dir, "files")
	l.stop(t)

	// After a crash it begins on a disk without a free block, and apps serve.
	d.fill("last", 0)
	h.signal(syscall.SIGKILL)
	h.start()
	h.await("the app serves", 30*time.Second, func() string {
		if code, body := h.get("https://blog.localhost/"); code != 200 {
			return fmt.Sprintf("%d %s", code, body)
		}
		return ""
	})
	h.diskLevel(d, cluster.SpaceFull)
	d.free("last")
	h.diskLevel(d, cluster.SpaceAmple)
	h.heals(dir, "again")
	if s := h.log.String(); strings.Contains(s, "panic") || strings.Contains(s, "goroutine ") {
		t.Errorf("paas up panicked:\n%s", tail(s, 60))
	}
}

// refusesBuilds demands that a push and a deploy are refused with the number.
func (h *host) refusesBuilds(dir, number string) {
	h.t.Helper()
	h.commit(dir, "Refused")
	began := time.Now()
	out, code := h.git(dir, "push", "paas", "main")
	if code == 0 {
		h.t.Fatalf("pushed to a full disk:\n%s", out)
	}
	contains(h.t, "the push", out, "% full", number, "docker builder prune")
	h.t.Logf("push refused after %v", time.Since(began).Round(time.Millisecond))
	_, errs, code := h.paas(dir, "deploy", ".")
	if code != 7 {
		h.t.Fatalf("deploy: exit %d\n%s", code, errs)
	}
	contains(h.t, "the deploy", errs, "% full", number, "docker builder prune")
}

// heals demands that the same process takes writes and pushes again.
func (h *host) heals(dir, greeting string) {
	h.t.Helper()
	h.await("writes are taken again", 30*time.Second, func() string {
		_, errs, code := h.paas(dir, "config", "set", "GREETING="+greeting)
		if code != 0 {
			return errs
		}
		return ""
	})
	h.commit(dir, "Healed "+greeting)
	h.push(dir)
	h.serves("https://blog.localhost/", "greeting="+greeting)
}
