package router

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Frames and flags of RFC 9113.
const (
	h2Headers, h2Reset, h2Settings, h2Ping, h2GoAway, h2Continuation = 1, 3, 4, 6, 7, 9
	h2EndStream, h2EndHeaders                                        = 1, 4
)

// abuser is an HTTP/2 client that keeps to no rule.
type abuser struct {
	conn  *tls.Conn
	until time.Time // it stops then
}

func (r *running) abuser(t *testing.T, settings ...byte) *abuser {
	t.Helper()
	cfg := r.tls("a.localhost")
	cfg.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", r.HTTPSAddr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = c.Write(append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), h2Frame(h2Settings, 0, 0, settings)...))
	return &abuser{conn: c, until: time.Now().Add(time.Second)}
}

func h2Frame(kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	b := binary.BigEndian.AppendUint32([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}, stream)
	return append(b, payload...)
}

// h2Field is a field as a literal that is not indexed: RFC 7541, 6.2.2.
func h2Field(name, value string) []byte {
	b := []byte{0}
	for _, s := range []string{name, value} {
		n := len(s)
		if n < 127 {
			b = append(b, byte(n))
		} else {
			b = binary.AppendUvarint(append(b, 127), uint64(n-127)) // the same coding
		}
		b = append(b, s...)
	}
	return b
}

// h2Head is the head of a GET.
func h2Head(path string, more ...[]byte) []byte {
	return slices.Concat(h2Field(":method", "GET"), h2Field(":scheme", "https"), h2Field(":authority", "a.localhost"),
		h2Field(":path", path), slices.Concat(more...))
}

func h2Open(stream uint32, path string) []byte {
	return h2Frame(h2Headers, h2EndStream|h2EndHeaders, stream, h2Head(path))
}

// answer reads until the server hangs up or says something about stream 1 or the
// connection, and returns that frame's kind.
func (a *abuser) answer() (kind byte) {
	head := make([]byte, 9)
	for {
		if _, err := io.ReadFull(a.conn, head); err != nil {
			return h2GoAway
		}
		n := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
		_, _ = io.CopyN(io.Discard, a.conn, n)
		if k := head[3]; k == h2GoAway || binary.BigEndian.Uint32(head[5:]) == 1 && (k == h2Reset || k == h2Headers) {
			return k
		}
	}
}

// write sends pieces, of which there are n, until one fails or its time is over.
func (a *abuser) write(n int, piece func(i int) []byte) error {
	for i := 0; i < n && time.Now().Before(a.until); i++ {
		if _, err := a.conn.Write(piece(i)); err != nil {
			return err
		}
	}
	return nil
}

// rapidReset is CVE-2023-44487.
func (a *abuser) rapidReset() error {
	return a.write(20000, func(i int) []byte {
		stream := uint32(2*i + 1)
		return append(h2Open(stream, "/hang"), h2Frame(h2Reset, 0, stream, []byte{0, 0, 0, 8})...)
	})
}

// continuations is CVE-2024-27316: a head without end.
func (a *abuser) continuations() error {
	piece := h2Frame(h2Continuation, 0, 1, bytes.Repeat(h2Field("x", "y"), 3000))
	return a.write(2000, func(i int) []byte {
		if i == 0 {
			return h2Frame(h2Headers, h2EndStream, 1, h2Head("/"))
		}
		return piece
	})
}

// pings asks for two million answers and reads none. 60,000 were not enough to be
// hung up on: socket buffers take answers before the server's own queue does.
func (a *abuser) pings() error {
	block := bytes.Repeat(h2Frame(h2Ping, 0, 0, make([]byte, 8)), 1000)
	return a.write(2000, func(int) []byte { return block })
}

// settings are acknowledged together when the writer is busy: nothing is queued.
func (a *abuser) settings() error {
	block := bytes.Repeat(h2Frame(h2Settings, 0, 0, nil), 1000)
	return a.write(2000, func(int) []byte { return block })
}

