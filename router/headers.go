package router

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// owned are the request headers that only the router may set, besides all that
// begin with X-Forwarded: lower case, with dashes.
var owned = map[string]bool{
	"forwarded": true, "x-real-ip": true, "x-request-id": true, "x-request-start": true,
	"proxy": true, // CGI would make it HTTP_PROXY
}

// ownedHeader reports whether a client must not set name. Underscores and the
// like count as dashes: CGI, WSGI and Rack cannot tell X_Real_IP from X-Real-IP.
func ownedHeader(name string) bool {
	folded := strings.Map(func(c rune) rune {
		switch {
		case 'A' <= c && c <= 'Z':
			return c + 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			return c
		}
		return '-'
	}, name)
	return owned[folded] || strings.HasPrefix(folded, "x-forwarded")
}

// setForwarded replaces everything that says where a request came from. It runs
// after the hop-by-hop headers are gone, so a Connection header cannot name
// these.
func setForwarded(out http.Header, ex *exchange) {
	for name := range out {
		if ownedHeader(name) {
			delete(out, name)
		}
	}
	client, _, err := net.SplitHostPort(ex.remote)
	if err != nil {
		client = ex.remote
	}
	if i := strings.IndexByte(client, '%'); i >= 0 {
		client = client[:i] // the zone of a link-local address means nothing elsewhere
	}
	quoted := client
	if strings.Contains(client, ":") {
		quoted = `"[` + client + `]"`
	}
	out["X-Forwarded-For"] = []string{client}
	out["X-Forwarded-Proto"] = []string{"https"}
	out["X-Forwarded-Host"] = []string{ex.authority}
	out["X-Forwarded-Port"] = []string{ex.publicPort}
	out["X-Real-Ip"] = []string{client}
	out["Forwarded"] = []string{"for=" + quoted + `;host="` + ex.authority + `";proto=https`}
	out["X-Request-Id"] = []string{ex.id}
	out["X-Request-Start"] = []string{strconv.FormatInt(ex.start.UnixMilli(), 10)} // Heroku's unit
}

// newRequestID makes 32 hex digits. It names a request in logs and error pages
// and guards nothing, so it need not come from crypto/rand.
func newRequestID() string { return fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64()) }
