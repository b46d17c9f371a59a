package router

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
)

const (
	// maxAttempts: one retry.
	maxAttempts = 2
	// maxConnects is how many replicas are tried while none took the connection:
	// nothing was sent, and each failure leaves that replica out for the others.
	maxConnects = 3
)

// RoundTrip sends a request to a replica, and once more to another one if the
// first failed in a way that cannot have had an effect. It is the Transport of
// the ReverseProxy.
func (p *proxy) RoundTrip(req *http.Request) (*http.Response, error) {
	ex := exchangeOf(req.Context())
	source := newSource(req.Body)
	var tried []*upstream
	var last error
	for {
		up, err := p.r.choose(ex.host, tried)
		if err != nil {
			if last != nil {
				err = last // there is no other replica
			}
			return nil, err
		}
		if ex.up != nil {
			ex.up.release()
		}
		ex.up = up
		up.asked()
		resp, err := up.transport.RoundTrip(source.attach(req))
		if err == nil {
			up.forgive()
			up.heard()
			p.answered(ex, resp)
			return resp, nil
		}
		p.blame(up, err)
		tried, last = append(tried, up), err
		if !p.mayRetry(req, source, err, len(tried)) {
			return nil, err
		}
		p.r.counters.retries.Add(1)
	}
}

// blame ejects a replica that refuses connections. Silence is judged elsewhere:
// a request that was given up says nothing about it.
func (p *proxy) blame(up *upstream, err error) {
	var dial *dialError
	var timeout net.Error
	if !errors.Is(err, context.Canceled) && !(errors.As(err, &timeout) && timeout.Timeout()) {
		up.heard()
	}
	if !errors.As(err, &dial) || errors.Is(err, context.Canceled) {
		return
	}
	p.r.blameHost(up, err)
	p.r.refused(up, dial.err)
}

// mayRetry reports whether a failed request may go to another replica.
func (p *proxy) mayRetry(req *http.Request, source *source, err error, attempts int) bool {
	var dial *dialError
	if req.Context().Err() != nil {
		return false
	}
	if errors.As(err, &dial) {
		return attempts < maxConnects && source.unread()
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return false // it may still be working on it
	}
	return attempts < maxAttempts && idempotent(req.Method) && source.unread()
}

// idempotent methods may be repeated (RFC 9110, 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// source hands one request body to one attempt after the other, for as long as
// nobody read from it.
type source struct {
	body io.ReadCloser // nil if the request has none

	mu      sync.Mutex
	used    bool
	current *attempt
}

func newSource(body io.ReadCloser) *source {
	if body == http.NoBody {
		body = nil
	}
	return &source{body: body}
}

// attach returns req with a body of its own. An earlier attempt's is dead then.
func (s *source) attach(req *http.Request) *http.Request {
	if s.body == nil {
		return req
	}
	out := *req
	out.Body = s.next()
	// With it the transport itself may repeat what it never wrote: the usual end
	// of a keep-alive connection that the replica closed meanwhile.
	out.GetBody = func() (io.ReadCloser, error) {
		if !s.unread() {
			return nil, errDetached
		}
		return s.next(), nil
	}
	return &out
}

func (s *source) next() *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = &attempt{source: s}
	return s.current
}

// unread reports whether the body is still whole, and keeps it so: no attempt
// so far can read from it any more.
func (s *source) unread() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body == nil {
		return true
	}
	if !s.used {
		s.current = nil
	}
	return !s.used
}

// attempt is the body as one attempt sees it.
type attempt struct{ source *source }

func (a *attempt) Read(p []byte) (int, error) {
	s := a.source
	s.mu.Lock()
	if s.current != a {
		s.mu.Unlock()
		return 0, errDetached
	}
	s.used = true
	s.mu.Unlock()
	return s.body.Read(p)
}

// Close leaves the client's body alone: another attempt may need it.
func (a *attempt) Close() error { return nil }
