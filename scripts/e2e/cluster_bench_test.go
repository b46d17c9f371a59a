//go:build e2e && bench

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestBenchCluster prints what Swarm and Nomad were measured at on this test bed,
// in the same units: 5 hosts, of which 3 are servers, an app FROM scratch that every
// host has; "answering" is that each replica has answered a request from host 0. The
// floor is the same number of containers, created and started by hand through the
// engines' API, in the same run. Like every benchmark it fails only where something
// does not work.
func TestBenchCluster(t *testing.T) {
	f := newFleet(t, plan{kind: "bench", servers: 3, agents: 2})
	b := &clusterBench{f: f, entry: f.through(f.members[3]), routers: map[*member]*http.Client{}}
	b.idle("before any app")
	b.dir = f.deployProbe("shop", 10)
	b.images()
	f.must(b.dir, "scale", "web=0")
	f.exactly("shop", 0, time.Minute)
	floor10, floor40, ten, fifty := b.starts()
	t.Logf("10 replicas, command to all answering: %s (target ≤ 3s; Nomad 3.5s on 2 hosts, Swarm 6.2s); bare engines %s", spread(ten), spread(floor10))
	t.Logf("10 → 50: %s (target ≤ 10s; Nomad 12.7s, Swarm 15.1s); 40 on bare engines %s", spread(fifty), spread(floor40))
	b.update()
	b.hostLost()
	b.leaderLost()
	b.idle("after all of it")
}

// clusterBench is the state of a run.
type clusterBench struct {
	f       *fleet
	entry   *host
	dir     string
	image   map[*member]string
	routers map[*member]*http.Client
}

func spread(all []time.Duration) string {
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("median %v, min %v, max %v, n=%d", ms(percentile(all, 50)), ms(slices.Min(all)), ms(slices.Max(all)), len(all))
}

// idle prints the resident memory of the processes.
func (b *clusterBench) idle(when string) {
	for _, m := range b.f.members {
		b.f.t.Logf("idle memory %s: %s (%s) %d MB RSS", when, m.name, m.role, m.rss()/1_000_000)
	}
}

// images finds the app's image on each host.
func (b *clusterBench) images() {
	b.image = map[*member]string{}
	for _, m := range b.f.members {
		ids, err := m.docker("ps", "-q", "--filter", "label=paas.app=shop")
		if err != nil || ids == "" {
			b.f.t.Fatalf("%s runs no replica: %v", m.name, err)
		}
		out, err := m.docker("inspect", "--format", "{{.Image}}", strings.Fields(ids)[0])
		if err != nil {
			b.f.t.Fatal(out)
		}
		b.image[m] = strings.TrimSpace(out)
	}
}

// starts measures, in turn, so that all meet the same machine.
func (b *clusterBench) starts() (floor10, floor40, ten, fifty []time.Duration) {
	for range rounds {
		floor10 = append(floor10, b.byHand(10))
		ten = append(ten, b.scale(10))
		fifty = append(fifty, b.scale(50))
		b.f.must(b.dir, "scale", "web=0")
		b.f.exactly("shop", 0, 2*time.Minute)
		floor40 = append(floor40, b.byHand(40))
	}
	return floor10, floor40, ten, fifty
}

// scale runs the command and waits until so many replicas have answered.
func (b *clusterBench) scale(n int) time.Duration {
	began := time.Now()
	b.f.must(b.dir, "scale", fmt.Sprintf("web=%d", n))
	b.allAnswer(n, nil, 2*time.Minute)
	return time.Since(began)
}

// allAnswer waits until n containers, none of old, have answered through the routers.
func (b *clusterBench) allAnswer(n int, old map[string]bool, within time.Duration) map[string]bool {
	b.f.t.Helper()
	var mu sync.Mutex
	met := map[string]bool{}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var work sync.WaitGroup
	for _, m := range b.f.members {
		if !m.running() {
			continue
		}
		c := b.router(m)
		work.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for ; ctx.Err() == nil; <-tick.C {
				id := whoAnswers(c, "shop")
				mu.Lock()
				if id != "" && !old[id] {
					met[id] = true
				}
				done := len(met) >= n
				mu.Unlock()
				if done {
					cancel()
				}
			}
		})
	}
	work.Wait()
	if len(met) < n {
		b.f.t.Fatalf("%d of %d replicas answered within %v", len(met), n, within)
	}
	return met
}

// router is a client that keeps its connections to m's router.
func (b *clusterBench) router(m *member) *http.Client {
	if b.routers[m] == nil {
		b.routers[m] = b.f.through(m).client
	}
	return b.routers[m]
}

