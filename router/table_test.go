package router

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"paas/cluster"
)

// TestDrainedReplicaNeverSeesAnotherRequest is the promise that the rest of the
// system is built on. Tables change at random under load over kept-alive
// connections of both protocols. Once Status says that a replica is out, its
// handler fails the test if it is called.
func TestDrainedReplicaNeverSeesAnotherRequest(t *testing.T) {
	const replicas = 6
	r := start(t, newStore(t), nil)
	var out [replicas]atomic.Bool
	var served [replicas]atomic.Int64
	var ups []cluster.Upstream
	for i := range replicas {
		ups = append(ups, backend(t, cluster.AllocationID(fmt.Sprintf("a-%d", i)), http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			// A request whose client gave up may still arrive: nobody waits for it.
			if out[i].Load() && req.Header.Get("X-Abandoned") == "" {
				t.Errorf("replica %d got a request after it was drained", i)
			}
			served[i].Add(1)
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(w, "ok")
		})))
	}
	r.SetTable(tableOf(1, routeTo("a.localhost", ups...)))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range 16 {
		c := r.client(t)
		if i%2 == 0 {
			c = r.client1(t)
		}
		wg.Go(func() { hammer(ctx, t, c) })
	}
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	total := func() (n int64) {
		for i := range served {
			n += served[i].Load()
		}
		return n
	}
	for index := range rounds {
		before := total()
		await(t, "some load", func() bool { return total() > before+20 })
		changeTable(t, r, uint64(index+2), ups, out[:])
	}
	cancel()
	wg.Wait()
	for i := range served {
		if served[i].Load() == 0 {
			t.Errorf("replica %d served nothing", i)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.upstreams) > replicas {
		t.Errorf("%d upstreams are kept for %d replicas", len(r.upstreams), replicas)
	}
}

// changeTable installs a random non-empty subset and waits until the rest is drained.
func changeTable(t *testing.T, r *running, index uint64, ups []cluster.Upstream, out []atomic.Bool) {
	t.Helper()
	in := make([]bool, len(ups))
	in[rand.IntN(len(ups))] = true
	var next []cluster.Upstream
	for i := range ups {
		if in[i] = in[i] || rand.IntN(2) == 0; in[i] {
			out[i].Store(false)
			next = append(next, ups[i])
		}
	}
	r.SetTable(tableOf(index, routeTo("other.localhost"), routeTo("a.localhost", next...)))
	for i := range ups {
		if in[i] {
			continue
		}
		await(t, "a replica to drain", func() bool {
			s := r.Status()
			return s.Index >= index && s.InFlight[ups[i].Allocation] == 0
		})
		out[i].Store(true)
	}
}

// hammer sends requests until ctx ends. All must succeed, but those that it abandons.
func hammer(ctx context.Context, t *testing.T, c *http.Client) {
	for n := 0; ctx.Err() == nil; n++ {
		rctx, cancel := context.WithCancel(context.Background())
		method := []string{"GET", "POST"}[n%2]
		req, _ := http.NewRequestWithContext(rctx, method, "https://a.localhost/", nil)
		if n%7 == 0 {
			req.Header.Set("X-Abandoned", "1")
			time.AfterFunc(time.Duration(rand.IntN(500))*time.Microsecond, cancel)
		}
		resp, err := c.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if err == nil && resp.StatusCode != 200 {
				t.Errorf("%s = %d", method, resp.StatusCode)
			}
		}
		if err != nil && rctx.Err() == nil {
			t.Errorf("%s: %v", method, err)
		}
		cancel()
	}
}

func TestHoldAndRetireNeverOverlap(t *testing.T) {
	for range 2000 {
		u := &upstream{transport: &http.Transport{}, changed: func() {}}
		var after atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if u.hold() {
					if after.Load() {
						t.Error("held after it was seen empty")
					}
					u.release()
				}
			})
		}
		u.retire()
		if u.load() == 0 {
			after.Store(true)
		}
		wg.Wait()
		if u.held.Load() != retiredBit {
			t.Fatalf("held = %x", u.held.Load())
		}
	}
}

func TestRequestsInFlightFinishOnARemovedReplica(t *testing.T) {
	r := start(t, newStore(t), nil)
	entered, finish := make(chan struct{}), make(chan struct{})
	old := backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		entered <- struct{}{}
		<-finish
		_, _ = io.WriteString(w, "old")
	}))
	r.SetTable(tableOf(5, routeTo("a.localhost", old)))
	<-r.Changed()
	c := r.client(t)
	got := make(chan string)
	go func() {
		resp, err := c.Get("https://a.localhost/")
		if err != nil {
			got <- err.Error()
			return
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		got <- string(b)
	}()
	<-entered
	r.SetTable(tableOf(6, routeTo("a.localhost", backend(t, "a-2", say("new")))))
	<-r.Changed()
	if s := r.Status(); s.Index != 6 || s.InFlight["a-1"] != 1 || s.Node != "0123456789abcdef" {
		t.Errorf("status = %+v", s)
	}
	if _, body := get(t, c, "https://a.localhost/"); body != "new" {
		t.Errorf("next request on the same connection = %q, want new", body)
	}
	close(finish)
	if body := <-got; body != "old" {
		t.Errorf("request in flight = %q, want old", body)
	}
	await(t, "the end to be signalled", func() bool { <-r.Changed(); return len(r.Status().InFlight) == 0 })
}

