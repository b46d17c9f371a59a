package router

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestWebSocketEchoesAndIsCountedUntilItEnds(t *testing.T) {
	r := start(t, newStore(t), nil)
	up := backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	}))
	r.SetTable(tableOf(1, routeTo("ws.localhost", up)))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "wss://ws.localhost/", &websocket.DialOptions{HTTPClient: r.client1(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	echo := func(text string) {
		t.Helper()
		if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, b, err := c.Read(ctx); err != nil || string(b) != text {
			t.Fatalf("echo = %q, %v", b, err)
		}
	}
	echo("one")
	r.SetTable(tableOf(2, routeTo("other.localhost", backend(t, "a-2", say("x"))), routeTo("ws.localhost", up)))
	echo("an unrelated change cuts nothing")
	r.SetTable(tableOf(3))
	echo("nor does leaving the table")
	if s := r.Status(); s.Index != 3 || s.InFlight["a-1"] != 1 {
		t.Errorf("status = %+v, want a-1 in flight", s)
	}
	_ = c.Close(websocket.StatusNormalClosure, "")
	await(t, "the WebSocket to be forgotten", func() bool { return len(r.Status().InFlight) == 0 })
}

func TestRefusedUpgradeEndsTheConnection(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", say("no")))))
	c := r.raw(t, "a.localhost")
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"+
		"GET /smuggled HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
	b, _ := io.ReadAll(c)
	if got := strings.Count(string(b), "HTTP/1.1 "); got != 1 || !strings.Contains(string(b), "Connection: close") {
		t.Errorf("%d answers, want 1 and a closed connection:\n%s", got, b)
	}
}

func TestServerSentEventsAreNotHeldBack(t *testing.T) {
	r := start(t, newStore(t), nil)
	next := make(chan struct{})
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-next:
			case <-req.Context().Done():
			}
		}
	})))))
	for name, c := range map[string]*http.Client{"h2": r.client(t), "h1": r.client1(t)} {
		resp, err := c.Get("https://a.localhost/")
		if err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(resp.Body)
		for i := range 3 {
			line, err := br.ReadString('\n')
			if err != nil || line != fmt.Sprintf("data: %d\n", i) {
				t.Fatalf("%s event %d = %q, %v", name, i, line, err)
			}
			_, _ = br.ReadString('\n')
			next <- struct{}{} // the app goes on only after the client saw the event
		}
		_ = resp.Body.Close()
	}
}

func TestStreamsBothWaysAtOnce(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		_ = rc.Flush()
		sc := bufio.NewScanner(req.Body)
		for sc.Scan() {
			fmt.Fprintf(w, "got %s\n", sc.Text())
			_ = rc.Flush()
		}
	})))))
	for name, c := range map[string]*http.Client{"h2": r.client(t), "h1": r.client1(t)} {
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("POST", "https://a.localhost/", pr)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(resp.Body)
		for i := range 3 {
			fmt.Fprintf(pw, "%d\n", i)
			if line, err := br.ReadString('\n'); err != nil || line != fmt.Sprintf("got %d\n", i) {
				t.Fatalf("%s line %d = %q, %v", name, i, line, err)
			}
		}
		_ = pw.Close()
		if _, err := io.Copy(io.Discard, br); err != nil {
			t.Error(name, err)
		}
		_ = resp.Body.Close()
	}
}

func TestBigBodiesPassWithoutBeingKept(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 512 MiB")
	}
	const size = 256 << 20
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := sha256.New()
		if req.Method == "POST" {
			n, _ := io.Copy(h, req.Body)
			fmt.Fprintf(w, "%d %x", n, h.Sum(nil))
			return
		}
		_, _ = io.Copy(w, io.LimitReader(&pattern{}, size))
	})))))
	want := sha256.New()
	_, _ = io.Copy(want, io.LimitReader(&pattern{}, size))
	for name, c := range map[string]*http.Client{"h2": r.client(t), "h1": r.client1(t)} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		resp, err := c.Post("https://a.localhost/", "application/octet-stream", io.LimitReader(&pattern{}, size))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := readAll(t, resp), fmt.Sprintf("%d %x", size, want.Sum(nil)); got != want {
			t.Errorf("%s upload = %s, want %s", name, got, want)
		}
		resp, err = c.Get("https://a.localhost/")
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if n, err := io.Copy(h, resp.Body); n != size || err != nil || fmt.Sprintf("%x", h.Sum(nil)) != fmt.Sprintf("%x", want.Sum(nil)) {
			t.Errorf("%s download: %d bytes, %v", name, n, err)
		}
		_ = resp.Body.Close()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 {
			t.Errorf("%s: heap grew by %d MiB for bodies of %d MiB", name, grown>>20, size>>20)
		}
	}
}

type pattern struct{ n byte }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		p.n = p.n*5 + 3
		b[i] = p.n
	}
	return len(b), nil
}

func TestAnswersWithoutBodiesAndWithTrailers(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/head":
			w.Header().Set("Content-Length", "12345")
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/304":
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(http.StatusNotModified)
		case "/103":
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
		case "/trailer":
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "body")
			w.Header().Set("X-Sum", "42")
			w.Header().Set(http.TrailerPrefix+"X-Late", "43")
		case "/early":
			w.WriteHeader(http.StatusRequestEntityTooLarge) // without reading the body
		case "/upload":
			_, _ = io.Copy(w, req.Body)
		}
	})))))
	for name, c := range map[string]*http.Client{"h2": r.client(t), "h1": r.client1(t)} {
		do := func(method, path, body string, status int) (*http.Response, string) {
			t.Helper()
			req, _ := http.NewRequest(method, "https://a.localhost"+path, strings.NewReader(body))
			if body != "" {
				req.Header.Set("Expect", "100-continue")
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatalf("%s %s: %v", name, path, err)
			}
			got := readAll(t, resp)
			if resp.StatusCode != status {
				t.Errorf("%s %s = %d, want %d", name, path, resp.StatusCode, status)
			}
			return resp, got
		}
		if resp, _ := do("HEAD", "/head", "", 200); resp.ContentLength != 12345 {
			t.Errorf("%s HEAD: length %d", name, resp.ContentLength)
		}
		do("GET", "/204", "", 204)
		if resp, _ := do("GET", "/304", "", 304); resp.Header.Get("Etag") != `"x"` {
			t.Errorf("%s 304: %v", name, resp.Header)
		}
		do("GET", "/103", "", 200)
		if resp, _ := do("GET", "/trailer", "", 200); resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("X-Late") != "43" {
			t.Errorf("%s trailers: %v", name, resp.Trailer)
		}
		do("POST", "/early", strings.Repeat("x", 1<<20), 413)
		if _, got := do("POST", "/upload", "expected", 200); got != "expected" {
			t.Errorf("%s upload = %q", name, got)
		}
	}
}

// TestEarlyAnswersArrive: an app may answer before it has read the request. The
// client must get that answer, not a reset.
func TestEarlyAnswersArrive(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})))))
	body := strings.Repeat("x", 1<<20)
	for name, c := range map[string]*http.Client{"h2": r.client(t), "h1": r.client1(t)} {
		for n := range 60 {
			req, _ := http.NewRequest("POST", "https://a.localhost/", strings.NewReader(body))
			if n%2 == 0 {
				req.Header.Set("Expect", "100-continue") // this client does not wait for it
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatalf("%s, Expect %q: %v", name, req.Header.Get("Expect"), err)
			}
			_ = readAll(t, resp)
			if resp.StatusCode != 413 {
				t.Errorf("%s = %d, want 413", name, resp.StatusCode)
			}
		}
	}
}
