package router

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// requestHost returns the host name and port that r is for, lower-case and
// without a trailing dot; port is "" if the client named none. It reports false
// when the request leaves room for two opinions.
func requestHost(r *http.Request) (host, port string, ok bool) {
	if r.URL.User != nil || r.URL.Opaque != "" { // "mailto:x" is a target for net/http
		return "", "", false
	}
	// HTTP/1 takes Host away from the headers and the guard refuses a second one;
	// HTTP/2 leaves one that came beside :authority.
	if hs := r.Header["Host"]; len(hs) > 1 || len(hs) == 1 && hs[0] != r.Host {
		return "", "", false
	}
	return parseHost(r.Host)
}

// parseHost splits "Host[.][:port]" strictly. Addresses in brackets are valid
// and are nobody's host name.
func parseHost(s string) (host, port string, ok bool) {
	host = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '0' {
			return "", "", false
		}
	}
	if strings.HasPrefix(host, "[") {
		return strings.ToLower(host), port, validBracketed(host)
	}
	host = strings.TrimSuffix(host, ".")
	if !validName(host) {
		return "", "", false
	}
	return strings.ToLower(host), port, true // does not allocate if it is lower-case
}

// validName allows what a DNS name may hold, and underscores, which some do.
func validName(s string) bool {
	if s == "" || len(s) > 253 || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return true
}

// isAddress reports whether a host that parseHost accepted is an IP address.
func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || strings.HasPrefix(host, "[")
}

func validBracketed(s string) bool {
	if len(s) < 4 || s[len(s)-1] != ']' {
		return false
	}
	return strings.Trim(s[1:len(s)-1], "0123456789abcdefABCDEF:.") == ""
}
