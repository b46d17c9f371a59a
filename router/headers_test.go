package router

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// spoofs are headers with which clients pretend to be a proxy.
var spoofs = []string{
	"X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: http", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /evil",
	"X-Forwarded-Server: evil", "X-Forwarded-Ssl: off", "X-Forwarded-Scheme: http", "X-Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6",
	"Forwarded: for=6.6.6.6", "X-Request-ID: evil", "X-Request-Start: 1", "Proxy: http://evil",
	"X_Forwarded_For: 6.6.6.6", "X-Forwarded_For: 6.6.6.6", "X_FORWARDED-PROTO: http", "x_forwarded_host: evil", "X_Real_IP: 6.6.6.6",
	"X_Request_ID: evil", "X_Request-Start: 1", "X.Forwarded.For: 6.6.6.6", "X~Real~IP: 6.6.6.6",
	"x-forwarded-for: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7",
	"Connection: X-Forwarded-For", "Connection: X-Real-IP, X-Request-ID, Forwarded\r\nForwarded: for=6.6.6.6",
	"Connection: close, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port",
	"Connection: keep-alive, X-Forwarded-For\r\nConnection: Forwarded", "Keep-Alive: timeout=1", "Proxy-Connection: keep-alive",
	"TE: gzip", "Connection: X-Secret\r\nX-Secret: 1", "Proxy-Authorization: Basic Zm9v",
}

func TestReplicasSeeOnlyTheRoutersForwarding(t *testing.T) {
	r := start(t, newStore(t), func(c *Config) { c.HTTPSPort = 8443 })
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.Header.Set("Host", req.Host)
		_ = json.NewEncoder(w).Encode(req.Header)
	})))))
	for _, spoof := range spoofs {
		c := r.raw(t, "a.localhost")
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: A.localhost:8443\r\n%s\r\nX-App: mine\r\n\r\n", spoof)
		got := readHeader(t, c)
		id, start := got.Get("X-Request-Id"), got.Get("X-Request-Start")
		got.Del("X-Request-Id")
		got.Del("X-Request-Start")
		want := http.Header{
			"Host": {"a.localhost:8443"}, "X-App": {"mine"},
			"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"a.localhost:8443"},
			"X-Forwarded-Port": {"8443"}, "X-Real-Ip": {"127.0.0.1"},
			"Forwarded": {`for=127.0.0.1;host="a.localhost:8443";proto=https`},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: replica saw (-want +got)\n%s", spoof, diff)
		}
		if len(id) != 32 || len(start) != 13 {
			t.Errorf("%q: X-Request-Id %q, X-Request-Start %q", spoof, id, start)
		}
	}
}

func readHeader(t *testing.T, c net.Conn) http.Header {
	t.Helper()
	_, body := readRaw(t, c)
	var h http.Header
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	return h
}

func TestForwardedQuotesIPv6(t *testing.T) {
	h := http.Header{}
	setForwarded(h, &exchange{remote: "[fe80::1%eth0]:1234", authority: "a.b", publicPort: "443", start: time.Now()})
	if got := h.Get("Forwarded"); got != `for="[fe80::1]";host="a.b";proto=https` {
		t.Errorf("Forwarded = %s", got)
	}
	if got := h.Get("X-Forwarded-For"); got != "fe80::1" {
		t.Errorf("X-Forwarded-For = %s", got)
	}
}

func TestOtherUnderscoreHeadersPass(t *testing.T) {
	for _, name := range []string{"X_Custom", "X-Forward", "X-Requested-With", "X-Request-Identity", "Real-IP"} {
		if ownedHeader(name) {
			t.Errorf("%s is taken from the client", name)
		}
	}
	if !ownedHeader(strings.ToUpper("x_forwarded_for")) {
		t.Error("X_FORWARDED_FOR passes")
	}
}
