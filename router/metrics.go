package router

import "sync/atomic"

// counters count since the router was made.
type counters struct {
	requests, retries, ejections, noHost, noReplica, timeouts,
	unreachable, broken, slowClients, busy, misdirected, ambiguous, handshakes atomic.Uint64
}

// Metrics is what a router has counted since it was made.
type Metrics struct {
	Requests    uint64 // on both ports, the refused ones included
	Retries     uint64 // sent to another replica
	Ejections   uint64 // replicas left out after a refused connection or for silence
	NoHost      uint64 // answered 404: no such host
	NoReplica   uint64 // answered 503
	Timeouts    uint64 // answered 504, or cut because nobody sent anything
	Unreachable uint64 // answered 502: no connection
	Broken      uint64 // answered 502: no valid answer
	SlowClients uint64 // answered 408
	Busy        uint64 // answered 503: the app has too much in flight
	Misdirected uint64 // answered 421
	Ambiguous   uint64 // connections with unclear HTTP/1 framing
	Handshakes  uint64 // TLS handshakes that failed
}

// Metrics reads the counters.
func (r *Router) Metrics() Metrics {
	c := &r.counters
	return Metrics{
		Requests: c.requests.Load(), Retries: c.retries.Load(), Ejections: c.ejections.Load(),
		NoHost: c.noHost.Load(), NoReplica: c.noReplica.Load(), Timeouts: c.timeouts.Load(),
		Unreachable: c.unreachable.Load(), Broken: c.broken.Load(), SlowClients: c.slowClients.Load(),
		Busy:        c.busy.Load(),
		Misdirected: c.misdirected.Load(), Ambiguous: c.ambiguous.Load(), Handshakes: c.handshakes.Load(),
	}
}
