package router

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"paas/cluster"
)

// farHost is another host with replicas, in fake time. Without power it says nothing
// any more, and what is sent to it is lost.
type farHost struct {
	id      cluster.NodeID
	off     atomic.Bool
	refuses atomic.Bool // its process is gone, but the host is there
	served  atomic.Int64
	probes  atomic.Int64
	back    *handoff
	server  *http.Server

	mu    sync.Mutex
	wires []net.Conn
}

// unplug ends all connections.
func (f *farHost) unplug() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.wires {
		_ = c.Close()
	}
}

func newFarHost(id cluster.NodeID, h http.Handler) *farHost {
	f := &farHost{id: id, back: newHandoff(nil)}
	f.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.served.Add(1)
		h.ServeHTTP(w, r)
	})}
	go f.server.Serve(f.back)
	return f
}

// connect is a connection to the host whose other end is serve's.
func (f *farHost) connect(ctx context.Context, serve func(net.Conn)) (net.Conn, error) {
	if f.refuses.Load() {
		return nil, &HostError{fmt.Errorf("connection refused")}
	}
	if f.off.Load() {
		<-ctx.Done()
		return nil, &HostError{ctx.Err()}
	}
	near, wire := net.Pipe()
	far, served := net.Pipe()
	carry := func(to, from net.Conn) {
		buf := make([]byte, 4096)
		for {
			n, err := from.Read(buf)
			if err == nil && !f.off.Load() {
				_, err = to.Write(buf[:n])
			}
			if err != nil {
				if !f.off.Load() {
					_ = to.Close()
				}
				return // without power not even an end arrives
			}
		}
	}
	go carry(far, wire)
	go carry(wire, far)
	f.mu.Lock()
	f.wires = append(f.wires, wire, far)
	f.mu.Unlock()
	go serve(served)
	return near, nil
}

func (f *farHost) upstream(n int) cluster.Upstream {
	return cluster.Upstream{Allocation: cluster.AllocationID(fmt.Sprintf("a-%s-%d", f.id, n)), Node: f.id, Zone: string(f.id), Address: fmt.Sprint(n)}
}

// amongHosts runs test against a router on host "h0" whose app has two replicas on
// each of three others.
func amongHosts(t *testing.T, h http.Handler, test func(*testing.T, *bubble, []*farHost)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hosts := map[cluster.NodeID]*farHost{}
		var list []*farHost
		var ups []cluster.Upstream
		for _, id := range []cluster.NodeID{"h1", "h2", "h3"} {
			f := newFarHost(id, h)
			hosts[id], list, ups = f, append(list, f), append(ups, f.upstream(1), f.upstream(2))
		}
		b := &bubble{front: newHandoff(nil)}
		b.log = &logged{}
		b.r = newRouter(Config{Node: "h0", Zone: "h0", HTTPSPort: 443, Logger: slog.New(slog.NewTextHandler(b.log, nil)),
			Dial: func(ctx context.Context, u cluster.Upstream) (net.Conn, error) {
				return hosts[u.Node].connect(ctx, func(c net.Conn) { hosts[u.Node].back.give(c) })
			},
			Probe: func(ctx context.Context, id cluster.NodeID) (net.Conn, error) {
				hosts[id].probes.Add(1)
				return hosts[id].connect(ctx, func(c net.Conn) { _, _ = io.Copy(c, c) })
			}})
		b.r.SetTable(tableOf(1, routeTo("a.localhost", ups...)))
		router := b.r.server(ctx, newProxy(b.r))
		go router.Serve(b.front)
		following := make(chan error, 2)
		go func() { following <- b.r.follow(ctx) }()
		go func() { following <- b.r.listen(ctx) }()
		test(t, b, list)
		for _, c := range b.clients {
			_ = c.Close()
		}
		cancel()
		<-following
		<-following
		_ = router.Close()
		for _, u := range b.r.upstreams {
			u.transport.CloseIdleConnections()
		}
		for _, f := range list {
			f.off.Store(false)
			_ = f.server.Close()
			f.unplug()
		}
		time.Sleep(3 * time.Hour)
	})
}

// outcome is how one request of a load ended.
type outcome struct {
	at, took time.Duration
	status   int
}

// load sends a request every 5 ms for as long as given, each on a connection of its own.
func (b *bubble) load(t *testing.T, method string, lasts time.Duration) func() []outcome {
	var mu sync.Mutex
	var all []outcome
	var wg sync.WaitGroup
	start := time.Now()
	wg.Go(func() {
		for time.Since(start) < lasts {
			c := b.connect()
			wg.Go(func() {
				defer c.Close()
				begun := time.Now()
				go fmt.Fprintf(c, "%s / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 0\r\n\r\n", method)
				status, _ := readRaw(t, c)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, outcome{begun.Sub(start), time.Since(begun), status})
			})
			time.Sleep(5 * time.Millisecond)
		}
	})
	return func() []outcome { wg.Wait(); return all }
}

