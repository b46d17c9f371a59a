package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/store"
)

// Recover makes the server whose data directory is dir the only server of its
// cluster, for when a majority is gone for good. No server may run. When it starts
// next it removes the others from the cluster: one that comes back after all is
// refused by every host, and has to join anew. What the lost servers alone had is
// lost. It returns the others.
func Recover(dir string, log *slog.Logger) ([]cluster.Member, error) {
	l := layout{dir}
	n, err := identity.LoadNode(l.node())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cluster.NotFound("data", "%s holds no server", dir).WithHint("name the data directory of one that is left: --data DIR")
	}
	if err != nil {
		return nil, err
	}
	if n.Role != identity.RoleServer {
		return nil, cluster.Invalid("role", "%s holds an agent, not a server", dir).WithHint("recover on the host of a server that is left")
	}
	others, err := Others(dir, n.ID)
	if err != nil {
		return nil, err
	}
	others = slices.DeleteFunc(others, func(m cluster.Member) bool { return !m.Server })
	if len(others) == 0 {
		return nil, cluster.Conflict("alone", "there is nothing to recover").Because("the cluster has no other server")
	}
	// First the mark: should the host die between the two, it is alone and knows it, or
	// neither.
	if err := writeOnce(l.recovered(), nil); err != nil {
		return nil, fmt.Errorf("mark the recovery: %w", err)
	}
	if err := store.Recover(store.Config{Dir: l.raft(), Node: n.ID, Logger: log}); err != nil {
		return nil, errors.Join(err, os.Remove(l.recovered()))
	}
	return others, nil
}

// CheckLost returns an error of KindConflict if the cluster of the server whose data
// directory is dir needs no Recover: those of its servers that answer are a majority,
// or are one together with this server. Recovering it would make a second cluster of
// the same name. Nil says that they are silent, not that they are lost for good.
func CheckLost(ctx context.Context, dir string) error {
	n, err := identity.LoadNode(layout{dir}.node())
	if err != nil || n.Role != identity.RoleServer {
		return nil // Recover says so
	}
	others, err := Others(dir, n.ID)
	if err != nil {
		return err
	}
	others = slices.DeleteFunc(others, func(m cluster.Member) bool { return !m.Server })
	there := answering(ctx, n, others)
	voters := len(others) + 1
	if len(others) == 0 || len(there)+1 < cluster.Majority(voters) {
		return nil
	}
	e := cluster.Conflict("not_lost", "nothing was recovered").
		Because("%s of %d servers answer: with this one they are a majority, which loses nothing", strings.Join(there, ", "), voters)
	return e.WithHint("start this server as it is; remove what is lost with: paas nodes remove NAME\nif those that answer are beyond help: --force")
}

// answerTime is how long a server may take to show its certificate.
const answerTime = 3 * time.Second

// answering names those of the servers that answer as themselves.
func answering(ctx context.Context, n *identity.Node, servers []cluster.Member) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	there := make([]bool, len(servers))
	var work sync.WaitGroup
	for i, m := range servers {
		work.Go(func() {
			conn, err := (&tls.Dialer{Config: n.ClientConfig(api.ALPNPeer)}).DialContext(ctx, "tcp", m.Address)
			if err != nil {
				return
			}
			id, _, err := identity.PeerNode(conn.(*tls.Conn).ConnectionState())
			there[i] = err == nil && id == m.ID
			_ = conn.Close() // nothing was asked
		})
	}
	work.Wait()
	for i, m := range servers {
		if there[i] {
			names = append(names, m.Name)
		}
	}
	return names
}

// Others are the other hosts of the cluster, as the server whose data directory is dir
// knew them last.
func Others(dir string, self cluster.NodeID) ([]cluster.Member, error) {
	b, err := openBook(layout{dir}.roster(), self, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(b.roster.Members, func(m cluster.Member) bool { return m.ID == self }), nil
}

// dismiss removes the other servers from the cluster, if this one was recovered.
func (l *leader) dismiss(ctx context.Context) error {
	if _, err := os.Stat(l.layout.recovered()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if group := l.store.Servers(); len(group) > 1 {
		// The host died after the mark and before the rest: the others are still in the
		// group, and may serve. Removing them now would be the loss.
		l.log.Warn("recovery was begun and did not happen; repeat it with no server running if it is still needed", "servers", len(group))
		return l.endRecovery()
	}
	for n := range l.store.State().Nodes() {
		if !n.Server || n.ID == l.self {
			continue
		}
		if _, err := l.store.Propose(ctx, store.RemoveNode{By: platform(), ID: n.ID, Until: time.Now().Add(identity.NodeLife).UTC(), Force: true}); err != nil {
			return fmt.Errorf("remove lost server %s: %w", n.ID, err)
		}
		l.log.Warn("server was removed: this one was recovered without it", "node", n.Name)
	}
	return l.endRecovery()
}

func (l *leader) endRecovery() error {
	if err := os.Remove(l.layout.recovered()); err != nil {
		return fmt.Errorf("end the recovery: %w", err)
	}
	return nil
}
