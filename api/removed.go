package api

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"paas/cluster"
)

// RemovedNotice is all that a removed node hears where its session would begin, from
// a server whose certificate it has checked. Whoever has a volume must end then, and
// cannot tell a refusal from a server that is dead. No session begins with its first
// byte: yamux's version is 0.
const RemovedNotice = "paas: this node was removed from the cluster\n"

// errRemoved is what a session with such a server ends with.
var errRemoved = cluster.Errorf(cluster.KindForbidden, "removed", "the server refuses this node").
	Because("it was removed from the cluster").WithHint("join it again with a new string: paas join create")

// WasRemoved reports whether a session ended because the node is no member any more.
func WasRemoved(err error) bool {
	var e *cluster.Error
	return errors.As(err, &e) && e.Kind == cluster.KindForbidden && e.Code == errRemoved.Code
}

// bidFarewell tells a removed node that it is one, and lets it hang up: closing first
// could destroy the word on its way.
func bidFarewell(conn *tls.Conn) {
	_ = conn.SetDeadline(time.Now().Add(refusalLinger)) // fails only on a dead connection
	if _, err := io.WriteString(conn, RemovedNotice); err != nil || conn.CloseWrite() != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, conn, maxMessage)
}

// listeningConn notices a farewell.
type listeningConn struct {
	net.Conn
	begun   bool // something was read; for the reader alone
	removed atomic.Bool
}

// Read implements net.Conn.
func (c *listeningConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.begun && n > 0 {
		c.begun = true
		if p[0] == RemovedNotice[0] {
			c.removed.Store(true)
			return 0, errRemoved
		}
	}
	return n, err
}
