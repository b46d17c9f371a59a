package router

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"paas/cluster"
)

// frozen is a replica that can be made to hang, as a stopped process does:
// connections are taken, nothing is answered.
type frozen struct {
	cluster.Upstream
	answered atomic.Int64
	pings    atomic.Int64

	mu   sync.Mutex
	thaw chan struct{} // nil unless frozen
}

func freezing(t testing.TB, id cluster.AllocationID, h http.Handler) *frozen {
	f := &frozen{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		thaw := f.thaw
		f.mu.Unlock()
		if thaw != nil {
			select {
			case <-thaw:
			case <-r.Context().Done():
				return
			}
		}
		if r.RequestURI == "*" {
			f.pings.Add(1)
			return
		}
		f.answered.Add(1)
		h.ServeHTTP(w, r)
	}))
	server.Config.DisableGeneralOptionsHandler = true // or net/http would answer pings by itself
	server.Start()
	t.Cleanup(func() { f.melt(); server.CloseClientConnections(); server.Close() })
	f.Upstream = cluster.Upstream{Allocation: id, Instance: "web.1", Node: "n1", Zone: "a", Address: server.Listener.Addr().String()}
	return f
}

func (f *frozen) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.thaw = make(chan struct{})
}

func (f *frozen) melt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.thaw != nil {
		close(f.thaw)
		f.thaw = nil
	}
}

// impatient clients give up quickly: the load of what hangs does not keep others away.
func impatient(r *running, t testing.TB) *http.Client {
	c := r.client(t)
	c.Timeout = 150 * time.Millisecond
	return c
}

func quick(c *Config) { c.Limits.Silence = 100 * time.Millisecond }

func TestReplicaThatHangsIsLeftOutUntilItAnswers(t *testing.T) {
	r := start(t, newStore(t), quick)
	good, bad := freezing(t, "a-1", say("good")), freezing(t, "a-2", say("bad"))
	r.SetTable(tableOf(1, routeTo("a.localhost", good.Upstream, bad.Upstream)))
	c := impatient(r, t)
	bad.freeze()
	began := time.Now()
	<-r.Changed() // the table
	await(t, "the ejection", func() bool {
		if resp, err := c.Get("https://a.localhost/"); err == nil {
			_ = readAll(t, resp)
		}
		return r.Metrics().Ejections == 1
	})
	select {
	case <-r.Changed():
	default:
		t.Error("a replica that hangs is no news")
	}
	if got := r.Status().Silent; len(got) != 1 || got["a-2"].Before(began) || got["a-2"].After(time.Now()) {
		t.Errorf("silent: %v, want a-2 since its first request after %v", got, began)
	}
	for range 50 {
		if status, body := get(t, r.client(t), "https://a.localhost/"); status != 200 || body != "good" {
			t.Fatalf("%d %q while a replica hangs, want the other one's answer", status, body)
		}
	}
	bad.melt()
	was := bad.answered.Load()
	await(t, "requests to the replica that answers again", func() bool {
		get(t, r.client(t), "https://a.localhost/")
		return bad.answered.Load() > was
	})
	await(t, "the news that it answers", func() bool { <-r.Changed(); return len(r.Status().Silent) == 0 })
}

func TestSlowEndpointIsNoSilence(t *testing.T) {
	r := start(t, newStore(t), quick)
	release := make(chan struct{})
	slow := freezing(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			select {
			case <-release:
			case <-req.Context().Done():
			}
		}
		_, _ = w.Write([]byte("slow one"))
	}))
	r.SetTable(tableOf(1, routeTo("a.localhost", slow.Upstream)))
	done := make(chan int, 1)
	c := r.client(t)
	go func() {
		resp, err := c.Get("https://a.localhost/slow")
		if err != nil {
			done <- 0
			return
		}
		_ = resp.Body.Close()
		done <- resp.StatusCode
	}()
	await(t, "the slow request", func() bool { return slow.answered.Load() == 1 })
	await(t, "a ping", func() bool { return slow.pings.Load() > 0 })
	if status, body := get(t, c, "https://a.localhost/"); status != 200 || body != "slow one" {
		t.Errorf("beside the slow request: %d %q", status, body)
	}
	close(release)
	if status := <-done; status != 200 || r.Metrics().Ejections != 0 {
		t.Errorf("the slow request ended with %d; %d ejections, want none", status, r.Metrics().Ejections)
	}
}

func TestClientsThatLeaveAreNotHeldAgainstAReplica(t *testing.T) {
	r := start(t, newStore(t), quick)
	slow := freezing(t, "a-1", http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }))
	r.SetTable(tableOf(1, routeTo("a.localhost", slow.Upstream, freezing(t, "a-2", say("x")).Upstream)))
	c := impatient(r, t)
	await(t, "pings", func() bool {
		if resp, err := c.Get("https://a.localhost/"); err == nil {
			_ = readAll(t, resp)
		}
		return slow.pings.Load() > 3
	})
	if n := r.Metrics().Ejections; n != 0 {
		t.Errorf("%d ejections of a replica that answers pings", n)
	}
}