func TestIdleConnectionsOfRemovedReplicasAreClosed(t *testing.T) {
	r := start(t, newStore(t), func(c *Config) { c.Limits.UpstreamIdle = time.Hour })
	var open [2]atomic.Int64
	var ups []cluster.Upstream
	for i := range open {
		ups = append(ups, countingBackend(t, cluster.AllocationID(fmt.Sprintf("a-%d", i)), &open[i]))
	}
	both := []cluster.Route{routeTo("a.localhost", ups[0]), routeTo("b.localhost", ups[1])}
	r.SetTable(tableOf(1, both...))
	c := r.client(t)
	get(t, c, "https://a.localhost/")
	get(t, c, "https://b.localhost/")
	if open[0].Load() != 1 || open[1].Load() != 1 {
		t.Fatalf("connections = %d, %d, want one each", open[0].Load(), open[1].Load())
	}
	r.SetTable(tableOf(2, both[1]))
	await(t, "the removed replica's connection to close", func() bool { return open[0].Load() == 0 })
	if open[1].Load() != 1 {
		t.Error("the other replica's connection was closed too")
	}
}

func TestRestartedRouterServesItsLastTable(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	up := backend(t, "a-1", say("still here"))
	first := start(t, s, func(c *Config) { c.Dir = dir })
	first.SetTable(tableOf(9, routeTo("a.localhost", up)))
	get(t, first.client(t), "https://a.localhost/")
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	s.setDown(true)
	second := start(t, s, func(c *Config) { c.Dir = dir })
	if got := second.Status().Index; got != 9 {
		t.Errorf("index = %d, want 9", got)
	}
	if status, body := get(t, second.client(t), "https://a.localhost/"); status != 200 || body != "still here" {
		t.Errorf("without any server: %d %q", status, body)
	}
	if got := s.signatures(); got != 1 {
		t.Errorf("%d certificates signed, want 1", got)
	}
}

func TestBrokenTableFileIsNoObstacle(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, tableFile), []byte(`{"index":3,"routes":[{"host":"a`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, newStore(t), func(c *Config) { c.Dir = dir })
	if got := r.Status().Index; got != 0 {
		t.Errorf("index = %d, want 0", got)
	}
}

func FuzzDecodeTable(f *testing.F) {
	b, _ := json.Marshal(tableOf(3, routeTo("a.localhost", cluster.Upstream{Allocation: "a-1", Address: "127.0.0.1:1"})))
	f.Add(b)
	f.Add([]byte(`{"routes":[{"host":"A..B"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := decodeTable(b)
		if err != nil {
			return
		}
		r := newRouter(Config{})
		r.install(table)
		if r.Status().Index != table.Index {
			t.Error("index differs")
		}
	})
}

func TestRestartedRouterKnowsWhoSignsCertificates(t *testing.T) {
	dir := t.TempDir()
	want := ACMEConfig{Directory: "https://127.0.0.1:1/dir", Email: "ops@example.com"}
	first := start(t, newStore(t), func(c *Config) { c.Dir = dir })
	first.SetACME(want)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	second := start(t, newStore(t), func(c *Config) { c.Dir = dir })
	if got := second.certs.settings(); got != want {
		t.Errorf("settings = %+v, want %+v", got, want)
	}
	second.SetACME(ACMEConfig{})
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
	if got := start(t, newStore(t), func(c *Config) { c.Dir = dir }).certs.settings(); got != (ACMEConfig{}) {
		t.Errorf("settings = %+v after they were taken back", got)
	}
}

// TestTablesMayComeAtTheEnd: the session that brings them ends beside the router,
// not before it. The race detector is the judge.
func TestTablesMayComeAtTheEnd(t *testing.T) {
	r := start(t, newStore(t), nil)
	ended, brought := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(brought)
		for i := uint64(1); ; i++ {
			select {
			case <-ended:
				return
			default:
				u := cluster.Upstream{Allocation: cluster.AllocationID(fmt.Sprint("a-", i)), Zone: "a", Address: "127.0.0.1:1"}
				r.SetTable(tableOf(i, routeTo("a.localhost", u)))
			}
		}
	}()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	close(ended)
	<-brought
}
