package server

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

const (
	// relayHold is how long an agent's connection waits for a leader. An agent gives
	// up after ten seconds and knocks at another server's door.
	relayHold = 5 * time.Second
	// relayOpening bounds a relay's first words; maxRelayed their size.
	relayOpening = 5 * time.Second
	maxRelayed   = 1 << 10
)

// relayed is what a server says of the agent whose session it passes on. It checked
// the agent's certificate; the leader takes a server's word for it, and a server may
// speak for any agent anyhow: it holds the authority's key.
type relayed struct {
	_    struct{} `cbor:",toarray"`
	Node cluster.NodeID
	Role identity.Role
}

// serveSession serves an agent's session here if this server leads, else through the
// one that does. When the lead changes the session ends, and the agent comes anew.
func (f *front) serveSession(ctx context.Context, conn net.Conn, peer api.Peer) {
	defer conn.Close()
	at, err := f.helm(ctx, relayHold)
	if err != nil {
		f.log.Debug("session found no leader", "node", string(peer.ID), "err", err)
		return
	}
	if at.tenure == nil {
		if err := f.relay(ctx, conn, peer, at); err != nil && ctx.Err() == nil {
			f.log.Debug("session was not passed on", "node", string(peer.ID), "leader", string(at.other), "err", err)
		}
		return
	}
	f.lead(ctx, at.tenure, conn, peer)
}

// lead serves a session as the leader.
func (f *front) lead(ctx, tenure context.Context, conn net.Conn, peer api.Peer) {
	ctx, end := during(ctx, tenure)
	defer end()
	if err := f.sessions.Serve(ctx, conn, peer); err != nil && ctx.Err() == nil {
		f.log.Info("session ended", "node", string(peer.ID), "err", err)
	}
}

// relay passes a session's bytes on to the leader, until either side ends it or
// another server leads.
func (f *front) relay(ctx context.Context, conn net.Conn, peer api.Peer, at helmsman) error {
	opening, cancel := context.WithTimeout(ctx, relayOpening)
	defer cancel()
	to, err := f.dialer.Dial(opening, at.other, api.ALPNRelay)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := writeRelayed(to, relayed{Node: peer.ID, Role: peer.Role}); err != nil {
		return err
	}
	var copying sync.WaitGroup
	defer copying.Wait()
	done := make(chan error, 2)
	pass := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		done <- err
	}
	copying.Go(func() { pass(to, conn) })
	copying.Go(func() { pass(conn, to) })
	select {
	case err = <-done:
	case <-at.gone:
		err = errNotLeading
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = to.NetConn().Close() // at once: a leader that is cut off reads no good-bye
	_ = conn.Close()
	return err
}

// serveRelay serves a session that another server passes on.
func (f *front) serveRelay(ctx context.Context, conn *tls.Conn, from api.Peer) {
	defer conn.Close()
	r, err := readRelayed(conn)
	if err != nil {
		f.log.Warn("relayed session was refused", "node", string(from.ID), "err", err)
		return
	}
	tenure, _ := f.tenure.now()
	if tenure == nil || f.book.refuses(r.Node) {
		return // the other server looks for the leader again
	}
	f.lead(ctx, tenure, conn, api.Peer{ID: r.Node, Role: r.Role})
}

func writeRelayed(w io.Writer, r relayed) error {
	body, err := cbor.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode relay: %w", err)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

func readRelayed(conn net.Conn) (relayed, error) {
	var r relayed
	if err := conn.SetReadDeadline(time.Now().Add(relayOpening)); err != nil {
		return r, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return r, err
	}
	if binary.BigEndian.Uint32(size[:]) > maxRelayed {
		return r, errors.New("its first words are too long")
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		return r, err
	}
	if err := cbor.Unmarshal(body, &r); err != nil {
		return r, err
	}
	if err := r.Node.Validate(); err != nil {
		return r, err
	}
	if r.Role != identity.RoleServer && r.Role != identity.RoleAgent {
		return r, fmt.Errorf("role %s has no session", r.Role)
	}
	return r, conn.SetReadDeadline(time.Time{})
}
