//go:build e2e && faults

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const cuts = 10

// TestFaultPowerLoss cuts the power of the data directory's disk ten times under
// writes, and compares with what was acknowledged.
func TestFaultPowerLoss(t *testing.T) {
	if _, err := exec.LookPath("xfs_io"); err != nil {
		t.Fatal("xfs_io is missing; install it: scripts/host faults")
	}
	d := newLoopDisk(t, 2000, 60000)
	h := hostOn(d)
	dir := h.repo("probe")
	h.must(dir, "apps", "create", "blog")
	h.push(dir)
	known := &acknowledged{domains: map[string]bool{}, refs: map[string]string{}}
	for round := range cuts {
		h.commit(dir, fmt.Sprintf("Round %d", round))
		h.push(dir)
		h.writeUntilDark(d, dir, round, known)
		d.unmount()
		// A copy: a mount namespace that somebody made meanwhile may hold on to the dead
		// file system, and a mount of the same file would find that one.
		next := fmt.Sprintf("%s.%d", d.img, round)
		d.must("cp", "--sparse=always", d.img, next)
		if err := os.Remove(d.img); err != nil {
			t.Fatal(err)
		}
		d.img = next
		d.mount()
		began := time.Now()
		h.start()
		ready := time.Since(began)
		known.check(h, dir)
		sound, bad := blobs(t, filepath.Join(h.data, "registry"))
		if bad != "" {
			t.Errorf("round %d: %s", round, bad)
		}
		h.serves("https://blog.localhost/", "version=v1")
		t.Logf("round %d: %d domains and %d refs acknowledged so far, all there; %d blobs sound; ready after %v", round, len(known.domains), len(known.refs), sound, ready.Round(time.Millisecond))
	}
	h.commit(dir, "After all")
	h.push(dir)
}

// acknowledged is the client's record.
type acknowledged struct {
	mu      sync.Mutex
	domains map[string]bool   // guarded by mu
	refs    map[string]string // branch → commit; guarded by mu
}

// writeUntilDark cuts the power at a random moment of writes, and kills paas.
func (h *host) writeUntilDark(d *loopDisk, dir string, round int, known *acknowledged) {
	h.t.Helper()
	var work sync.WaitGroup
	dark, stored := make(chan struct{}), make(chan struct{}, 1)
	write := func(each func(n int) bool) {
		work.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-dark:
					return
				default:
				}
				if !each(n) {
					return
				}
			}
		})
	}
	for w := range 2 {
		write(func(n int) bool {
			name := fmt.Sprintf("r%d-w%d-n%d.example.com", round, w, n)
			if _, _, code := h.paas(dir, "domains", "add", name); code != 0 {
				return false
			}
			known.mu.Lock()
			defer known.mu.Unlock()
			known.domains[name] = true
			return true
		})
	}
	write(func(n int) bool {
		branch := fmt.Sprintf("r%d-n%d", round, n)
		h.commit(dir, branch)
		commit, _ := h.git(dir, "rev-parse", "HEAD")
		if _, code := h.git(dir, "push", "-q", "paas", "HEAD:refs/heads/"+branch); code != 0 {
			return false
		}
		known.mu.Lock()
		defer known.mu.Unlock()
		known.refs["refs/heads/"+branch] = strings.TrimSpace(commit)
		select {
		case stored <- struct{}{}:
		default:
		}
		return true
	})
	// Each round has something to lose: a branch and two domains, and whatever is
	// acknowledged, or nearly, until a random moment after them. In every second one
	// that is the moment in which another branch was acknowledged.
	h.await("something acknowledged in this round", time.Minute, func() string {
		if domains, refs := known.ofRound(round); domains < 2 || refs < 1 {
			return fmt.Sprintf("%d domains, %d refs", domains, refs)
		}
		return ""
	})
	if round%2 == 0 {
		select { // the one before
		case <-stored:
		default:
		}
		<-stored
	} else {
		<-time.After(rand.N(1500 * time.Millisecond))
	}
	d.must("xfs_io", "-x", "-c", "shutdown", d.dir)
	h.signal(syscall.SIGKILL)
	close(dark)
	work.Wait()
}

// ofRound counts what was acknowledged in one round.
func (k *acknowledged) ofRound(round int) (domains, refs int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.domains {
		if strings.HasPrefix(name, fmt.Sprintf("r%d-", round)) {
			domains++
		}
	}
	for ref := range k.refs {
		if strings.HasPrefix(ref, fmt.Sprintf("refs/heads/r%d-", round)) {
			refs++
		}
	}
	return domains, refs
}

// check demands that everything acknowledged is there.
func (k *acknowledged) check(h *host, dir string) {
	h.t.Helper()
	export := h.must(h.home, "cluster", "export")
	for name := range k.domains {
		if !strings.Contains(export, `"`+name+`"`) {
			h.t.Errorf("acknowledged domain %s is lost", name)
		}
	}
	repo := filepath.Join(h.data, "git", "blog.git")
	out, code := h.git(dir, "ls-remote", "paas")
	if code != 0 {
		why, _ := h.git(dir, "-c", "safe.directory=*", "ls-remote", repo)
		files, _, _ := h.run(repo, "", "find", ".", "-size", "0", "-type", "f", "-ls")
		h.t.Fatalf("ls-remote: %s\n%s\n%s", out, why, files)
	}
	for ref, commit := range k.refs {
		if !strings.Contains(out, commit+"\t"+ref+"\n") {
			h.t.Errorf("acknowledged %s at %s is lost", ref, commit)
		}
	}
	if out, code := h.git(dir, "--git-dir", repo, "-c", "safe.directory=*", "fsck", "--full", "--no-dangling", "--no-progress"); code != 0 {
		h.t.Errorf("git fsck: exit %d\n%s", code, tail(out, 20))
	}
}

// blobs compares every blob of a registry with its name.
func blobs(t testing.TB, dir string) (sound int, bad string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "data" || !strings.Contains(path, "/blobs/sha256/") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		if want := filepath.Base(filepath.Dir(path)); hex.EncodeToString(sum.Sum(nil)) != want {
			bad = "blob " + want + " is damaged"
		}
		sound++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sound, bad
}