func answerIn(d time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(d)
		_, _ = io.WriteString(w, "x")
	})
}

// The host of two of six replicas loses its power under 200 requests per second.
func TestDeadHostCostsNoRequest(t *testing.T) {
	amongHosts(t, answerIn(10*time.Millisecond), func(t *testing.T, b *bubble, hosts []*farHost) {
		done := b.load(t, "GET", 10*time.Second)
		time.Sleep(3 * time.Second)
		hosts[0].off.Store(true)
		slow, slowest, late := 0, time.Duration(0), time.Duration(0)
		for _, o := range done() {
			if o.status != 200 {
				t.Errorf("a request at %v was answered %d after %v", o.at, o.status, o.took)
			}
			if slowest = max(slowest, o.took); o.took > 100*time.Millisecond {
				slow++
				late = max(late, o.at)
			}
		}
		t.Logf("%d of 2000 requests were slow, the slowest took %v, the last began %v after the host's end", slow, slowest, late-3*time.Second)
		if slowest > 2100*time.Millisecond || late > 4*time.Second+50*time.Millisecond || slow > 80 {
			t.Errorf("%d were slow, the slowest took %v, the last began at %v", slow, slowest, late)
		}
		before := hosts[0].served.Load()
		hosts[0].off.Store(false)
		time.Sleep(time.Second)
		b.load(t, "GET", time.Second)()
		if got := hosts[0].served.Load() - before; got < 20 {
			t.Errorf("back again it got %d of 200 requests", got)
		}
	})
}

// What may have had an effect is never sent again.
func TestDeadHostBreaksOnlyWhatCannotBeRepeated(t *testing.T) {
	amongHosts(t, answerIn(10*time.Millisecond), func(t *testing.T, b *bubble, hosts []*farHost) {
		done := b.load(t, "POST", 5*time.Second)
		time.Sleep(2 * time.Second)
		hosts[0].off.Store(true)
		failed := 0
		for _, o := range done() {
			if o.status == 200 {
				continue
			}
			failed++
			if o.at > 3*time.Second+50*time.Millisecond || o.took > 2100*time.Millisecond {
				t.Errorf("a request at %v was answered %d after %v", o.at, o.status, o.took)
			}
		}
		t.Logf("%d of 1000 failed", failed)
		if failed == 0 || failed > 80 {
			t.Errorf("%d failed", failed)
		}
		var served int64
		for _, h := range hosts {
			served += h.served.Load()
		}
		if served > 1000 {
			t.Errorf("replicas saw %d requests of 1000", served)
		}
	})
}

func TestHostThatRefusesIsLeftOutAtOnce(t *testing.T) {
	amongHosts(t, say("x"), func(t *testing.T, b *bubble, hosts []*farHost) {
		hosts[1].refuses.Store(true)
		for _, o := range b.load(t, "POST", 4*time.Second)() {
			if o.status != 200 || o.took > 10*time.Millisecond {
				t.Errorf("a request at %v was answered %d after %v", o.at, o.status, o.took)
			}
		}
		if got := b.r.Metrics().Retries; got > 4 {
			t.Errorf("%d requests met the host that refuses: one knows it for all its replicas", got)
		}
	})
}

func TestIdleHostsAreNotWatched(t *testing.T) {
	amongHosts(t, say("x"), func(t *testing.T, b *bubble, hosts []*farHost) {
		time.Sleep(time.Minute)
		if n := hosts[0].probes.Load(); n != 0 {
			t.Errorf("asked %d times without any request", n)
		}
		b.load(t, "GET", time.Second)()
		time.Sleep(time.Minute)
		for _, n := range b.r.remotes {
			if n.watched.Load() {
				t.Error("watched although nobody asks it for anything")
			}
		}
		hosts[2].off.Store(true)
		for _, o := range b.load(t, "GET", time.Second)() {
			if o.status != 200 || o.took > 2*time.Second {
				t.Errorf("a request at %v was answered %d after %v", o.at, o.status, o.took)
			}
		}
	})
}

func TestHostOutOfTheTableIsForgotten(t *testing.T) {
	amongHosts(t, say("x"), func(t *testing.T, b *bubble, hosts []*farHost) {
		b.load(t, "GET", time.Second)()
		hosts[0].off.Store(true)
		b.load(t, "GET", 3*time.Second)()
		b.r.SetTable(tableOf(2, routeTo("a.localhost", hosts[1].upstream(1))))
		time.Sleep(10 * time.Second)
		b.r.Status()
		if len(b.r.remotes) != 1 {
			t.Errorf("%d hosts are known", len(b.r.remotes))
		}
		before := hosts[0].probes.Load()
		time.Sleep(time.Minute)
		if n := hosts[0].probes.Load() - before; n != 0 {
			t.Errorf("asked %d times after its end", n)
		}
	})
}
