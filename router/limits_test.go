package router

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"paas/cluster"
)

// bubble is a router in fake time: its clients and replicas sit at pipes.
type bubble struct {
	r     *Router
	front *handoff
	log   *logged // nil: nobody keeps it

	clients []net.Conn
}

// inBubble runs test against a router whose replica "a-1" is h. The connection
// that a client gets is one whose TLS handshake is over.
func inBubble(t *testing.T, h http.Handler, test func(*testing.T, *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		back := newHandoff(nil)
		b := &bubble{front: newHandoff(nil)}
		b.r = newRouter(Config{Zone: "a", HTTPSPort: 443, Dial: func(ctx context.Context, u cluster.Upstream) (net.Conn, error) {
			if u.Address == "black hole" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			client, server := net.Pipe()
			back.give(server)
			return client, nil
		}})
		b.r.SetTable(tableOf(1, routeTo("a.localhost", cluster.Upstream{Allocation: "a-1", Zone: "a"})))
		replica := &http.Server{Handler: h}
		router := b.r.server(ctx, newProxy(b.r))
		go replica.Serve(back)
		go router.Serve(b.front)
		test(t, b)
		for _, c := range b.clients {
			_ = c.Close()
		}
		cancel()
		_ = router.Close()
		_ = replica.Close()
		for _, u := range b.r.upstreams {
			u.transport.CloseIdleConnections()
		}
		time.Sleep(3 * time.Hour) // until the handlers that sleep have woken
	})
}

func (b *bubble) connect() net.Conn {
	client, server := net.Pipe()
	b.front.give(b.r.guardConn(server, "a.localhost"))
	b.clients = append(b.clients, client)
	return client
}

// ended reports after how long the router closed c; what it sent is discarded.
func ended(c net.Conn) (time.Duration, string) {
	start := time.Now()
	b, _ := io.ReadAll(c)
	return time.Since(start), string(b)
}

func between(t *testing.T, what string, got, low, high time.Duration) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s after %v, want %v to %v", what, got, low, high)
	}
}

// trickle writes one byte per pause until the connection ends.
func trickle(c net.Conn, pause time.Duration, endless string) {
	for i := 0; ; i++ {
		if _, err := c.Write([]byte{endless[i%len(endless)]}); err != nil {
			return
		}
		time.Sleep(pause) // fake time
	}
}

func TestSlowHeadsAreCut(t *testing.T) {
	inBubble(t, say("x"), func(t *testing.T, b *bubble) {
		took, _ := ended(b.connect())
		between(t, "silent connection closed", took, 9*time.Second, 11*time.Second)

		c := b.connect()
		go func() {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.localhost\r\n")
			trickle(c, time.Second, "X-A: b\r\n")
		}()
		took, _ = ended(c)
		between(t, "slow head cut", took, 9*time.Second, 11*time.Second)
	})
}

func TestSlowBodiesAreCut(t *testing.T) {
	drain := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for _, framing := range []string{"Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		inBubble(t, drain, func(t *testing.T, b *bubble) {
			c := b.connect()
			go func() {
				_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.localhost\r\n"+framing+"\r\n\r\n")
				trickle(c, time.Second, "1\r\nx\r\n")
			}()
			took, answer := ended(c)
			between(t, "slow body cut", took, 24*time.Second, 30*time.Second)
			if !strings.Contains(answer, " 408 ") {
				t.Errorf("answer = %q, want 408", answer)
			}
		})
	}
}

func TestSteadyUploadMayTakeForEver(t *testing.T) {
	count := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	inBubble(t, count, func(t *testing.T, b *bubble) {
		c := b.connect()
		go func() {
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 102400\r\n\r\n")
			for range 100 { // 1 KiB each 20 s
				time.Sleep(20 * time.Second)
				_, _ = c.Write(make([]byte, 1024))
			}
		}()
		if status, body := readRaw(t, c); status != 200 || body != "102400 <nil>" {
			t.Errorf("answer = %d %q", status, body)
		}
	})
}

// TestSlowReadersAreCut runs in real time: ReverseProxy holds a mutex while it
// writes, and a goroutine that waits for one stops a bubble's clock.
func TestSlowReadersAreCut(t *testing.T) {
	const stall = 300 * time.Millisecond
	r := start(t, newStore(t), func(c *Config) { c.Limits.WriteStall = stall })
	gone := make(chan struct{}, 1)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer func() { gone <- struct{}{} }()
		for {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	})))))
	for name, c := range map[string]*http.Client{"h2": r.client(t), "h1": r.client1(t)} {
		resp, err := c.Get("https://a.localhost/")
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-gone:
		case <-time.After(20 * time.Second):
			t.Errorf("%s: a client that reads nothing is still served", name)
		}
		await(t, "the request to end", func() bool { return r.load("a-1") == 0 })
		_ = resp.Body.Close()
	}
}

// load is how many requests a replica has in flight.
func (r *Router) load(id cluster.AllocationID) (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.upstreams {
		if u.Allocation == id {
			n += u.load()
		}
	}
	return n
}

func TestFirstByteTakesAtMost30Seconds(t *testing.T) {
	never := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	inBubble(t, never, func(t *testing.T, b *bubble) {
		c := b.connect()
		start := time.Now()
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 2\r\n\r\n")
		time.Sleep(20 * time.Second)
		_, _ = io.WriteString(c, "xx") // the clock starts when the request is complete
		status, body := readRaw(t, c)
		between(t, "504", time.Since(start), 50*time.Second, 51*time.Second)
		if status != 504 || !strings.Contains(body, "H-timeout") || !strings.Contains(body, "within 30 s") {
			t.Errorf("answer = %d %q", status, body)
		}
	})
}

