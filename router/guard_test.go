package router

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// smuggles are heads that two parsers might read differently. None may reach a
// replica, and each must be answered 400 (or 431, 501, 505) with the connection closed.
var smuggles = map[string]string{
	"TE and CL":                 "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
	"CL and TE":                 "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"two CL that differ":        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
	"two CL alike":              "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
	"CL list":                   "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1, 1\r\n\r\nx",
	"CL signed":                 "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: +1\r\n\r\nx",
	"CL negative":               "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: -1\r\n\r\nx",
	"CL hex":                    "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0x1\r\n\r\nx",
	"CL underscore":             "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1_0\r\n\r\nx",
	"CL empty":                  "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length:\r\n\r\n",
	"CL overflow":               "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 18446744073709551617\r\n\r\nx",
	"TE unknown":                "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
	"TE twice":                  "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"TE identity and chunked":   "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"TE identity":               "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: identity\r\n\r\nx",
	"TE list":                   "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"TE vertical tab":           "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n",
	"TE blank before colon":     "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
	"TE folded":                 "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
	"TE folded after other":     "POST / HTTP/1.1\r\nHost: HOST\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n",
	"TE in HTTP/1.0":            "POST / HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"bare LF":                   "GET / HTTP/1.1\nHost: HOST\n\n",
	"bare LF in one header":     "GET / HTTP/1.1\r\nHost: HOST\nX: y\r\n\r\n",
	"bare CR":                   "GET / HTTP/1.1\r\nHost: HOST\r\nX: y\rZ: w\r\n\r\n",
	"NUL in value":              "GET / HTTP/1.1\r\nHost: HOST\r\nX: a\x00b\r\n\r\n",
	"blank line first":          "\r\nGET / HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"header without colon":      "GET / HTTP/1.1\r\nHost: HOST\r\nnonsense\r\n\r\n",
	"empty header name":         "GET / HTTP/1.1\r\nHost: HOST\r\n: x\r\n\r\n",
	"blank before first header": "GET / HTTP/1.1\r\n Host: HOST\r\n\r\n",
	"non-token name":            "GET / HTTP/1.1\r\nHost: HOST\r\nX(y): z\r\n\r\n",
	"no host":                   "GET / HTTP/1.1\r\n\r\n",
	"no host in HTTP/1.0":       "GET / HTTP/1.0\r\n\r\n",
	"two hosts":                 "GET / HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n",
	"two hosts that differ":     "GET / HTTP/1.1\r\nHost: HOST\r\nHost: b.localhost\r\n\r\n",
	"two blanks":                "GET  / HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"blank in target":           "GET /a b HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"tab in request line":       "GET\t/ HTTP/1.1\r\nHost: HOST\r\n\r\n",
	"HTTP/0.9":                  "GET /\r\n",
	"HTTP/1.2":                  "GET / HTTP/1.2\r\nHost: HOST\r\n\r\n",
	"HTTP/2 preface":            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"lower-case version":        "GET / http/1.1\r\nHost: HOST\r\n\r\n",
	"chunk size with LF":        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
	"chunk extension with LF":   "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nx\r\n0\r\n\r\n",
	"chunk size with sign":      "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n",
	"chunk size with 0x":        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
	"chunk size overflow":       "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\nx\r\n0\r\n\r\n",
	"chunk without end":         "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz0\r\n\r\n",
	"framing in trailer":        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
}

