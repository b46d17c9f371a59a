package server

import (
	"context"
	"net/http"
	"testing"
)

// endedBody is a body that says when it is closed.
type endedBody struct{ closed chan struct{} }

func (b endedBody) Read([]byte) (int, error) { return 0, context.Canceled }

func (b endedBody) Close() error {
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
	return nil
}

// switching answers every request with 101, as a leader does that opens a terminal.
type switching struct{ body endedBody }

func (s switching) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{}, Body: s.body}, nil
}

// TestATerminalThroughAFollowerEnds: httputil.ReverseProxy takes the body of a 101 out
// of the answer. When the request is over the body ends all the same, and the server
// does not.
func TestATerminalThroughAFollowerEnds(t *testing.T) {
	h := newHost(t)
	h.await("the server leads", func() bool {
		at, err := h.server.helm(t.Context(), holdTime)
		return err == nil && at.tenure != nil
	})
	body := endedBody{make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://leader/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&toLeader{control: h.server.control, transport: switching{body}}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = nil
	cancel()
	<-body.closed
}
