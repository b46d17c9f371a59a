package api

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// oneConn is a listener that has one connection.
type oneConn struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// A stranger who trickles a body, or reads no answer, is gone in time.
func TestSlowStrangersAreCut(t *testing.T) {
	s := newServer(t)
	const head = "%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
	for name, tt := range map[string]struct{ start, want string }{
		"no token":       {"POST /v1/apps", " 401 "},
		"wrong token":    {"POST /v1/apps HTTP/1.1\r\nAuthorization: Bearer guess\r\nX-Rest:", " 401 "},
		"foreign origin": {"POST /v1/apps HTTP/1.1\r\nOrigin: https://evil.example.com\r\nX-Rest:", " 403 "},
		"open route":     {"GET /healthz", " 200 "},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, conn := net.Pipe()
			l := oneConn{make(chan net.Conn, 1), make(chan struct{})}
			l.conns <- conn
			srv := &http.Server{Handler: s.Config.Handler, IdleTimeout: time.Minute}
			go srv.Serve(l)
			began := time.Now()
			_ = client.SetReadDeadline(began.Add(time.Hour))
			hungUp := make(chan struct{})
			go func() {
				defer close(hungUp)
				for _, err := fmt.Fprintf(client, head, tt.start); err == nil; _, err = client.Write([]byte("x")) {
					time.Sleep(time.Second) // fake time
				}
			}()
			answer, _ := io.ReadAll(client)
			if took := time.Since(began); took > 30*time.Second || !strings.Contains(string(answer), tt.want) {
				t.Errorf("%s: ended after %v with %.80q", name, took, answer)
			}
			_ = client.Close()
			<-hungUp
			close(l.done)
			_ = srv.Close()
		})
	}
}
