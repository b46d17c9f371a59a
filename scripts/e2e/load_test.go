//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// load asks an app at a fixed rate whatever it answers: each request begins at
// its time, not when the one before has ended. Every second one opens a new
// connection, the others share kept-alive ones, half HTTP/1.1 and half HTTP/2.
type load struct {
	url     string
	want    string
	rate    int // requests a second
	clients [4]*http.Client
	cancel  context.CancelFunc
	work    sync.WaitGroup

	mu     sync.Mutex
	began  time.Time
	took   []time.Duration // of what was answered well
	failed []failure
}

// failure is a request that was not answered well.
type failure struct {
	began time.Time
	took  time.Duration
	text  string // when, on which connection, and how
}

func (f failure) String() string { return f.text }

var connections = [4]string{"new", "kept HTTP/1.1", "new", "kept HTTP/2"}

// load starts a load of rate requests a second on url; each answer must be 200
// and contain want.
func (h *host) load(url, want string, rate int) *load {
	l := &load{url: url, want: want, rate: rate, began: time.Now()}
	for i := range l.clients {
		l.clients[i] = h.dialing(func(tr *http.Transport) {
			tr.DisableKeepAlives = i%2 == 0
			if i != 3 {
				tr.TLSClientConfig.NextProtos, tr.ForceAttemptHTTP2 = []string{"http/1.1"}, false
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.work.Go(func() { l.run(ctx) })
	return l
}

// dialing is a client like h.client with a transport of its own.
func (h *host) dialing(change func(*http.Transport)) *http.Client {
	tr := h.client.Transport.(*http.Transport).Clone()
	tr.TLSClientConfig = &tls.Config{RootCAs: tr.TLSClientConfig.RootCAs}
	tr.MaxIdleConnsPerHost = 100
	change(tr)
	return &http.Client{Timeout: 40 * time.Second, Transport: tr}
}

func (l *load) run(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for sent := 0; ; {
		for due := int(time.Since(l.began).Seconds() * float64(l.rate)); sent < due; sent++ {
			n := sent
			l.work.Go(func() { l.once(n) })
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// once makes one request. It runs to its end also when the load is stopped.
func (l *load) once(n int) {
	began := time.Now()
	bad := ask(l.clients[n%4], l.url, l.want)
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	if bad != "" {
		l.failed = append(l.failed, failure{began, took, fmt.Sprintf("%.2fs after the start, %s, after %v: %s",
			began.Sub(l.began).Seconds(), connections[n%4], took.Round(time.Millisecond), bad)})
		return
	}
	l.took = append(l.took, took)
}

// ask returns what is wrong with the answer.
func ask(c *http.Client, url, want string) string {
	res, err := c.Get(url)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return "body: " + err.Error()
	case res.StatusCode != 200 || !strings.Contains(string(body), want):
		return fmt.Sprintf("%d %.300q", res.StatusCode, body)
	}
	return ""
}

// count is how many requests have ended.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.took) + len(l.failed)
}

// mark is a place in the load's books, for percentile.
func (l *load) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.took)
}

// atLeast says how many answers are missing to n since mark.
func (l *load) atLeast(mark, n int) string {
	if now := l.mark() - mark; now < n {
		return fmt.Sprintf("%d of %d answers", now, n)
	}
	return ""
}

// percentile is the p-th percentile of the answers since mark.
func (l *load) percentile(p float64, mark int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return percentile(l.took[mark:], p)
}

func percentile(all []time.Duration, p float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(0, int(math.Ceil(p/100*float64(len(sorted))))-1)]
}

// stop ends the load, waits for its last answers, and fails the test for each
// request that failed. It returns how many there were.
func (l *load) stop(t testing.TB) int {
	t.Helper()
	return l.stopButFor(t, func(failure) bool { return false })
}

// stopButFor is stop for a load of which some requests may fail.
func (l *load) stopButFor(t testing.TB, excused func(failure) bool) int {
	t.Helper()
	l.cancel()
	l.work.Wait()
	for _, c := range l.clients {
		c.CloseIdleConnections()
	}
	var bad []string
	for _, f := range l.failed {
		if !excused(f) {
			bad = append(bad, f.text)
		}
	}
	t.Logf("%s: %d requests, %d failed (%d excused), p50 %v, p99 %v, slowest %v", l.url, l.count(), len(l.failed), len(l.failed)-len(bad),
		l.percentile(50, 0).Round(time.Microsecond), l.percentile(99, 0).Round(time.Microsecond), l.percentile(100, 0).Round(time.Microsecond))
	if len(bad) > 0 {
		t.Errorf("%s: %d of %d requests failed:\n%s", l.url, len(bad), l.count(), strings.Join(bad[:min(20, len(bad))], "\n"))
	}
	return l.count()
}

// streams keeps long exchanges with an app open, one of each kind at all times:
// a request that takes slow, a WebSocket that echoes, and an SSE stream.
type streams struct {
	h      *host
	app    string
	slow   time.Duration
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	lived map[string][]time.Duration // by kind; of what ended by itself
	bad   []string
}

// streams opens them and returns when each has begun.
func (h *host) streams(app string, slow time.Duration) *streams {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &streams{h: h, app: app, slow: slow, cancel: cancel, lived: map[string][]time.Duration{}}
	for kind, open := range map[string]func(context.Context, func()) error{
		"slow request": s.slowRequest, "websocket": s.webSocket, "sse": s.sse,
	} {
		begun := make(chan struct{})
		s.work.Go(func() { s.keep(ctx, kind, sync.OnceFunc(func() { close(begun) }), open) })
		select {
		case <-begun:
		case <-time.After(20 * time.Second):
			h.t.Errorf("no %s to %s within 20 s", kind, app)
		}
	}
	return s
}

// keep opens one exchange after the other. A nil error is an end that its kind
// allows; one that could not begin is bad.
func (s *streams) keep(ctx context.Context, kind string, begun func(), open func(context.Context, func()) error) {
	for ctx.Err() == nil {
		began, opened := time.Now(), false
		err := open(ctx, func() { opened = true; begun() })
		lived := time.Since(began)
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		s.lived[kind] = append(s.lived[kind], lived)
		if err != nil || !opened {
			s.bad = append(s.bad, fmt.Sprintf("%s to %s, opened: %v, after %v: %v", kind, s.app, opened, lived.Round(time.Millisecond), err))
		}
		tooMany := len(s.bad) > 50
		s.mu.Unlock()
		if tooMany {
			return
		}
	}
}

// client has a connection of its own for each exchange.
func (s *streams) client() *http.Client {
	c := s.h.dialing(func(tr *http.Transport) {
		tr.DisableKeepAlives = true
		tr.TLSClientConfig.NextProtos, tr.ForceAttemptHTTP2 = []string{"http/1.1"}, false
	})
	c.Timeout = 0
	return c
}

func (s *streams) slowRequest(ctx context.Context, begun func()) error {
	begun()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s.localhost/slow?for=%s", s.app, s.slow), nil)
	if err != nil {
		return err
	}
	res, err := s.client().Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || !strings.Contains(string(body), "slept") {
		return fmt.Errorf("%d %q %w", res.StatusCode, body, err)
	}
	return nil
}

// sse reads events, numbered without a gap, until the stream ends.
func (s *streams) sse(ctx context.Context, begun func()) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s.localhost/sse", s.app), nil)
	if err != nil {
		return err
	}
	res, err := s.client().Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		return fmt.Errorf("answered %d", res.StatusCode)
	}
	body := bufio.NewReader(res.Body)
	for i := 0; ; i++ {
		var n int
		if _, err := fmt.Fscanf(body, "data: %d\n\n", &n); err != nil {
			return nil // cut; whether it may be is for stop to say
		}
		if n != i {
			return fmt.Errorf("event %d after %d events", n, i)
		}
		begun()
	}
}