func TestSilentAnswersAreCutAndNoisyOnesAreNot(t *testing.T) {
	beats := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		for range 20 {
			_, _ = io.WriteString(w, ":\n")
			_ = rc.Flush()
			time.Sleep(50 * time.Second)
		}
		time.Sleep(time.Hour)
	})
	inBubble(t, beats, func(t *testing.T, b *bubble) {
		c := b.connect()
		go io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
		took, answer := ended(c)
		between(t, "silent answer cut", took, 19*50*time.Second+54*time.Second, 19*50*time.Second+56*time.Second)
		if strings.Count(answer, ":\n") < 20 {
			t.Errorf("answer = %q", answer)
		}
	})
}

func TestReplicaThatReadsNothingIsGivenUp(t *testing.T) {
	stuck := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { time.Sleep(time.Hour) })
	inBubble(t, stuck, func(t *testing.T, b *bubble) {
		c := b.connect()
		go func() {
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 10000000\r\n\r\n")
			_, _ = c.Write(make([]byte, 10000000))
		}()
		start := time.Now()
		status, _ := readRaw(t, c)
		between(t, "504", time.Since(start), 54*time.Second, 56*time.Second)
		if status != 504 {
			t.Errorf("status = %d, want 504", status)
		}
		_ = c.Close()
	})
}

func TestEarlyAnswerDoesNotWaitForTheRestOfTheRequest(t *testing.T) {
	early := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	})
	inBubble(t, early, func(t *testing.T, b *bubble) {
		c := b.connect()
		go func() {
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 1000000\r\n\r\n")
			_, _ = c.Write(make([]byte, 2000)) // and no more
		}()
		took, answer := ended(c)
		between(t, "connection closed", took, 0, 2*time.Second)
		if !strings.Contains(answer, " 413 ") || !strings.Contains(answer, "too much") {
			t.Errorf("answer = %q", answer)
		}
		if n := (&running{Router: b.r}).load("a-1"); n != 0 {
			t.Errorf("%d requests are still counted", n)
		}
	})
}

func TestSilentUpgradedConnectionsLive(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, brw)
	})
	inBubble(t, echo, func(t *testing.T, b *bubble) {
		c := b.connect()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		for range 3 {
			time.Sleep(10 * time.Minute)
			_, _ = io.WriteString(c, "\x00\xffecho\r\n")
			if line, err := br.ReadString('\n'); err != nil || line != "\x00\xffecho\r\n" {
				t.Fatalf("after silence: %q, %v", line, err)
			}
		}
		_ = c.Close()
	})
}

func TestIdleClientsAreClosed(t *testing.T) {
	inBubble(t, say("x"), func(t *testing.T, b *bubble) {
		c := b.connect()
		go io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
		took, _ := ended(c)
		between(t, "idle connection closed", took, 59*time.Second, 61*time.Second)
	})
}

func TestKeptAliveConnectionHasNoOldDeadlines(t *testing.T) {
	inBubble(t, say("x"), func(t *testing.T, b *bubble) {
		c := b.connect()
		br := bufio.NewReader(c)
		for range 5 {
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 1\r\n\r\nx")
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = readAll(t, resp)
			time.Sleep(50 * time.Second)
		}
	})
}

// lateEnd is a connection whose end takes 10 ms to arrive, as over a network.
type lateEnd struct{ net.Conn }

func (c lateEnd) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
	}
	return n, err
}

func TestPOSTHardlyMeetsAClosingConnection(t *testing.T) {
	// The replica closes what is idle for 2 s, as gunicorn does. POSTs come at
	// every distance around it; none may be lost.
	synctest.Test(t, func(t *testing.T) {
		back := newHandoff(nil)
		replica := &http.Server{Handler: say("x"), IdleTimeout: 2 * time.Second}
		go replica.Serve(back)
		r := newRouter(Config{Dial: func(context.Context, cluster.Upstream) (net.Conn, error) {
			client, server := net.Pipe()
			back.give(server)
			return lateEnd{client}, nil
		}})
		tr := r.newTransport(cluster.Upstream{}, nil)
		for gap := time.Second; gap < 3*time.Second; gap += 5 * time.Millisecond {
			req, _ := http.NewRequest("POST", "http://replica/", strings.NewReader("body"))
			req.GetBody = nil
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatalf("after %v: %v", gap, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			time.Sleep(gap)
		}
		tr.CloseIdleConnections()
		if err := replica.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		synctest.Wait()
	})
}

func TestSlowBodiesOverHTTP2AreCut(t *testing.T) {
	r := start(t, newStore(t), func(c *Config) { c.Limits.BodyStall = 300 * time.Millisecond })
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
	})))))
	pr, pw := io.Pipe()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = pw.Write([]byte("x"))
			case <-stop:
				_ = pw.Close()
				return
			}
		}
	}()
	req, _ := http.NewRequest("POST", "https://a.localhost/", pr)
	resp, err := r.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 408 || resp.ProtoMajor != 2 {
		t.Errorf("answer = %d over %s, want 408", resp.StatusCode, resp.Proto)
	}
	_ = pr.Close()
}