// bomb is a head of half a kilobyte that stands for 1.5 MB: one field is indexed and
// named 500 times.
func (a *abuser) bomb() error {
	field := h2Field("x-bomb", strings.Repeat("x", 3000))
	field[0] = 0x40
	block := h2Head("/", field, bytes.Repeat([]byte{0x80 | 62}, 500))
	return a.write(500, func(i int) []byte { return h2Frame(h2Headers, h2EndStream|h2EndHeaders, uint32(2*i+1), block) })
}

// streams opens more than there may be, and ends none.
func (a *abuser) streams() error {
	return a.write(2000, func(i int) []byte { return h2Open(uint32(2*i+1), "/hang") })
}

// downloads asks for as much as it may, and has a window of nothing.
func (a *abuser) downloads() error {
	return a.write(250, func(i int) []byte { return h2Open(uint32(2*i+1), "/endless") })
}

// TestHTTP2AbuseHurtsNobodyElse: memory stays bounded, a neighbour on another
// connection is served, and nothing is left. The server is net/http's.
func TestHTTP2AbuseHurtsNobodyElse(t *testing.T) {
	if testing.Short() {
		t.Skip("abuses for a second each way")
	}
	const most = 256 << 20 // what asks and what answers are here too
	r := start(t, newStore(t), func(c *Config) {
		c.Limits.WriteStall = 2 * time.Second
		c.Limits.InFlight = InFlightFor(512 << 20)
	})
	var now atomic.Int64
	abused := routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		now.Add(1)
		defer now.Add(-1)
		switch req.URL.Path {
		case "/hang":
			<-req.Context().Done()
		case "/endless":
			for err := error(nil); err == nil; _, err = w.Write(make([]byte, 32<<10)) {
			}
		}
	})))
	abused.App = "abused"
	r.SetTable(tableOf(1, routeTo("good.localhost", backend(t, "b-1", say("good"))), abused))
	client := r.client(t)
	calm := victim(t, client, nil)
	base := runtime.NumGoroutine()
	for _, tt := range []struct {
		name  string
		conns int
		abuse func(*abuser) error
		deaf  bool // the client reads nothing
		ends  bool // the router must hang up
	}{
		{"rapid reset", 1, (*abuser).rapidReset, false, false},
		{"rapid reset", 20, (*abuser).rapidReset, false, false},
		{"endless head", 1, (*abuser).continuations, false, true},
		{"pings", 1, (*abuser).pings, true, true},
		{"settings", 1, (*abuser).settings, true, false},
		{"bomb", 1, (*abuser).bomb, false, false},
		{"streams", 1, (*abuser).streams, false, false},
		{"no window", 1, (*abuser).downloads, false, false},
	} {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var lived atomic.Int64
		var abusers []*abuser // held for as long as the victim is looked at
		for range tt.conns {
			a := r.abuser(t, 0, 4, 0, 0, 0, 0) // INITIAL_WINDOW_SIZE 0
			abusers = append(abusers, a)
			if tt.ends {
				a.until = time.Now().Add(40 * time.Second)
			}
			if !tt.deaf {
				go io.Copy(io.Discard, a.conn)
			}
			wg.Go(func() {
				if tt.abuse(a) == nil {
					lived.Add(1)
				}
			})
		}
		go func() { wg.Wait(); close(stop) }()
		w := victim(t, client, stop)
		for _, a := range abusers {
			_ = a.conn.Close()
		}
		t.Logf("%d × %s: %d connections lived; heap and stacks at most %d MiB (%d before); victim p99 %v (%v before) of %d requests",
			tt.conns, tt.name, lived.Load(), w.memory>>20, calm.memory>>20, w.p99, calm.p99, w.n)
		if tt.ends && lived.Load() > 0 {
			t.Errorf("%s: the connection lives on", tt.name)
		}
		if w.memory > calm.memory+most {
			t.Errorf("%s: memory grew from %d to %d MiB", tt.name, calm.memory>>20, w.memory>>20)
		}
		await(t, tt.name+" to leave nothing", func() bool { return now.Load() == 0 && runtime.NumGoroutine() <= base+20 })
	}
}

