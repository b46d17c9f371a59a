package router

import (
	"cmp"
	"time"
)

// Limits bounds what clients and replicas may do. Zero fields get the default
// in brackets; none can be switched off.
type Limits struct {
	Handshake   time.Duration // TLS handshake, a missing certificate's issue included (10 s)
	Header      time.Duration // request head, from the connection's or the request's first byte (10 s)
	HeaderBytes int           // request head (32 KiB)
	// BodyStall is how long a request body may bring less than minProgress while
	// the replica has not begun to answer (25 s).
	BodyStall time.Duration
	// WriteStall is how long a client may take for one write of the answer, which
	// is at most 32 KiB (25 s: closing TLS waits another 5 s for such a client).
	WriteStall time.Duration
	// InFlight is how many requests and upgraded connections of one app may be
	// under way at once; what comes on top is answered 503 at once, not queued (4,096;
	// see InFlightFor).
	InFlight int
	// KeepAlive closes client connections that carry no request (60 s).
	KeepAlive time.Duration
	// Connect bounds one dial to a replica (3 s: two SYNs are lost before it ends).
	Connect time.Duration
	// Reach bounds one dial to a replica on another host, and whatever leads there
	// (1.5 s: one SYN is lost before it ends).
	Reach time.Duration
	// FirstByte counts from the end of the request to the head of the answer (30 s: Heroku's H12).
	FirstByte time.Duration
	// Silence is how long a replica may leave all that it is asked without an answer
	// until it is pinged, and as long again until it is left out (1 s).
	Silence time.Duration
	// Idle ends an exchange, upgraded ones excepted, in which neither side sent a
	// byte (55 s: Heroku's rolling window).
	Idle time.Duration
	// UpstreamIdle closes unused connections to replicas. It is shorter than what
	// common application servers allow (gunicorn 2 s, Node and uvicorn 5 s), so
	// that we, not they, end a connection: a POST, which nobody may repeat, then
	// hardly ever meets a connection that is being closed. A new one costs 0.1 ms
	// on the same host (1.5 s).
	UpstreamIdle time.Duration
	// Shutdown is how long requests may go on after Run was told to end (10 s).
	Shutdown time.Duration
}

// perRequest is what one in flight takes of this process, and at most of it: two
// connections with their buffers and goroutines (TestConnectionsAreCheap).
const perRequest = 60 << 10

// InFlightFor is the Limits.InFlight that keeps one app's requests within an eighth
// of a machine's memory: 1,092 on 512 MB. No machine gets more than the default,
// whose connections take 8,192 descriptors, or less than 256.
func InFlightFor(memoryBytes int64) int {
	return int(min(4096, max(256, memoryBytes/8/perRequest)))
}

// minProgress is what a request body must bring per Limits.BodyStall. It is
// far below any real upload and far above what slow-body tools send.
const minProgress = 1024

func (l Limits) withDefaults() Limits {
	return Limits{
		Handshake:    cmp.Or(l.Handshake, 10*time.Second),
		Header:       cmp.Or(l.Header, 10*time.Second),
		HeaderBytes:  cmp.Or(l.HeaderBytes, 32<<10),
		BodyStall:    cmp.Or(l.BodyStall, 25*time.Second),
		WriteStall:   cmp.Or(l.WriteStall, 25*time.Second),
		InFlight:     cmp.Or(l.InFlight, 4096),
		KeepAlive:    cmp.Or(l.KeepAlive, 60*time.Second),
		Connect:      cmp.Or(l.Connect, 3*time.Second),
		Reach:        cmp.Or(l.Reach, 1500*time.Millisecond),
		FirstByte:    cmp.Or(l.FirstByte, 30*time.Second),
		Silence:      cmp.Or(l.Silence, time.Second),
		Idle:         cmp.Or(l.Idle, 55*time.Second),
		UpstreamIdle: cmp.Or(l.UpstreamIdle, 1500*time.Millisecond),
		Shutdown:     cmp.Or(l.Shutdown, 10*time.Second),
	}
}
