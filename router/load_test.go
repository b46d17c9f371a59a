package router

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestOneAppCannotTakeAll lets an app hang with more requests than it may have.
func TestOneAppCannotTakeAll(t *testing.T) {
	const most, asked = 100, 140
	r := start(t, newStore(t), func(c *Config) { c.Limits.InFlight = most })
	hang, arrived := make(chan struct{}), make(chan struct{}, asked)
	slow := routeTo("slow.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-hang
	})))
	slow.App = "slow"
	second := slow
	second.Host = "second.localhost" // another name is the same app
	r.SetTable(tableOf(1, slow, second, routeTo("good.localhost", backend(t, "b-1", say("good")))))
	good, client := r.client(t), r.client(t)
	get(t, good, "https://good.localhost/")
	base := runtime.NumGoroutine()
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	ask := func(url string) {
		resp, err := client.Get(url)
		said := fmt.Sprint(err)
		if err == nil {
			said = fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Router-Error"), " ", resp.Header.Get("Retry-After"))
			_ = resp.Body.Close()
		}
		mu.Lock()
		defer mu.Unlock()
		got[strings.TrimSpace(said)]++
	}
	for range most {
		wg.Go(func() { ask("https://slow.localhost/") })
	}
	for range most {
		<-arrived
	}
	for i := range asked - most {
		ask([]string{"https://slow.localhost/", "https://second.localhost/"}[i%2])
		if code, body := get(t, good, "https://good.localhost/"); code != 200 || body != "good" {
			t.Errorf("the neighbour: %d %q", code, body)
		}
	}
	r.SetTable(tableOf(2, second, routeTo("good.localhost", backend(t, "b-2", say("good"))))) // the count survives a table
	ask("https://second.localhost/")
	close(hang)
	wg.Wait()
	if got["200"] != most || got["503 H-busy 5"] != asked-most+1 {
		t.Errorf("answers %v, want %d of 200 and %d of 503", got, most, asked-most+1)
	}
	if n := r.Metrics().Busy; n != asked-most+1 {
		t.Errorf("%d counted as busy", n)
	}
	if code, _ := get(t, client, "https://second.localhost/"); code != 200 {
		t.Errorf("after the hang: %d", code)
	}
	client.CloseIdleConnections()
	await(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= base+20 })
}

// TestUpgradedConnectionsCount: a WebSocket is in flight for as long as it is open.
func TestUpgradedConnectionsCount(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	inBubble(t, h, func(t *testing.T, b *bubble) {
		b.r.limits.InFlight = 1
		ask := func(head string) (io.Closer, int) {
			c := b.connect()
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.localhost\r\n"+head+"\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			return c, resp.StatusCode
		}
		ws, code := ask("Connection: Upgrade\r\nUpgrade: echo\r\n")
		if code != 101 {
			t.Fatal(code)
		}
		time.Sleep(time.Hour) // fake time
		if _, code := ask(""); code != 503 {
			t.Errorf("beside the WebSocket: %d, want 503", code)
		}
		_ = ws.Close()
		synctest.Wait()
		if _, code := ask(""); code != 200 {
			t.Errorf("after the WebSocket: %d", code)
		}
	})
}

func TestForgottenAppsLeaveNoCount(t *testing.T) {
	r := newRouter(Config{})
	busy := routeTo("busy.localhost")
	busy.App = "busy"
	r.SetTable(tableOf(1, busy, routeTo("a.localhost")))
	r.loads["busy"].enter(1)
	r.SetTable(tableOf(2))
	if len(r.loads) != 1 || r.loads["busy"] == nil {
		t.Errorf("kept %v, want the busy one", r.loads)
	}
	r.loads["busy"].leave()
	r.SetTable(tableOf(3))
	if len(r.loads) != 0 {
		t.Errorf("kept %v", r.loads)
	}
}

// TestSlowBodiesOfRefusedRequestsAreCut: nobody reads them, so nothing but
// boundUnread ends them.
func TestSlowBodiesOfRefusedRequestsAreCut(t *testing.T) {
	inBubble(t, say("x"), func(t *testing.T, b *bubble) {
		b.r.limits.InFlight = 1
		plain := newHandoff(nil)
		redirects := b.r.server(t.Context(), b.r.redirects())
		go redirects.Serve(plain)
		defer redirects.Close()
		for name, tt := range map[string]struct {
			front *handoff
			head  string
			want  string
		}{
			"misdirected": {b.front, "POST / HTTP/1.1\r\nHost: b.localhost\r\n", " 421 "},
			"method":      {b.front, "TRACE / HTTP/1.1\r\nHost: a.localhost\r\n", " 405 "},
			"redirect":    {plain, "POST / HTTP/1.1\r\nHost: a.localhost\r\n", " 308 "},
		} {
			for _, framing := range []string{"Content-Length: 100000", "Transfer-Encoding: chunked"} {
				saved := b.front
				b.front = tt.front
				c := b.connect()
				b.front = saved
				_ = c.SetReadDeadline(time.Now().Add(time.Minute))
				go func() {
					_, _ = io.WriteString(c, tt.head+framing+"\r\n\r\n")
					trickle(c, time.Second, "1\r\nx\r\n")
				}()
				took, answer := ended(c)
				between(t, name+" with "+framing+" ended", took, 0, 30*time.Second)
				if !strings.Contains(answer, tt.want) {
					t.Errorf("%s: answer = %q, want%s", name, answer, tt.want)
				}
			}
		}
	})
}