// looks are what a victim saw.
type looks struct {
	n      int
	p99    time.Duration
	memory uint64 // of this process, garbage included: the most that was in use
}

// victim asks 50 times and on until stop is closed; get demands an answer.
func victim(t *testing.T, c *http.Client, stop <-chan struct{}) (l looks) {
	t.Helper()
	var all []time.Duration
	for more := true; more || len(all) < 50; {
		began := time.Now()
		if code, body := get(t, c, "https://good.localhost/"); code != 200 {
			t.Fatalf("the victim: %d %s", code, body)
		}
		all = append(all, time.Since(began))
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		l.memory = max(l.memory, m.HeapInuse+m.StackInuse)
		select {
		case <-stop:
			more = false
		default:
			more = stop != nil
		}
	}
	slices.Sort(all)
	l.n, l.p99 = len(all), all[len(all)*99/100]
	return l
}

// TestHTTP2HeadsCannotSmuggle: what HTTP/1 cannot say, or would say differently,
// reaches no replica.
func TestHTTP2HeadsCannotSmuggle(t *testing.T) {
	r := start(t, newStore(t), nil)
	var mu sync.Mutex
	var seen []string
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		mu.Lock()
		seen = append(seen, fmt.Sprint(req.Method, " ", req.RequestURI, " ", req.Host, " ", req.Header))
		mu.Unlock()
	})))))
	get(t, r.client(t), "https://a.localhost/warm")
	const next = "x\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.localhost\r\n\r\n"
	for name, head := range map[string][]byte{
		"CRLF in value":      h2Head("/", h2Field("x", next)),
		"LF in value":        h2Head("/", h2Field("x", "y\nz: w")),
		"CR in value":        h2Head("/", h2Field("x", "y\rz: w")),
		"NUL in value":       h2Head("/", h2Field("x", "y\x00z")),
		"CRLF in name":       h2Head("/", h2Field("x: y\r\nz", "w")),
		"colon in name":      h2Head("/", h2Field("x:y", "w")),
		"upper case":         h2Head("/", h2Field("X-A", "w")),
		"CRLF in path":       h2Head("/ HTTP/1.1\r\nHost: a.localhost\r\n\r\nGET /smuggled"),
		"CRLF in method":     slices.Concat(h2Field(":method", "GET /smuggled HTTP/1.1\r\nx: "), h2Head("/")[len(h2Field(":method", "GET")):]),
		"connection":         h2Head("/", h2Field("connection", "close")),
		"transfer-encoding":  h2Head("/", h2Field("transfer-encoding", "chunked")),
		"upgrade":            h2Head("/", h2Field("upgrade", "websocket")),
		"te":                 h2Head("/", h2Field("te", "chunked")),
		"two paths":          h2Head("/", h2Field(":path", "/smuggled")),
		"two authorities":    h2Head("/", h2Field(":authority", "a.localhost")),
		"unknown pseudo":     h2Head("/", h2Field(":x", "y")),
		"pseudo after field": h2Head("/", h2Field("x", "y"), h2Field(":path", "/smuggled")),
	} {
		a := r.abuser(t)
		_, _ = a.conn.Write(h2Frame(h2Headers, h2EndStream|h2EndHeaders, 1, head))
		kind := a.answer()
		_ = a.conn.Close()
		mu.Lock()
		if len(seen) != 1 {
			t.Errorf("%s: answered by frame %d; a replica saw %q", name, kind, seen[1:])
		}
		seen = seen[:1]
		mu.Unlock()
	}
	a := r.abuser(t) // the frames above are refused for what is wrong with them alone
	_, _ = a.conn.Write(h2Frame(h2Headers, h2EndStream|h2EndHeaders, 1, h2Head("/", h2Field("x", strings.Repeat("y", 200)))))
	if kind := a.answer(); kind != h2Headers || len(seen) != 2 {
		t.Errorf("a good head: answered by frame %d, %q", kind, seen)
	}
}
