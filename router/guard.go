package router

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"strings"
)

// errAmbiguous is what reading from a client gives when its HTTP/1 framing could
// be understood in two ways. The server answers 400 and hangs up.
var errAmbiguous = errors.New("ambiguous HTTP/1 framing")

// guardConn reads along with the HTTP/1 server and refuses what the server
// would tolerate: net/http drops a Content-Length beside a Transfer-Encoding,
// joins folded lines and accepts bare line feeds. None of it gets as far as a
// replica, but whoever sends it hopes that two parsers disagree.
type guardConn struct {
	net.Conn
	serverName string // of the TLS handshake, lower case
	guard      guard
	refused    func()
}

func (c *guardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		if bad := c.guard.feed(p[:n]); bad != nil {
			c.refused()
			return 0, bad
		}
	}
	return n, err
}

// CloseWrite lets an upgraded connection be closed by halves.
func (c *guardConn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return c.Conn.Close()
}

// guard follows one client's HTTP/1 byte stream. It keeps no more than one
// unfinished line.
type guard struct {
	expect  expectation
	maxLine int
	line    []byte // an unfinished line
	left    uint64 // body bytes that follow before the next line
	head    requestHead
	after   string // method of the request before
	free    bool   // the client asked for another protocol: what follows may be anything
	bad     bool
}

// expectation is what the next line must be.
type expectation uint8

const (
	expectRequest expectation = iota
	expectHeader
	expectChunk    // size of a chunk
	expectChunkEnd // the empty line after a chunk's data
	expectTrailer
)

// requestHead is what matters of a head so far.
type requestHead struct {
	method   string
	http10   bool
	hosts    int
	length   uint64
	lengths  int
	chunked  bool
	upgrades bool
}

// feed checks the next bytes. After an error every further call fails too.
func (g *guard) feed(p []byte) error {
	for len(p) > 0 && !g.free {
		if g.bad {
			return errAmbiguous
		}
		if g.left > 0 {
			n := min(g.left, uint64(len(p)))
			g.left -= n
			p = p[n:]
			continue
		}
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			end = len(p) - 1
		}
		line := p[:end+1]
		p = p[end+1:]
		if len(g.line) > 0 || line[len(line)-1] != '\n' {
			if len(g.line)+len(line) > g.maxLine {
				g.bad = true
				continue
			}
			g.line = append(g.line, line...)
			if line[len(line)-1] != '\n' {
				return nil
			}
			line = g.line
		}
		g.bad = !g.take(line)
		g.line = g.line[:0]
		if len(p) == 0 {
			g.line = nil // idle connections hold no buffer
		}
	}
	if g.bad {
		return errAmbiguous
	}
	return nil
}

// take checks one whole line.
func (g *guard) take(raw []byte) bool {
	line, ok := bytes.CutSuffix(raw, []byte("\r\n"))
	if !ok || !printable(line) {
		return false
	}
	switch g.expect {
	case expectRequest:
		return g.takeRequest(line)
	case expectHeader:
		if len(line) == 0 {
			return g.endHead()
		}
		return g.takeHeader(line)
	case expectChunk:
		return g.takeChunk(line)
	case expectChunkEnd:
		g.expect = expectChunk
		return len(line) == 0
	case expectTrailer:
		if len(line) == 0 {
			g.expect = expectRequest
			return true
		}
		name, _, ok := cutField(line)
		return ok && name != "transfer-encoding" && name != "content-length" && name != "host"
	}
	return false
}

// takeRequest wants "METHOD target HTTP/1.x". One empty line is forgiven after a
// POST, as in net/http: old clients send one too many.
func (g *guard) takeRequest(line []byte) bool {
	if len(line) == 0 {
		forgiven := g.after == "POST"
		g.after = ""
		return forgiven
	}
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, version, _ := bytes.Cut(rest, []byte(" "))
	if !isToken(method) || len(target) == 0 || bytes.ContainsAny(line, "\t") {
		return false
	}
	g.head = requestHead{method: string(method), http10: string(version) == "HTTP/1.0"}
	g.expect = expectHeader
	return g.head.http10 || string(version) == "HTTP/1.1"
}

func (g *guard) takeHeader(line []byte) bool {
	name, value, ok := cutField(line)
	if !ok {
		return false
	}
	h := &g.head
	switch name {
	case "host":
		h.hosts++
		return h.hosts == 1
	case "content-length":
		h.lengths++
		n, err := strconv.ParseUint(value, 10, 63)
		h.length = n
		return err == nil && h.lengths == 1 && !h.chunked // a sign is no digit to ParseUint
	case "transfer-encoding":
		again := h.chunked
		h.chunked = true
		return !again && h.lengths == 0 && !h.http10 && strings.EqualFold(value, "chunked")
	case "upgrade":
		h.upgrades = true
	}
	return true
}

// endHead decides what follows a head.
func (g *guard) endHead() bool {
	h := &g.head
	g.expect, g.after = expectRequest, h.method
	switch {
	case h.upgrades:
		// The handler closes the connection unless the upgrade succeeds, so nothing
		// that follows is ever read as another request.
		g.free = true
	case h.chunked:
		g.expect = expectChunk
	default:
		g.left = h.length
	}
	return true
}

func (g *guard) takeChunk(line []byte) bool {
	size, _, _ := bytes.Cut(line, []byte(";"))
	size = bytes.TrimRight(size, " \t") // before an extension: RFC 9112, 7.1.1
	if len(size) == 0 || len(size) > 15 {
		return false
	}
	for _, c := range size {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	n, err := strconv.ParseUint(string(size), 16, 63)
	g.left, g.expect = n, expectChunkEnd
	if n == 0 {
		g.expect = expectTrailer
	}
	return err == nil
}

// cutField splits "Name: value" and lower-cases the name. A folded line has no
// name, and a blank before the colon is no part of one.
func cutField(line []byte) (name, value string, ok bool) {
	n, v, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(n) {
		return "", "", false
	}
	return strings.ToLower(string(n)), string(bytes.Trim(v, " \t")), true
}

// isToken: RFC 9110, 5.6.2.
func isToken(s []byte) bool {
	for _, c := range s {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return len(s) > 0
}

// printable refuses control characters, a bare carriage return among them.
func printable(line []byte) bool {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
