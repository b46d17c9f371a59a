package agent

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"paas/api"
	"paas/identity"
)

// BenchmarkTunnel compares requests to a container through the tunnel with requests
// to its address. The CPU time is everybody's: client, both ends, container.
func BenchmarkTunnel(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"1KiB", 1 << 10}, {"64KiB", 64 << 10}, {"4MiB", 4 << 20}} {
		body := strings.Repeat("x", size.bytes)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, body) }))
		address := s.Listener.Addr().String()
		e := newTwoEnds(b, identity.RoleServer, 1000)
		e.far.log = slog.New(slog.DiscardHandler)
		up := e.replica("a-1", address)
		direct := func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		}
		tunnel := func(ctx context.Context, _, _ string) (net.Conn, error) { return e.upstream(ctx, up) }
		resumed := &api.Dialer{Node: e.dialer.Node, Addresses: e.dialer.Addresses, Sessions: tls.NewLRUClientSessionCache(8)}
		again := func(ctx context.Context, _, _ string) (net.Conn, error) { return reach{resumed.Dial}.upstream(ctx, up) }
		b.Run(size.name+"/direct", func(b *testing.B) { requests(b, direct, false) })
		b.Run(size.name+"/tunnel", func(b *testing.B) { requests(b, tunnel, false) })
		if size.bytes == 1<<10 {
			b.Run(size.name+"/direct,new", func(b *testing.B) { requests(b, direct, true) })
			b.Run(size.name+"/tunnel,new", func(b *testing.B) { requests(b, tunnel, true) })
			b.Run(size.name+"/tunnel,new,resumed", func(b *testing.B) { requests(b, again, true) })
		}
		s.Close()
	}
}

// requests sends b.N requests, eight at a time.
func requests(b *testing.B, dial func(ctx context.Context, _, _ string) (net.Conn, error), fresh bool) {
	tr := &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 64, DisableKeepAlives: fresh, DisableCompression: true}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	once := func() {
		resp, err := c.Get("http://replica/")
		if err != nil {
			b.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	once()
	before := processTime()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				once()
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((processTime()-before).Microseconds())/float64(b.N), "cpu-µs/req")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

func processTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
