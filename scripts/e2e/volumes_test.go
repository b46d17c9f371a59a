//go:build e2e

package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestVolumes is the life of a volume on one host: what is written once is there
// after every release, restart and crash, after the app and after a purge, until
// somebody destroys exactly it.
func TestVolumes(t *testing.T) {
	h := newHost(t)
	dir := h.repo("static")
	url := "https://vols.localhost/"
	page := func(text string) {
		h.write(dir, "Dockerfile", "FROM busybox\nRUN mkdir -p /data && echo "+text+" > /data/index.html\n")
		h.commit(dir, text)
	}
	h.write(dir, "Procfile", "web: httpd -f -p $PORT -h /data\n")
	page("image-one")
	h.must(dir, "apps", "create", "vols")
	h.must(dir, "volumes", "create", "data")
	h.must(dir, "volumes", "attach", "data", "/data")
	h.push(dir)
	h.serves(url, "image-one") // an empty volume begins with what the image has
	h.must(dir, "exec", "web.1", "--", "sh", "-c", "echo kept > /data/index.html")
	h.serves(url, "kept")

	page("image-two")
	h.push(dir)
	h.serves(url, "kept")
	h.must(dir, "restart")
	h.serves(url, "kept")
	h.must(dir, "rollback", "v1", "--yes")
	h.serves(url, "kept")
	before := h.containers("vols")
	h.signal(syscall.SIGKILL)
	h.start()
	h.serves(url, "kept")
	if after := h.containers("vols"); after != before {
		t.Fatalf("containers changed:\n%s→\n%s", before, after)
	}
	volumeRefusals(t, h, dir)

	h.must(dir, "volumes", "detach", "data")
	h.serves(url, "image-one")
	h.must(dir, "volumes", "attach", "data", "/data")
	h.serves(url, "kept")
	h.must(dir, "apps", "destroy", "-a", "vols", "--confirm", "vols")
	contains(t, "volumes of an app that is gone", h.must(dir, "volumes", "list", "--all"), "vols", "data")
	contains(t, "volumes of that app", h.must(dir, "volumes", "list", "-a", "vols"), "its app is gone")

	h.must(dir, "apps", "create", "vols")
	h.must(dir, "volumes", "attach", "data", "/data")
	h.push(dir)
	h.serves(url, "kept")
	h.must(dir, "volumes", "detach", "data")
	id := h.cluster()
	if got := volumesOf(h, id); got == "" {
		t.Fatal("no volume is there to be destroyed")
	}
	h.must(dir, "volumes", "destroy", "data", "--confirm", "data")
	h.await("the data is gone", 20*time.Second, func() string { return volumesOf(h, id) })
	volumesAfterPurge(t, h, dir, id)
}

// volumeRefusals are what would lose data, or have two writers.
func volumeRefusals(t *testing.T, h *host, dir string) {
	for _, c := range []struct {
		line string
		code int
		says string
	}{
		{"scale web=2", 5, "volume data is attached to it"},
		{"volumes destroy data --confirm data", 5, "detach it first"},
		{"volumes destroy data --confirm date", 2, "repeat it"},
		{"volumes create data", 5, "already"},
		{"volumes attach data /more --detach", 5, "detach it first"},
		{"volumes create other --node nowhere", 3, "paas nodes"},
	} {
		if out, errs, code := h.paas(dir, strings.Fields(c.line)...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("paas %s: exit %d, want %d with %q\n%s%s", c.line, code, c.code, c.says, out, errs)
		}
	}
	h.must(dir, "volumes", "create", "etc")
	if _, errs, code := h.paas(dir, "volumes", "attach", "etc", "/etc/x", "--detach"); code != 2 {
		t.Errorf("a volume in /etc: exit %d\n%s", code, errs)
	}
	h.must(dir, "volumes", "destroy", "etc", "--confirm", "etc")
}

// volumesOf are the engine's volumes of a cluster.
func volumesOf(h *host, id string) string {
	h.t.Helper()
	out, _, _ := h.run(h.home, "", "docker", "volume", "ls", "-q", "--filter", "label=paas.cluster="+id)
	return strings.TrimSpace(out)
}

// volumesAfterPurge: a purge says what it leaves.
func volumesAfterPurge(t *testing.T, h *host, dir, id string) {
	h.must(dir, "volumes", "create", "last")
	h.must(dir, "volumes", "attach", "last", "/data")
	name := volumesOf(h, id)
	if name == "" {
		t.Fatal("the attached volume was not made")
	}
	h.signal(syscall.SIGTERM)
	out, errs, code := h.paas(h.home, "down", "--purge", "--yes", "--data", h.data)
	if code != 0 || !strings.Contains(out+errs, "docker volume rm "+name) {
		t.Errorf("purge: exit %d\n%s%s", code, out, errs)
	}
	if left := volumesOf(h, id); left != name {
		t.Errorf("a purge leaves %q of %q", left, name)
	}
	h.run(h.home, "", "docker", "volume", "rm", name)
	if left, err := os.ReadDir(h.data); err == nil {
		t.Errorf("a purge leaves %v in the data directory", left)
	}
}