// webSocket has its text echoed until the connection ends.
func (s *streams) webSocket(ctx context.Context, begun func()) error {
	c, _, err := websocket.Dial(ctx, fmt.Sprintf("wss://%s.localhost/ws", s.app), &websocket.DialOptions{HTTPClient: s.client()})
	if err != nil {
		return err
	}
	defer c.CloseNow()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		want := fmt.Sprint("message ", i)
		if err := c.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
			return nil // cut; see sse
		}
		_, got, err := c.Read(ctx)
		if err != nil {
			return nil
		}
		if string(got) != want {
			return fmt.Errorf("echo of %q is %q", want, got)
		}
		begun()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// stop closes everything and fails the test for slow requests that failed and
// for streams that ended before they had lived for atLeast.
func (s *streams) stop(t testing.TB, atLeast time.Duration) {
	t.Helper()
	s.cancel()
	s.work.Wait()
	for kind, lived := range s.lived {
		t.Logf("%s to %s ended by themselves after %v", kind, s.app, lived)
		for _, d := range lived {
			if kind != "slow request" && d < atLeast {
				t.Errorf("a %s to %s was cut after %v, want at least %v", kind, s.app, d, atLeast)
			}
		}
	}
	for _, b := range s.bad {
		t.Error(b)
	}
}

// forever is how long streams live that nothing may cut.
const forever = time.Duration(math.MaxInt64)
