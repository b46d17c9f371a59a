package server

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

// BenchmarkHundredsOfHosts is what a server spends on many agents: PAAS_BENCH_HOSTS
// (300) of them, in this process and over real sessions, whose containers are healthy
// at once, run two replicas each. Figures contain what the agents' ends of
// the sessions cost.
func BenchmarkHundredsOfHosts(b *testing.B) {
	hosts := 300
	if n, err := strconv.Atoi(os.Getenv("PAAS_BENCH_HOSTS")); err == nil && n > 0 {
		hosts = n
	}
	for b.Loop() {
		h := newHost(b)
		h.populate(hosts)
		h.createApp("shop")
		h.mustDeploy("shop", procfile("web: ok\n"))
		spend := func(what string, do func()) {
			began, cpu := time.Now(), processTime()
			do()
			b.ReportMetric(time.Since(began).Seconds(), what+"-s")
			b.ReportMetric((processTime() - cpu).Seconds(), what+"-cpu-s")
		}
		spend("scale", func() { h.scaleTo("shop", 2*hosts) })
		spend("update", func() {
			h.mustDeploy("shop", procfile("web: ok 2\n"))
			h.allRun("shop", 2*hosts)
		})
		cpu := processTime()
		<-time.After(10 * time.Second)
		b.ReportMetric((processTime()-cpu).Seconds()*10, "idle-cpu-%")
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap-MB")
		b.ReportMetric(0, "ns/op")
	}
}

func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// populate lets n agents join, in three zones, and waits until all are up.
func (h *host) populate(n int) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	h.t.Cleanup(func() { cancel(); work.Wait() })
	for i := range n {
		zone := string("abc"[i%3])
		node, _, err := api.Enter(h.t.Context(), h.joinString(identity.RoleAgent), newKey(h.t), api.JoinRequest{Role: identity.RoleAgent, Name: fmt.Sprintf("agent-%d", i), Zone: zone, Address: "10.9.8.7:7443", Apps: true,
			IPs: []netip.Addr{netip.MustParseAddr("10.9.8.7")}})
		if err != nil {
			h.t.Fatal(err)
		}
		a := newStubAgent(h.t)
		a.node, a.zone = node, zone
		work.Go(func() { a.run(ctx, h.server) })
	}
	h.eventually("all are up", func() bool {
		up := 0
		for x := range h.server.store.State().Nodes() {
			if x.State == cluster.NodeUp {
				up++
			}
		}
		return up == n+1
	})
}

// scaleTo scales and waits until all replicas run.
func (h *host) scaleTo(app cluster.AppName, n int) {
	h.t.Helper()
	if _, err := h.client.Scale(h.t.Context(), app, api.Scale{Changes: []api.ScaleChange{{Type: "web", Quantity: n}}}); err != nil {
		h.t.Fatal(err)
	}
	h.allRun(app, n)
}

func (h *host) allRun(app cluster.AppName, n int) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("%d replicas run", n), func() bool {
		well, st := 0, h.server.store.State()
		current, _ := st.App(app)
		for a := range st.AllocationsOf(app) {
			if a.Desired == cluster.DesiredRun && a.Observed.State == cluster.AllocationHealthy && a.Release == current.Current {
				well++
			}
		}
		return well == n
	})
}

// eventually is await for what takes long and must not be disturbed by looking.
func (h *host) eventually(what string, cond func() bool) {
	h.t.Helper()
	deadline := time.After(5 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			h.t.Fatalf("waited in vain: %s", what)
		}
	}
}
