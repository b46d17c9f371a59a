package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

const (
	// prefaceTime bounds the wait for a preface: the near end sends it at once.
	prefaceTime = 5 * time.Second
	// containerTime bounds the connection to a container of this host.
	containerTime = time.Second
	// echoSilence is how long a near end that watches this host may say nothing. It
	// speaks four times a second; after ten it has no power any more, and nobody else
	// would ever tell its tunnels.
	echoSilence = 10 * time.Second
	// tunnelBuffer is what one direction is copied through: a whole record of TLS.
	tunnelBuffer = 16 << 10
	// perTunnel is what one takes of this process, at most
	// (TestTunnelsAreCheap).
	perTunnel = 100 << 10
)

// tunnelsFor is how many tunnels may be open at once, so that they stay within an
// eighth of the machine's memory: 655 on 512 MB, at most 16,384.
func tunnelsFor(memoryBytes int64) int {
	return int(min(16384, max(256, memoryBytes/8/perTunnel)))
}

// tunnels is the far end: it connects routers of other hosts to containers of this
// one. It is safe for concurrent use.
type tunnels struct {
	// member returns what is known of a node: only routers are let in.
	member func(cluster.NodeID) (cluster.Member, bool)
	// confirm refuses replicas that are not where the near end believes.
	confirm func(context.Context, cluster.Upstream) error
	slots   chan struct{} // one for each open tunnel
	buffers sync.Pool     // of *[]byte
	log     *slog.Logger

	mu   sync.Mutex
	open map[cluster.NodeID]map[*tls.Conn]context.CancelFunc // guarded by mu
}

func newTunnels(member func(cluster.NodeID) (cluster.Member, bool), confirm func(context.Context, cluster.Upstream) error, most int, log *slog.Logger) *tunnels {
	return &tunnels{member: member, confirm: confirm, slots: make(chan struct{}, most), log: log,
		buffers: sync.Pool{New: func() any { b := make([]byte, tunnelBuffer); return &b }},
		open:    map[cluster.NodeID]map[*tls.Conn]context.CancelFunc{}}
}

// serve owns conn until one side ends it, or ctx does.
func (t *tunnels) serve(ctx context.Context, conn *tls.Conn, peer api.Peer) {
	defer func() { _ = conn.NetConn().Close() }() // good-byes were said where they mean something
	ctx, cancel := t.enter(ctx, conn, peer.ID)
	defer cancel()
	api.NoticeSilence(conn.NetConn())
	_ = conn.SetDeadline(time.Now().Add(prefaceTime)) // a dead connection fails soon enough
	p, err := readPreface(conn)
	if err != nil {
		if cluster.KindOf(err) == cluster.KindInvalid {
			_ = answer(conn, tunnelMalformed) // it is told why, if it is there
		}
		t.log.Debug("tunnel without a preface", "node", string(peer.ID), "err", err)
		return
	}
	status, container := t.connect(ctx, p, peer)
	if container != nil {
		defer func() {
			_ = container.Close() // it ended, or the tunnel did
			<-t.slots
		}()
	}
	if err := answer(conn, status); err != nil || status != tunnelOpen {
		_ = conn.CloseWrite() // with what was said
		return
	}
	_ = conn.SetDeadline(time.Time{}) // as above
	if container == nil {
		t.echo(conn, peer.ID)
		return
	}
	t.splice(ctx, conn, container)
}

// enter notes a connection of peer's until the returned function is called. The
// context ends with the tunnel.
func (t *tunnels) enter(ctx context.Context, conn *tls.Conn, peer cluster.NodeID) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = conn.NetConn().Close() }) // whoever waits for it wakes up
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[peer] == nil {
		t.open[peer] = map[*tls.Conn]context.CancelFunc{}
	}
	t.open[peer][conn] = cancel
	return ctx, func() {
		stop()
		cancel()
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.open[peer], conn)
		if len(t.open[peer]) == 0 {
			delete(t.open, peer)
		}
	}
}

// connect does what a preface asks for. Without a container the status says why, or
// that none was asked for; with one a slot is taken.
func (t *tunnels) connect(ctx context.Context, p preface, peer api.Peer) (tunnelStatus, *net.TCPConn) {
	if m, ok := t.member(peer.ID); peer.Role != identity.RoleServer && !(ok && m.Router) {
		t.log.Warn("tunnel was refused: the node runs no router", "node", string(peer.ID))
		return tunnelForbidden, nil
	}
	if p.Allocation == "" {
		return tunnelOpen, nil
	}
	ctx, cancel := context.WithTimeout(ctx, containerTime)
	defer cancel()
	if t.confirm(ctx, cluster.Upstream{Allocation: p.Allocation, Instance: p.Instance, Address: p.Address}) != nil {
		return tunnelNotThere, nil
	}
	select {
	case t.slots <- struct{}{}:
	default:
		return tunnelFull, nil
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", p.Address)
	if err != nil {
		<-t.slots
		return tunnelRefused, nil
	}
	return tunnelOpen, conn.(*net.TCPConn)
}

// answer sends a status.
func answer(conn *tls.Conn, s tunnelStatus) error {
	_, err := conn.Write([]byte{byte(s)})
	return err
}

// echo sends back what the near end sends, byte for byte: so it learns within a
// moment that this host is gone. When the near end falls silent instead of leaving,
// it is gone itself, and with it all its tunnels.
func (t *tunnels) echo(conn *tls.Conn, peer cluster.NodeID) {
	var one [1]byte
	for {
		_ = conn.SetDeadline(time.Now().Add(echoSilence)) // a dead connection fails at once
		_, err := conn.Read(one[:])
		if err == nil {
			_, err = conn.Write(one[:])
		}
		var silent net.Error
		if errors.As(err, &silent) && silent.Timeout() {
			t.log.Warn("router fell silent; its connections to containers end", "node", string(peer))
			t.end(peer)
		}
		if err != nil {
			return
		}
	}
}

// end ends all connections of peer.
func (t *tunnels) end(peer cluster.NodeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, cancel := range t.open[peer] {
		cancel()
	}
}

// splice copies both ways until both sides have ended, or one broke. A side that
// says that it will send no more is still sent to.
func (t *tunnels) splice(ctx context.Context, near *tls.Conn, container *net.TCPConn) {
	raw := near.NetConn()
	broken := func() { // both see a reset, as they would without the tunnel
		reset(raw)
		reset(container)
	}
	stop := context.AfterFunc(ctx, broken)
	defer stop()
	var up sync.WaitGroup
	up.Go(func() {
		if t.copy(container, near) != nil || container.CloseWrite() != nil {
			broken()
			return
		}
		// TLS's end was said: nothing follows but the connection's own, by which the near
		// end says that it does not listen either.
		_, _ = raw.Read(make([]byte, 1))
		_ = container.Close()
	})
	if t.copy(near, container) != nil || near.CloseWrite() != nil {
		broken()
	}
	up.Wait()
}

// copy is io.Copy through a buffer that is lent.
func (t *tunnels) copy(to io.Writer, from io.Reader) error {
	buf := t.buffers.Get().(*[]byte)
	defer t.buffers.Put(buf)
	// Hidden, for TCPConn's own ways to copy know nothing of our buffers.
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, *buf)
	return err
}

// reset closes a connection such that the other side sees that it broke.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only on a closed one
	}
	_ = conn.Close() // nothing is wanted of it any more
}
