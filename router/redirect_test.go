package router

import (
	"io"
	"net"
	"testing"
	"time"
)

func TestClientsThatReadNoRedirectsAreCut(t *testing.T) {
	inBubble(t, say("x"), func(t *testing.T, b *bubble) {
		plain := newHandoff(nil)
		server := b.r.server(t.Context(), redirectHandler{b.r})
		go server.Serve(plain)
		defer server.Close()
		client, far := net.Pipe()
		defer client.Close()
		start := time.Now()
		_ = client.SetDeadline(start.Add(time.Hour))
		plain.give(b.r.guardConn(far, ""))
		var err error
		for err == nil { // the answer to the first stays in the router, and so does what follows
			_, err = io.WriteString(client, "GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
		}
		between(t, "deaf client cut", time.Since(start), 24*time.Second, 31*time.Second)
	})
}
