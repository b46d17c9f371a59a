package router

import (
	"net/http"
	"time"
)

// boundUnread gives the body of an HTTP/1 request that nobody will read a
// deadline. net/http throws such a body away, up to 256 KiB, before it sends the
// answer, and a client that sends a byte per second would hold its connection for
// days. Beyond the deadline the answer is sent and the connection closed.
func boundUnread(rc *http.ResponseController, r *http.Request, within time.Duration) {
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		_ = rc.SetReadDeadline(time.Now().Add(within)) // fails only on a dead connection
	}
}

// unread is a handler that never reads a body.
type unread struct {
	handler http.Handler
	within  time.Duration
}

func (u unread) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	boundUnread(http.NewResponseController(w), r, u.within)
	u.handler.ServeHTTP(w, r)
}

// redirects is the handler of the plain port.
func (r *Router) redirects() http.Handler { return unread{redirectHandler{r}, r.limits.Header} }
