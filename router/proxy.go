package router

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"
)

// proxy answers on the HTTPS port. It is the handler, and the RoundTripper
// between httputil.ReverseProxy and the replicas' transports.
type proxy struct {
	r       *Router
	reverse *httputil.ReverseProxy
}

func newProxy(r *Router) *proxy {
	p := &proxy{r: r}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:       p.rewrite,
		Transport:     p,
		ErrorHandler:  p.fail,
		FlushInterval: -1, // every byte goes on as it comes
		BufferPool:    &bufferPool{},
		ErrorLog:      slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.r.counters.requests.Add(1)
	p.r.active.Add(1)
	defer p.r.active.Done()
	ex := &exchange{id: newRequestID(), start: time.Now(), remote: r.RemoteAddr, publicPort: p.r.publicPort}
	_, ex.upgrade = r.Header["Upgrade"]
	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), exchangeKey{}, ex))
	defer cancel(nil)
	ex.watch = newWatch(p.r.limits.Idle, func() { p.r.counters.timeouts.Add(1); cancel(errIdle) })
	defer ex.end()
	rc := http.NewResponseController(w)
	aw := &answerWriter{ResponseWriter: w, rc: rc, ex: ex, proto: r.ProtoMajor, stall: p.r.limits.WriteStall}
	if f, ok := p.admit(r, ex); !ok {
		boundUnread(rc, r, p.r.limits.Header)
		f.write(aw, r, ex.id)
		return
	}
	r = r.WithContext(ctx)
	if r.ContentLength != 0 {
		ex.body = &clientBody{source: r.Body, rc: rc, ex: ex, stall: p.r.limits.BodyStall, fresh: -1}
		r.Body = ex.body
		if r.ProtoMajor == 1 {
			_ = rc.EnableFullDuplex() // or net/http would swallow the body before it sends the first byte back
		}
	}
	p.reverse.ServeHTTP(aw, r)
	if ex.body.unfinished() && r.ProtoMajor == 1 && !ex.upgrade {
		ex.end()
		ex.body.linger()
	}
}

// admit decides whether r is one whose meaning is beyond doubt, and counts it in
// with its app.
func (p *proxy) admit(r *http.Request, ex *exchange) (failure, bool) {
	host, port, ok := requestHost(r)
	if !ok {
		return failBadRequest, false
	}
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		return failMethod, false
	}
	if sni, ok := serverName(r); ok && sni == "" && isAddress(host) {
		p.r.counters.noHost.Add(1)
		return failNoHost, false // an address is nobody's host, and has no name to shake hands with
	} else if !ok || sni != host {
		p.r.counters.misdirected.Add(1)
		return failMisdirected, false
	}
	ex.host, ex.authority = host, host
	if port != "" {
		ex.authority = net.JoinHostPort(host, port)
	}
	if rt := p.r.table.Load().routes[host]; rt != nil {
		if !rt.load.enter(int64(p.r.limits.InFlight)) {
			p.r.counters.busy.Add(1)
			return failBusy, false
		}
		ex.load = rt.load
	}
	return failure{}, true
}

// rewrite makes the request that the replica sees.
func (p *proxy) rewrite(pr *httputil.ProxyRequest) {
	ex := exchangeOf(pr.In.Context())
	pr.Out.URL.Scheme = "http"
	pr.Out.URL.Host = "replica" // names no address: each transport knows its own
	pr.Out.URL.User = nil
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it came, odd or not: apps parse it
	pr.Out.Host = ex.authority
	setForwarded(pr.Out.Header, ex)
}

// answered starts the answer's watch.
func (p *proxy) answered(ex *exchange, resp *http.Response) {
	if ex.body != nil {
		ex.body.relax()
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		ex.watch.stop() // a WebSocket may be silent
		return
	}
	ex.watch.touch()
	resp.Body = &answerBody{resp.Body, ex}
}

// fail answers for a replica that did not.
func (p *proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	ex := exchangeOf(r.Context())
	f, ok := p.judge(r, ex, err)
	if !ok {
		panic(http.ErrAbortHandler) // the client is gone: nobody to answer
	}
	p.r.log.Debug("request failed", "host", ex.host, "code", f.code, "request", ex.id, "err", err)
	f.write(w, r, ex.id)
}

// judge says whose fault err is. It reports false when the client went away.
func (p *proxy) judge(r *http.Request, ex *exchange, err error) (failure, bool) {
	var dial *dialError
	var timeout net.Error
	timedOut := errors.As(err, &timeout) && timeout.Timeout()
	c := &p.r.counters
	switch {
	case errors.Is(err, errNoHost):
		c.noHost.Add(1)
		return failNoHost, true
	case errors.Is(err, errNoReplica):
		c.noReplica.Add(1)
		return failNoReplica, true
	case errors.Is(err, errIdleApp):
		c.noReplica.Add(1)
		return failIdle, true
	case ex.body.failed() != nil:
		if errors.As(ex.body.failed(), &timeout) && timeout.Timeout() {
			c.slowClients.Add(1)
			return failSlowClient, true
		}
		return failure{}, false
	case errors.Is(context.Cause(r.Context()), errIdle):
		return failTimeout.because("Neither the client nor the replica sent anything for %g s.", p.r.limits.Idle.Seconds()), true
	case timedOut && !errors.As(err, &dial):
		c.timeouts.Add(1)
		return failTimeout.because("A replica did not begin to answer within %g s.", p.r.limits.FirstByte.Seconds()), true
	case r.Context().Err() != nil:
		return failure{}, false
	case errors.As(err, &dial):
		c.unreachable.Add(1)
		return failConnect, true
	}
	c.broken.Add(1)
	return failBroken, true
}

// bufferPool lends the 32 KiB through which an answer is copied.
type bufferPool struct{ pool sync.Pool }

func (b *bufferPool) Get() []byte {
	if v, ok := b.pool.Get().(*[]byte); ok {
		return *v
	}
	return make([]byte, 32<<10)
}

func (b *bufferPool) Put(buf []byte) { b.pool.Put(&buf) }
