//go:build e2e && faults

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// flapping is an app whose checks fail though it serves.
type flapping struct {
	path   string
	least  int // replicas that run and can be asked, at every moment
	lasts  time.Duration
	should string // in the app's ps at some time
}

// TestFaultFlappingChecks has checks that fail every second time, for long in all
// replicas, and for long in half of them.
func TestFaultFlappingChecks(t *testing.T) {
	t.Run("every second time", func(t *testing.T) {
		flapping{path: "/flap", least: 2, lasts: 40 * time.Second, should: "healthy"}.run(t)
	})
	t.Run("all at the same time", func(t *testing.T) {
		flapping{path: "/tide", least: 2, lasts: 75 * time.Second, should: "to be replaced"}.run(t)
	})
	t.Run("half of them", func(t *testing.T) {
		flapping{path: "/tide?only=web.1", least: 2, lasts: 75 * time.Second, should: "to be replaced"}.run(t)
	})
}

func (f flapping) run(t *testing.T) {
	h := newHost(t)
	dir := h.repo("probe")
	h.must(dir, "apps", "create", "flappy")
	h.push(dir)
	h.must(dir, "scale", "web=2")
	// The check changes while it passes: a deploy of what fails its check is refused.
	h.write(dir, "paas.toml", fmt.Sprintf("[process.web]\ncommand = \"/probe\"\nmemory = \"64M\"\ncheck = { kind = \"http\", path = %q, interval = \"1s\", failures = 2 }\n", f.path))
	h.commit(dir, "Another check")
	h.await("the check is changed at high tide", 3*time.Minute, func() string {
		if code, body := h.get("https://flappy.localhost" + f.path); code != 200 || time.Now().Unix()%12 > 3 {
			return body
		}
		if out, code := h.git(dir, "push", "paas", "main"); code != 0 {
			return out // the tide fell before the rollout was done
		}
		return ""
	})
	load := h.load("https://flappy.localhost/", "instance=web.", 50)
	defer load.stop(t)
	least, said := h.watchReplicas(dir, f.lasts)
	t.Logf("at least %d replicas could be asked, in %d looks; %d requests", least, len(said), load.count())
	if least < f.least {
		t.Errorf("only %d replicas could be asked at one time, want %d", least, f.least)
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, f.should) {
		t.Errorf("paas ps never said %q:\n%s", f.should, all[:min(len(all), 4000)])
	}
}

// watchReplicas looks at an app up to ten times a second: the fewest replicas that
// ran and could be asked, and what paas ps said.
func (h *host) watchReplicas(dir string, lasts time.Duration) (least int, said []string) {
	h.t.Helper()
	least = 1 << 30
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(lasts); time.Now().Before(end); <-tick.C {
		out, _, code := h.paas(dir, "ps", "--json")
		var ps psList
		if code != 0 || json.Unmarshal([]byte(out), &ps) != nil {
			continue
		}
		n := 0
		for _, a := range ps.Allocations {
			if s := a.Observed.State; a.Desired == "run" && (s == "healthy" || s == "unhealthy") {
				n++
			}
		}
		least = min(least, n)
		said = append(said, out)
	}
	return least, said
}