func TestSmugglingIsRefused(t *testing.T) {
	const host = "a.localhost"
	r := start(t, newStore(t), nil)
	var mu sync.Mutex
	var seen []string
	r.SetTable(tableOf(1, routeTo(host, backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, err := io.Copy(io.Discard, req.Body)
		mu.Lock()
		seen = append(seen, fmt.Sprint(req.Method, " ", req.URL.Path, " whole: ", err == nil))
		mu.Unlock()
	})))))
	get(t, r.client(t), "https://"+host+"/warm")
	// Whatever follows an ambiguous request must never be taken for another one.
	const next = "GET /smuggled HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	for name, head := range smuggles {
		c := r.raw(t, host)
		fmt.Fprint(c, strings.ReplaceAll(head, "HOST", host)+next)
		b, _ := io.ReadAll(c)
		_ = c.Close()
		if !bytes.HasPrefix(b, []byte("HTTP/1.1 400 ")) && !bytes.HasPrefix(b, []byte("HTTP/1.0 400 ")) || bytes.Count(b, []byte("HTTP/1.")) != 1 {
			t.Errorf("%s: answered %q, want one 400", name, b)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, s := range seen {
		if strings.Contains(s, "smuggled") || strings.HasSuffix(s, "whole: true") && !strings.Contains(s, "warm") {
			t.Errorf("a replica saw %s", s)
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		fmt.Fprintf(w, "%s %s", req.URL.Path, b)
	})))))
	c := r.raw(t, "a.localhost")
	fmt.Fprint(c, "POST /1 HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 3\r\n\r\none"+
		"\r\n"+ // one empty line too many, as old clients send after a POST
		"POST /2 HTTP/1.1\r\nHost: a.localhost\r\nTransfer-Encoding: Chunked\r\n\r\n1;x=y\r\nt\r\n2 \r\nwo\r\n0\r\nX-T: v\r\n\r\n"+
		"GET /3 HTTP/1.1\r\nHost: a.localhost:443\r\n\r\n")
	br := bufio.NewReader(c)
	for _, want := range []string{"/1 one", "/2 two", "/3 "} {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, resp); got != want {
			t.Errorf("answer = %q, want %q", got, want)
		}
	}
}

func TestHugeHeadIsRefused(t *testing.T) {
	r := start(t, newStore(t), nil)
	r.SetTable(tableOf(1, routeTo("a.localhost", backend(t, "a-1", say("x")))))
	c := r.raw(t, "a.localhost")
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a.localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", 31<<10))
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
		t.Fatalf("31 KiB: %v %v", resp, err)
	}
	for name, head := range map[string]string{
		"one line":   "X: " + strings.Repeat("x", 1<<20),
		"many lines": strings.Repeat("X: y\r\n", 1<<15),
	} {
		c := r.raw(t, "a.localhost")
		go fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a.localhost\r\n%s\r\n\r\n", head)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 431 {
			t.Errorf("%s: %v %v, want 431", name, resp, err)
		}
	}
}

// FuzzGuard compares the guard with net/http: where net/http sees a request end,
// the guard must have seen the same end, however the bytes are cut.
func FuzzGuard(f *testing.F) {
	for _, s := range smuggles {
		f.Add([]byte(strings.ReplaceAll(s, "HOST", "h")), 7)
	}
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n"), 3)
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		whole, parts := guard{maxLine: 1 << 20}, guard{maxLine: 1 << 20}
		step := max(1, cut%64)
		var errParts error
		ends := map[int]bool{}
		for at := 0; at < len(in) && errParts == nil; at += step {
			errParts = parts.feed(in[at:min(at+step, len(in))])
		}
		errWhole := whole.feed(in)
		if (errWhole == nil) != (errParts == nil) {
			t.Fatalf("cut in pieces of %d: %v, whole: %v", step, errParts, errWhole)
		}
		bytewise := guard{maxLine: 1 << 20}
		for i := range in {
			if bytewise.feed(in[i:i+1]) != nil || bytewise.free {
				break
			}
			ends[i+1] = bytewise.expect == expectRequest && bytewise.left == 0 && len(bytewise.line) == 0
		}
		if errWhole != nil || whole.free {
			return
		}
		for at := 0; at < len(in); {
			source := bytes.NewReader(in[at:])
			br := bufio.NewReader(source)
			req, err := http.ReadRequest(br)
			if err != nil {
				return // net/http refuses what the guard lets pass: nothing can follow
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return // the body goes on beyond the input
			}
			at = len(in) - source.Len() - br.Buffered()
			if !ends[at] {
				t.Fatalf("net/http sees a request end at %d of %q, the guard does not", at, in)
			}
			if at < len(in) && bytes.HasPrefix(in[at:], []byte("\r\n")) {
				at += 2 // the empty line that is forgiven after a POST
			}
		}
	})
}
