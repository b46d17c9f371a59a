//go:build e2e && faults

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFaultClusterImages pushes to one server: replicas run on every host, one without
// a server among them, and every server has the image. What is damaged on a server's
// disk is never run, and made good; the leader that built everything is killed, and a
// rollback works.
func TestFaultClusterImages(t *testing.T) {
	f := newFleet(t, plan{servers: 3, agents: 1})
	dir := f.repo("probe")
	f.must(dir, "apps", "create", "shop")
	began := time.Now()
	out := f.push(dir)
	if !regexp.MustCompile(`Image is on [23] of 3 servers`).MatchString(out) {
		t.Errorf("the push says nothing of copies:\n%s", out)
	}
	t.Logf("first push: %v", time.Since(began).Round(time.Millisecond))
	f.must(dir, "scale", "web=4")
	list := f.healthy("shop", 4, 90*time.Second)
	on := map[string]bool{}
	for _, r := range list {
		on[r.Node] = true
	}
	if !on["h4"] {
		t.Errorf("no replica runs on the host without a server:\n%s", lines(list))
	}
	f.copied(60 * time.Second)

	victim := f.followers()[0]
	damaged := victim.damage()
	victim.end(syscall.SIGTERM)
	victim.start()
	f.allUp(60 * time.Second)
	f.await("what was damaged is whole", 90*time.Second, func() string {
		for path, sum := range damaged {
			if got := sumOf(path); got != sum {
				return fmt.Sprintf("%s has %s", path, got)
			}
		}
		return ""
	})

	if err := os.WriteFile(filepath.Join(dir, "second.txt"), []byte("second\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.commit(dir, "second")
	f.push(dir)
	f.healthy("shop", 4, 90*time.Second)
	lead := f.leader()
	lead.end(syscall.SIGKILL)
	var back string
	f.await("another server leads", 30*time.Second, func() string {
		for _, m := range f.servers() {
			if m == lead {
				continue
			}
			var errs string
			var code int
			if back, errs, code = f.via(m).paas(dir, "rollback", "v1", "-a", "shop", "--yes"); code == 0 {
				return ""
			} else if errs != "" {
				return errs
			}
		}
		return "nobody answers"
	})
	t.Logf("rolled back: %s", strings.TrimSpace(back))
	lead.start()
	f.allUp(60 * time.Second)
	f.healthy("shop", 4, 90*time.Second)
	f.copied(60 * time.Second)
}

// blobs are the files of m's registry.
func (m *member) blobs() []string {
	all, err := filepath.Glob(filepath.Join(m.data(), "registry/blobs/docker/registry/v2/blobs/sha256/*/*/data"))
	if err != nil {
		m.f.t.Fatal(err)
	}
	return all
}

// copied waits until all servers have the same blobs.
func (f *fleet) copied(within time.Duration) {
	f.t.Helper()
	f.await("every server has the images", within, func() string {
		want := ""
		for _, m := range f.servers() {
			var have []string
			for _, path := range m.blobs() {
				have = append(have, filepath.Base(filepath.Dir(path)))
			}
			switch got := strings.Join(have, " "); {
			case got == "":
				return m.name + " has none"
			case want == "":
				want = got
			case got != want:
				return fmt.Sprintf("%s has %d blobs, others have others", m.name, len(have))
			}
		}
		return ""
	})
}

// damage flips a bit in every blob of m's registry; it returns what they were.
func (m *member) damage() map[string]string {
	m.f.t.Helper()
	sums := map[string]string{}
	for _, path := range m.blobs() {
		data, err := os.ReadFile(path)
		if err == nil {
			sums[path] = sumOf(path)
			data = bytes.Clone(data)
			data[len(data)/2] ^= 1
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			m.f.t.Fatal(err)
		}
	}
	return sums
}

// sumOf is a file's SHA-256, "" without one.
func sumOf(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
