package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

const (
	// holdTime is how long a request waits for a leader: an election takes less than a
	// second, a cluster that starts a few.
	holdTime = 10 * time.Second
	// holdPause is between two tries to reach a leader that does not take a request.
	holdPause = 30 * time.Millisecond
	// replayBytes is how much of a request's body is kept, so that it can be sent to
	// the next leader when the last one did not take it. Only sources and git's packs
	// are larger, and they wait for a word from the leader before they are sent.
	replayBytes = 1 << 20

	// headerSource tells the leader whose request it is: only another server's word counts.
	headerSource = "Paas-Source"
	// headerNotLeading says of an answer that the request was not looked at.
	headerNotLeading = "Paas-Not-Leading"
)

// forwarder is in front of the API: requests are served by the server that leads, and
// passed on to it by the others, whole, with the caller's own credentials: it is the
// leader that judges them.
type forwarder struct {
	*control
	local http.Handler
	proxy *httputil.ReverseProxy
}

func newForwarder(c *control, local http.Handler, d *api.Dialer, log *slog.Logger) *forwarder {
	t := d.Transport("http/1.1", peerDialTime)
	t.ResponseHeaderTimeout = 0 // a change may wait for its turn
	f := &forwarder{control: c, local: local}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.Host = "https", r.In.Host
			r.Out.Header.Set(headerSource, r.In.RemoteAddr)
		},
		Transport:     &toLeader{control: c, transport: t},
		FlushInterval: -1, // answers are streams
		ErrorHandler:  refuse,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return f
}

// ServeHTTP implements http.Handler.
func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, role, node := peerOf(r)
	passed := node && role == identity.RoleServer && !f.book.refuses(id)
	source := r.Header.Get(headerSource)
	r.Header.Del(headerSource)
	if passed {
		r.RemoteAddr = source
		f.asLeader(w, r)
		return
	}
	if api.IsLocal(r) {
		f.local.ServeHTTP(w, r)
		return
	}
	at, err := f.helm(r.Context(), api.Patience(r, holdTime))
	switch {
	case err != nil:
		refuse(w, r, err)
	case at.tenure != nil:
		f.local.ServeHTTP(w, r)
	default:
		f.proxy.ServeHTTP(w, r)
	}
}

// refuse answers with err, to git in a form that it shows.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	var e *cluster.Error
	if strings.HasPrefix(r.URL.Path, gitPrefix) && errors.As(err, &e) {
		tellGit(w, e)
		return
	}
	api.WriteProblem(w, err, "")
}

// asLeader serves what another server passed on, or says at once that it should look
// for another leader.
func (f *forwarder) asLeader(w http.ResponseWriter, r *http.Request) {
	if tenure, _ := f.tenure.now(); tenure != nil {
		f.local.ServeHTTP(w, r)
		return
	}
	w.Header().Set(headerNotLeading, "1")
	w.WriteHeader(http.StatusServiceUnavailable)
}

// toLeader is the forwarder's http.RoundTripper.
type toLeader struct {
	*control
	transport http.RoundTripper
}

// RoundTrip sends a request to the leader, and again to the next one if it was not
// taken.
func (t *toLeader) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := keepBody(req)
	if err != nil {
		return nil, cluster.Invalid("body", "the request could not be read").Wrap(err)
	}
	hold, cancel := context.WithTimeout(req.Context(), holdTime)
	defer cancel()
	for {
		at, err := t.helm(hold, holdTime)
		if err != nil {
			return nil, err
		}
		id := at.other
		if at.tenure != nil {
			id = t.self // it leads by now: the same way, through its own port
		}
		ctx, end := t.whileLeads(req.Context(), at)
		out := req.Clone(ctx)
		out.URL.Host = string(id)
		body.attach(out)
		resp, err := t.transport.RoundTrip(out)
		if err == nil && resp.Header.Get(headerNotLeading) == "" {
			given := resp.Body                                   // for a terminal, httputil.ReverseProxy takes it out of resp
			context.AfterFunc(ctx, func() { _ = given.Close() }) // the reader is told already
			return resp, nil
		}
		end()
		if err != nil && !body.mayRepeat(req, err) {
			return nil, unanswered(req, id, err)
		}
		if err == nil {
			_ = resp.Body.Close() // it has none
			if body.read.Load() { // it was slow to say so, and what it was sent is gone
				return nil, unanswered(req, id, &api.NotSentError{Err: errNotLeading})
			}
		}
		if pause(hold, holdPause) != nil {
			return nil, unanswered(req, id, errors.Join(err, errNotLeading))
		}
	}
}

// whileLeads returns ctx, ended as well when another server than at is known to lead,
// or none is for holdTime: a leader that fell silent, with its host or its network,
// will not answer what was passed to it. end frees it.
func (t *toLeader) whileLeads(ctx context.Context, at helmsman) (_ context.Context, end context.CancelFunc) {
	ctx, end = context.WithCancel(ctx)
	was := at.other
	go func() {
		defer end()
		for {
			select {
			case <-at.gone:
			case <-ctx.Done():
				return
			}
			now, err := t.helm(ctx, holdTime)
			if err != nil || now.other != was {
				return
			}
			at = now // it leads on: what it lost was only for a moment
		}
	}()
	return ctx, end
}

// unanswered says what became of a request that the leader did not answer.
func unanswered(req *http.Request, leader cluster.NodeID, err error) error {
	if req.Context().Err() != nil {
		return req.Context().Err()
	}
	e := cluster.Errorf(cluster.KindUnavailable, "leader_lost", "the request was not answered").
		Because("server %s, which led, did not answer", leader).Wrap(err)
	var unsent *api.NotSentError
	if errors.As(err, &unsent) || safe(req.Method) {
		return e.WithHint("try again")
	}
	e.Code = "outcome_unknown"
	return e.WithHint("it may have been done or not: look before you try again")
}

// safe methods change nothing.
func safe(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// keptBody hands the same body to one try after the other.
type keptBody struct {
	kept   []byte        // all of it, if it is small
	stream io.ReadCloser // else; nil
	read   atomic.Bool   // something of stream was read; a transport that gave up may still read
}

// keepBody reads a small body, and makes a large one wait for the leader's word.
func keepBody(req *http.Request) (*keptBody, error) {
	b := &keptBody{}
	if req.Body == nil || req.Body == http.NoBody {
		return b, nil
	}
	if req.ContentLength < 0 || req.ContentLength > replayBytes {
		b.stream = req.Body
		req.Header.Set("Expect", "100-continue")
		return b, nil
	}
	var err error
	b.kept, err = io.ReadAll(req.Body)
	return b, err
}

// attach gives the body to a try.
func (b *keptBody) attach(out *http.Request) {
	switch {
	case b.stream != nil:
		out.Body = b
	case len(b.kept) > 0:
		out.Body = io.NopCloser(bytes.NewReader(b.kept))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.kept)), nil }
	default:
		out.Body = nil
	}
}

// Read implements io.Reader for a stream.
func (b *keptBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	return b.stream.Read(p)
}

// Close implements io.Closer. The stream stays open for the next try; the server
// that it came to closes it in the end.
func (b *keptBody) Close() error { return nil }

// mayRepeat reports whether a request that failed cannot have had an effect.
func (b *keptBody) mayRepeat(req *http.Request, err error) bool {
	var unsent *api.NotSentError
	if req.Context().Err() != nil || b.read.Load() {
		return false
	}
	return errors.As(err, &unsent) || safe(req.Method)
}
