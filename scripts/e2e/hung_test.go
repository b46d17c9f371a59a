//go:build e2e

package e2e

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHungReplica: one of two replicas is stopped by a signal. Its kernel takes
// connections, so it passes its check. It is left out, people are told, nothing is
// ended, and when it answers again it is as if nothing had been.
func TestHungReplica(t *testing.T) {
	h := newHost(t)
	dir := h.repo("probe")
	h.must(dir, "apps", "create", "sleepy")
	h.push(dir)
	h.must(dir, "scale", "web=2")
	before := h.containers("sleepy")
	if code, body := h.get("https://sleepy.localhost/freeze"); code != 200 {
		t.Fatalf("freeze: %d %q", code, body)
	}
	began := time.Now()
	quick := *h.client
	quick.Timeout = 500 * time.Millisecond
	var said string
	h.await("paas ps says it", 30*time.Second, func() string {
		_ = ask(&quick, "https://sleepy.localhost/", "") // only what is asked is known to be silent
		said = h.must(dir, "ps")
		if strings.Contains(said, "healthy, not answering for ") {
			return ""
		}
		return said
	})
	t.Logf("told %v after it hangs\n%s", time.Since(began).Round(10*time.Millisecond), said)
	_, warned, _ := h.paas(dir, "status")
	contains(t, "paas status", warned, "takes requests and has answered none for", "the others get them", "paas restart -a sleepy")
	for range 40 {
		h.serves("https://sleepy.localhost/", "version=v1")
	}
	if now := h.containers("sleepy"); now != before {
		t.Errorf("containers:\n%s→\n%s", before, now)
	}
	h.wake("sleepy")
	h.await("paas ps says that it answers", 30*time.Second, func() string {
		if said = h.must(dir, "ps"); strings.Contains(said, "not answering") {
			return said
		}
		return ""
	})
}

// wake continues the stopped processes of an app's containers.
func (h *host) wake(app string) {
	h.t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(h.containers(app)), "\n") {
		id, _, _ := strings.Cut(line, " ")
		out, _, _ := h.run(h.home, "", "docker", "top", id, "-eo", "pid,comm")
		for _, process := range strings.Split(out, "\n")[1:] {
			f := strings.Fields(process)
			if pid, err := strconv.Atoi(append(f, "")[0]); err == nil {
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		}
	}
}
