package api

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// headerServers names all servers of a cluster that has several: host:port each. Any
// of them takes any request.
const headerServers = "Paas-Servers"

// otherAfter is how long a server may take to accept a connection before another one
// is asked as well: a host that is off says nothing.
const otherAfter = 300 * time.Millisecond

// dialed is what became of one address.
type dialed struct {
	conn net.Conn
	at   string
	err  error
}

// dialAny connects to the first of several addresses that accepts, at: they are asked in
// their order, each one otherAfter the one before, or at once if that refused. The
// error is that of who refused first.
func dialAny(ctx context.Context, dial func(ctx context.Context, address string) (net.Conn, error), addresses []string) (conn net.Conn, at string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan dialed, len(addresses)) // each address sends one
	next := time.NewTimer(0)
	defer next.Stop()
	var refused error
	for open := 0; len(addresses) > 0 || open > 0; {
		select {
		case <-next.C:
			if len(addresses) == 0 {
				continue
			}
			address := addresses[0]
			addresses, open = addresses[1:], open+1
			go func() {
				conn, err := dial(ctx, address)
				results <- dialed{conn, address, err}
			}()
			next.Reset(otherAfter)
		case r := <-results:
			open--
			if r.err == nil {
				go closeLate(results, open)
				return r.conn, r.at, nil
			}
			if refused == nil {
				refused = r.err
			}
			next.Reset(0)
		}
	}
	return nil, "", refused
}

// closeLate gives back what n addresses answer when it is not needed any more.
func closeLate(results <-chan dialed, n int) {
	for range n {
		if r := <-results; r.conn != nil {
			_ = r.conn.Close() // nothing was said on it
		}
	}
}

// way is whom a client asks before the server that it was made for.
type way struct {
	mu    sync.Mutex
	first string // host:port; "" is nobody
	used  string // host:port that was connected to last
}

func (w *way) use(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used = address
}

func (w *way) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.used
}

func (w *way) lead(to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.first = to
}

// through is addresses, in the order in which to ask.
func (w *way) through(base string, others []string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := []string{base}
	if w.first != "" && w.first != base {
		all = []string{w.first, base}
	}
	return append(all, slices.DeleteFunc(slices.Clone(others), func(o string) bool { return slices.Contains(all, o) })...)
}

// dialer connects to the server that the client was made for, or to another one.
func (cfg ClientConfig) dialer(base string, w *way) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != base || len(cfg.Others) == 0 {
			w.use(base)
			return d.DialContext(ctx, network, address) // of a proxy, or there is no other
		}
		conn, at, err := dialAny(ctx, func(ctx context.Context, address string) (net.Conn, error) {
			return d.DialContext(ctx, network, address)
		}, w.through(base, cfg.Others))
		if err == nil {
			w.use(at)
		}
		return conn, err
	}
}

// learn tells the client's owner which servers there are, if the answer says so.
func (c *Client) learn(h http.Header) {
	text := h.Get(headerServers)
	if text == "" || c.config.Learned == nil {
		return
	}
	var servers []string
	for part := range strings.SplitSeq(text, ",") {
		host, port, err := net.SplitHostPort(strings.TrimSpace(part))
		if err != nil || net.ParseIP(host) == nil || len(servers) == maxServers {
			return // nothing that our servers say
		}
		servers = append(servers, net.JoinHostPort(host, port))
	}
	c.config.Learned(servers, c.way.last())
}

// maxServers bounds how many servers a client remembers.
const maxServers = 32

// tellServers lets clients that have shown who they are remember the other servers:
// where those are is nothing for strangers.
func (g *gate) tellServers(h http.Header) {
	if g.servers == nil {
		return
	}
	if all := g.servers(); len(all) > 1 {
		h.Set(headerServers, strings.Join(all, ", "))
	}
}
