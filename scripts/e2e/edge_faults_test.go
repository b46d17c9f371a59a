//go:build e2e && faults

package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestFaultEdge: strangers hold connections that do nothing, while an app is asked.
func TestFaultEdge(t *testing.T) {
	h := newHost(t)
	dir := h.repo("probe")
	h.must(dir, "apps", "create", "edge")
	h.push(dir)
	h.raisedDescriptors()
	app := h.load("https://edge.localhost/", "version=v1", 20)
	h.await("the app is asked", time.Minute, func() string { return app.atLeast(0, 100) })
	e := edge{host: h, app: app, before: h.resident()}
	t.Logf("before: RSS %d MiB; p50 %v, p99 %v", e.before>>10, app.percentile(50, 0), app.percentile(99, 0))
	t.Run("idle", e.idle)
	t.Run("half-open", e.halfOpen)
	t.Run("read nothing", e.readNothing)
	h.t = t
	app.stop(t)
}

type edge struct {
	*host
	app    *load
	before int // KiB
}

// idle opens as many as it can in 40 s, since the router closes what idles for 60 s.
func (e edge) idle(t *testing.T) {
	const most, perConnection = 10000, 64 // KiB: RSS lags behind the heap by as much as Go's collector lets it
	mark, began := e.app.mark(), time.Now()
	config := e.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName, config.NextProtos = "edge.localhost", []string{"http/1.1"}
	var mu sync.Mutex
	var conns []net.Conn
	var left, failed atomic.Int64
	left.Store(most)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for left.Add(-1) >= 0 && time.Since(began) < 40*time.Second {
				c, err := kept(e.httpsAddr, config)
				if err != nil {
					failed.Add(1)
					continue
				}
				mu.Lock()
				conns = append(conns, c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	at := e.resident()
	t.Logf("%d idle connections after %v: RSS %d MiB, %d KiB for each; p50 %v, p99 %v", len(conns), time.Since(began).Round(time.Second),
		at>>10, (at-e.before)/max(len(conns), 1), e.app.percentile(50, mark), e.app.percentile(99, mark))
	if failed.Load() > 0 || at-e.before > 64<<10+perConnection*len(conns) {
		t.Errorf("%d connections failed; RSS grew from %d to %d KiB", failed.Load(), e.before, at)
	}
	if c, err := kept(e.httpsAddr, config); err != nil {
		t.Errorf("a new connection: %v", err)
	} else {
		_ = c.Close()
	}
	for _, c := range conns {
		_ = c.Close()
	}
	e.host.t = t
	e.await("the router lets go of them", 30*time.Second, func() string { return e.fewDescriptors(200) })
	t.Logf("after: RSS %d MiB", e.resident()>>10)
}

// kept is a connection that was answered once.
func kept(addr string, config *tls.Config) (net.Conn, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", addr, config)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: edge.localhost\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil && res.StatusCode != 200 {
		err = fmt.Errorf("status %d", res.StatusCode)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// halfOpen begins 2,000 handshakes and ends none.
func (e edge) halfOpen(t *testing.T) {
	mark, began := e.app.mark(), time.Now()
	var conns []net.Conn
	for range 2000 {
		c, err := net.DialTimeout("tcp", e.httpsAddr, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252}) // the head of a ClientHello
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		conns = append(conns, c)
	}
	opened, alive := time.Since(began), 0
	for _, c := range conns {
		if _, err := io.Copy(io.Discard, c); os.IsTimeout(err) {
			alive++
		}
	}
	t.Logf("2,000 half-open handshakes in %v, gone %v later; p50 %v, p99 %v; RSS %d MiB", opened.Round(time.Millisecond),
		(time.Since(began) - opened).Round(time.Millisecond), e.app.percentile(50, mark), e.app.percentile(99, mark), e.resident()>>10)
	if alive > 0 {
		t.Errorf("%d of them live after 30 s", alive)
	}
}

// readNothing asks 1,000 times for an answer without end and reads none of it.
func (e edge) readNothing(t *testing.T) {
	const most = 1000
	mark, began := e.app.mark(), time.Now()
	config := e.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName, config.NextProtos = "edge.localhost", []string{"http/1.1"}
	var wg sync.WaitGroup
	var next atomic.Int64
	conns := make([]net.Conn, most)
	for range 32 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < most; i = next.Add(1) - 1 {
				c, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", e.httpsAddr, config)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, "GET /endless HTTP/1.1\r\nHost: edge.localhost\r\n\r\n") // its end is looked at below
				conns[i] = c
			}
		})
	}
	wg.Wait()
	opened := time.Since(began)
	e.host.t = t
	if e.fewDescriptors(3*most/2) == "" {
		t.Error("the router does not hold them: nothing is shown")
	}
	e.await("the router lets go of them", 45*time.Second, func() string { return e.fewDescriptors(200) })
	t.Logf("1,000 that read nothing, opened in %v, gone %v later: p50 %v, p99 %v; RSS %d MiB", opened.Round(time.Millisecond),
		(time.Since(began) - opened).Round(time.Millisecond), e.app.percentile(50, mark), e.app.percentile(99, mark), e.resident()>>10)
	for _, c := range conns {
		if c != nil {
			_ = c.Close()
		}
	}
}

// resident is the RSS of paas in KiB.
func (h *host) resident() int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.cmd.Process.Pid)) // empty: fails below
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest + " ?")[0])
	if err != nil {
		h.t.Fatalf("no VmRSS in %q", status)
	}
	return n
}

func (h *host) fewDescriptors(most int) string {
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.cmd.Process.Pid))
	if err != nil || len(fds) > most {
		return fmt.Sprint(len(fds), " descriptors ", err)
	}
	return ""
}

// raisedDescriptors: the soft limit is the hard one.
func (h *host) raisedDescriptors() {
	h.t.Helper()
	limits, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", h.cmd.Process.Pid)) // empty: fails below
	_, rest, _ := strings.Cut(string(limits), "Max open files")
	if f := strings.Fields(rest); len(f) < 2 || f[0] != f[1] {
		h.t.Errorf("limits of descriptors: %.60q, want the soft one raised", rest)
	} else {
		h.t.Logf("%s descriptors", f[0])
	}
}
