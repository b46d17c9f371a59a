package router

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"paas/cluster"
)

// The benchmark's replica and its load come from a child process, so that the
// CPU time of this one is the router's alone.
const childEnv = "PAAS_ROUTER_BENCH_CHILD"

// childJob is what the child is told on its standard input.
type childJob struct {
	Address, CA string
	Requests    int
	HTTP2       bool
	Hang        int // instead of Requests: requests to begin, each on its own connection, that get no answer
	Idle        int // instead of Requests: connections to open, use once and keep until the next job
}

// benchChild is the child's main: it prints its replica's address, then runs
// one job after the other.
func benchChild() {
	body := strings.Repeat("x", 1024)
	var hanging atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			hanging.Add(1)
			<-r.Context().Done()
		}
		_, _ = io.WriteString(w, body)
	}))
	fmt.Println(s.Listener.Addr())
	for in := json.NewDecoder(os.Stdin); ; {
		var job childJob
		if in.Decode(&job) != nil {
			return
		}
		err := error(nil)
		if job.Idle > 0 {
			err = job.idle()
		} else if job.Hang > 0 {
			err = job.hang(&hanging)
		} else {
			err = job.run()
		}
		if err != nil {
			fmt.Println("error:", err)
			continue
		}
		fmt.Println("done")
	}
}

func (j childJob) run() error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(j.CA))
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "a.localhost"}, MaxIdleConnsPerHost: 64, ForceAttemptHTTP2: j.HTTP2}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	var left atomic.Int64
	left.Store(int64(j.Requests))
	errs := make(chan error, 32)
	var wg sync.WaitGroup
	for range cap(errs) {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				req, _ := http.NewRequest("GET", "https://"+j.Address+"/", nil)
				req.Host = "a.localhost"
				resp, err := c.Do(req)
				if err != nil {
					errs <- err
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != 200 {
					errs <- fmt.Errorf("status %d", resp.StatusCode)
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// kept are the child's idle connections: what nobody refers to is closed.
var kept []net.Conn

// idle opens connections that stay open until the child ends.
func (j childJob) idle() error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(j.CA))
	for range j.Idle {
		c, err := tls.Dial("tcp", j.Address, &tls.Config{RootCAs: pool, ServerName: "a.localhost", NextProtos: []string{"http/1.1"}})
		if err != nil {
			return err
		}
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			return fmt.Errorf("%v %v", resp, err)
		}
		kept = append(kept, c)
	}
	return nil
}

// hang returns when all its requests are at the replica.
func (j childJob) hang(arrived *atomic.Int64) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(j.CA))
	want := arrived.Load() + int64(j.Hang)
	for range j.Hang {
		c, err := tls.Dial("tcp", j.Address, &tls.Config{RootCAs: pool, ServerName: "a.localhost", NextProtos: []string{"http/1.1"}})
		if err != nil {
			return err
		}
		fmt.Fprint(c, "GET /hang HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
		kept = append(kept, c)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(25 * time.Second); arrived.Load() < want; <-tick.C {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d requests have not arrived", want-arrived.Load())
		}
	}
	return nil
}

// child runs benchChild and returns its replica and a way to give it jobs.
func child(t testing.TB) (replica cluster.Upstream, run func(childJob)) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	lines.Scan()
	return cluster.Upstream{Allocation: "a-1", Zone: "a", Address: lines.Text()}, func(j childJob) {
		t.Helper()
		_ = json.NewEncoder(in).Encode(j)
		if lines.Scan(); lines.Text() != "done" {
			t.Fatal(lines.Text())
		}
	}
}

// TestConnectionsAreCheap: 10,000 idle ones must fit into 500 MiB with room to spare,
// and the 4,096 requests that one app may have in flight into the same.
func TestConnectionsAreCheap(t *testing.T) {
	if testing.Short() {
		t.Skip("shakes hands 1,500 times")
	}
	for _, tt := range []struct {
		what  string
		few   childJob
		conns int
		most  uint64
	}{
		{"idle connection", childJob{Idle: 10}, 1000, 40 << 10},
		{"request in flight", childJob{Hang: 10}, 500, 100 << 10},
	} {
		t.Run(tt.what, func(t *testing.T) {
			replica, run := child(t)
			r := start(t, newStore(t), func(c *Config) { c.Logger, c.Limits.FirstByte = nil, time.Hour })
			r.SetTable(tableOf(1, routeTo("a.localhost", replica)))
			job := tt.few
			job.Address, job.CA = r.HTTPSAddr().String(), r.store.ca.CertificatePEM()
			run(job)
			before := inUse()
			job.Idle *= tt.conns / 10
			job.Hang *= tt.conns / 10
			run(job)
			each := (inUse() - before) / uint64(tt.conns)
			t.Logf("%d bytes for each %s", each, tt.what)
			if each > tt.most {
				t.Errorf("each %s takes %d bytes, want at most %d", tt.what, each, tt.most)
			}
		})
	}
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools are emptied by the second one
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// BenchmarkProxy: 1 KiB answers over TLS 1.3, 32 connections kept alive.
func BenchmarkProxy(b *testing.B) {
	for _, proto := range []string{"HTTP1", "HTTP2"} {
		b.Run(proto, func(b *testing.B) {
			replica, do := child(b)
			r := start(b, newStore(b), nil)
			r.SetTable(tableOf(1, routeTo("a.localhost", replica)))
			run := func(n int) {
				do(childJob{Address: r.HTTPSAddr().String(), CA: r.store.ca.CertificatePEM(), Requests: n, HTTP2: proto == "HTTP2"})
			}
			run(200) // connections, certificate
			before := cpuTime()
			b.ResetTimer()
			run(b.N)
			b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/req")
		})
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