// byHand creates and starts n containers, round robin over the hosts, all at once,
// and waits until each has answered at its published port.
func (b *clusterBench) byHand(n int) time.Duration {
	f := b.f
	var ids [64]string
	var work sync.WaitGroup
	began := time.Now()
	for i := range n {
		m := f.members[i%len(f.members)]
		work.Go(func() {
			id, err := b.startByHand(m)
			if err != nil {
				f.t.Error(err)
			}
			ids[i] = id
		})
	}
	work.Wait()
	took := time.Since(began)
	for i := range n {
		m := f.members[i%len(f.members)]
		work.Go(func() { _, _ = m.docker("rm", "-f", ids[i]) })
	}
	work.Wait()
	return took
}

// engineAPI is a client of a host's engine.
func (m *member) engineAPI() *http.Client {
	socket := "/run/testbed-" + m.f.bed.id + "/" + m.name + "/run/docker.sock"
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

func (b *clusterBench) startByHand(m *member) (id string, err error) {
	c := m.engineAPI()
	do := func(method, path string, in, out any) error {
		var body []byte // none at all to start: some would be a configuration
		if in != nil {
			var err error
			if body, err = json.Marshal(in); err != nil {
				return err
			}
		}
		req, err := http.NewRequest(method, "http://engine"+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := c.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode >= 300 {
			return fmt.Errorf("%s: %d %s %w", path, res.StatusCode, text, err)
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(text, out)
	}
	var made struct{ Id string }
	if err := do("POST", "/containers/create", map[string]any{"Image": b.image[m], "Env": []string{"PORT=8080"},
		"ExposedPorts": map[string]any{"8080/tcp": map[string]any{}},
		"HostConfig":   map[string]any{"PortBindings": map[string]any{"8080/tcp": []any{map[string]any{}}}}}, &made); err != nil {
		return "", err
	}
	if err := do("POST", "/containers/"+made.Id+"/start", nil, nil); err != nil {
		return made.Id, err
	}
	var shown struct {
		NetworkSettings struct {
			Ports map[string][]struct{ HostPort string }
		}
	}
	if err := do("GET", "/containers/"+made.Id+"/json", nil, &shown); err != nil {
		return made.Id, err
	}
	ports := shown.NetworkSettings.Ports["8080/tcp"]
	if len(ports) == 0 {
		return made.Id, fmt.Errorf("%s on %s runs no more", made.Id, m.name)
	}
	to := m.addr + ":" + ports[0].HostPort
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return b.f.bed.dial(ctx, "0", to)
	}}}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ask(client, "http://replica/", "version=") != ""; <-tick.C {
		if time.Now().After(deadline) {
			return made.Id, fmt.Errorf("%s on %s does not answer", made.Id, m.name)
		}
	}
	return made.Id, nil
}

// update changes the config of ten replicas under load.
func (b *clusterBench) update() {
	f := b.f
	b.scale(10)
	var took []time.Duration
	for i := range rounds {
		old := b.allAnswer(10, nil, time.Minute)
		traffic := b.entry.load("https://shop.localhost/", "version=", 100)
		began := time.Now()
		f.must(b.dir, "config", "set", fmt.Sprintf("GREETING=round-%d", i))
		b.allAnswer(10, old, 3*time.Minute)
		took = append(took, time.Since(began))
		f.healthy("shop", 10, time.Minute)
		traffic.stop(f.t)
	}
	f.t.Logf("rolling update of 10 under 100 requests/s, all new answering: %s (Swarm 14.8s + 5s, mostly 0 failed)", spread(took))
}

// hostLost pulls the plug of a host with replicas.
func (b *clusterBench) hostLost() {
	f := b.f
	var took []time.Duration
	for range rounds {
		m := f.members[4]
		f.await("the host has replicas", 5*time.Minute, func() string {
			if len(shortIDs(m, "shop")) == 0 {
				return "none"
			}
			return ""
		})
		dead := map[string]bool{}
		for _, id := range shortIDs(m, "shop") {
			dead[id] = true
		}
		traffic := b.entry.load("https://shop.localhost/", "version=", 50)
		began, ended := m.powerOff()
		b.allAnswer(10, dead, 2*time.Minute)
		took = append(took, time.Since(began))
		traffic.stopButFor(f.t, inFlight(span{began, ended}))
		m.powerOn()
		f.allUp(30 * time.Second)
		f.healthy("shop", 10, time.Minute)
	}
	f.t.Logf("host lost, 10 answering elsewhere: %s (target ≤ 7s; Swarm 18.3s, Nomad 26.9s)", spread(took))
}

// leaderLost kills the leading process and waits for the first acknowledged write.
func (b *clusterBench) leaderLost() {
	f := b.f
	l := f.newLedger("ledger")
	var took []time.Duration
	for range 5 {
		f.await("something is acknowledged", 30*time.Second, func() string {
			if l.acknowledged() == 0 {
				return "nothing"
			}
			return ""
		})
		killed, first, _ := f.killLeader(l)
		took = append(took, first)
		killed.start()
		f.allUp(30 * time.Second)
	}
	l.check()
	f.t.Logf("leader killed, a write is acknowledged: %s (target ≤ 1s; Nomad 3.2s, Swarm 12.1s)", spread(took))
}
