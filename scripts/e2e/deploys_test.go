//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"
)

// drill deploys an app of two replicas again and again while it is asked.
type drill struct {
	rate    int // requests a second
	deploys int
	atLeast int           // requests
	slow    time.Duration // one request takes as long, at all times
	drain   time.Duration // of the app; longer than slow
}

// TestDeploysUnderLoad is the short drill; TestFaultDeploysUnderLoad the long one.
func TestDeploysUnderLoad(t *testing.T) {
	drill{rate: 60, deploys: 3, atLeast: 1000, slow: 5 * time.Second, drain: time.Minute}.run(t)
}

func (d drill) run(t *testing.T) {
	h := newHost(t)
	dir := h.drillApp("busy", d.drain)
	other := h.repo("probe")
	h.must(other, "apps", "create", "bystander")
	h.push(other)
	// Deferred: what the load met is wanted most of all when a deploy fails.
	busy := h.load("https://busy.localhost/", "instance=web.", d.rate)
	defer busy.stop(t)
	neighbour := h.load("https://bystander.localhost/", "instance=web.1", 5)
	defer neighbour.stop(t)
	mine, others := h.streams("busy", d.slow), h.streams("bystander", d.slow)
	defer mine.stop(t, d.drain)
	defer others.stop(t, forever)
	for i := range d.deploys {
		began := time.Now()
		if i%2 == 0 {
			h.write(dir, "Dockerfile", fmt.Sprintf("FROM scratch\nCOPY probe /probe\nENV VERSION=%d\nCMD [\"/probe\"]\n", i))
			h.commit(dir, fmt.Sprint("Version ", i))
			h.push(dir)
			h.serves("https://busy.localhost/env?key=VERSION", fmt.Sprint(i))
		} else {
			h.must(dir, "config", "set", fmt.Sprint("GREETING=number ", i))
			h.serves("https://busy.localhost/", fmt.Sprint("greeting=number ", i))
		}
		t.Logf("deploy %d took %v", i+1, time.Since(began).Round(10*time.Millisecond))
	}
	h.must(dir, "rollback", fmt.Sprintf("v%d", d.deploys), "--yes")
	h.serves("https://busy.localhost/", fmt.Sprintf("release=v%d", d.deploys+2))
	within := time.Duration(d.atLeast/d.rate)*time.Second + 2*time.Minute
	h.await("enough requests", within, func() string {
		if n := busy.count(); n < d.atLeast {
			return fmt.Sprint(n)
		}
		return ""
	})
}

// drillApp deploys the probe as v1 and scales it to two replicas.
func (h *host) drillApp(name string, drain time.Duration) (dir string) {
	h.t.Helper()
	dir = h.repo("probe")
	h.write(dir, "paas.toml", fmt.Sprintf("[deploy]\ndrain = %q\n[process.web]\ncommand = \"/probe\"\nmemory = \"64M\"\n", drain.String()))
	h.commit(dir, "Small replicas")
	h.must(dir, "apps", "create", name)
	h.push(dir)
	h.must(dir, "scale", "web=2")
	h.await("two replicas", time.Minute, func() string {
		var ps psList
		h.into(&ps, dir, "ps")
		if ps.healthy("web") != 2 {
			return fmt.Sprintf("%+v", ps)
		}
		return ""
	})
	return dir
}
