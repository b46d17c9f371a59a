package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
)

// others are peers of h that nobody else knows: a book of their own says where.
func (h *host) others(members ...cluster.Member) *peering {
	h.t.Helper()
	log := slog.New(slog.DiscardHandler)
	b, err := openBook(filepath.Join(h.t.TempDir(), "roster"), h.server.self, log)
	if err != nil {
		h.t.Fatal(err)
	}
	b.take(&cluster.Roster{Members: members})
	return newPeering(b, &api.Dialer{Node: h.server.node.Load, Addresses: b.addresses}, nil, log)
}

// silentServers are n servers that take connections and say nothing, until whoever
// called hangs up. all has room for n, and hears of each call; left counts who hung up.
func silentServers(t *testing.T, n int) (members []cluster.Member, all chan struct{}, left *atomic.Int64) {
	t.Helper()
	all, left = make(chan struct{}, n), &atomic.Int64{}
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		members = append(members, cluster.Member{ID: cluster.NodeID("000000000000000" + string(rune('1'+i))), Address: l.Addr().String(), Server: true})
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			all <- struct{}{}
			_, _ = io.Copy(io.Discard, conn) // until the other side hangs up
			left.Add(1)
		}()
	}
	return members, all, left
}

// TestSilentServersAreAskedTogether: one that does not answer does not keep the others
// from their place in the group.
func TestSilentServersAreAskedTogether(t *testing.T) {
	h := newHost(t)
	list, called, left := silentServers(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan int, 1)
	go func() {
		m := &members{h.server.control, h.others(list...)}
		done <- len(m.positions(ctx, list))
	}()
	for range list {
		select {
		case <-called:
		case <-done:
			t.Fatal("the look ended before all were asked")
		}
	}
	if n := left.Load(); n != 0 {
		t.Errorf("%d silent servers were given up before all were asked", n)
	}
	cancel()
	if n := <-done; n != 0 {
		t.Errorf("%d silent servers answered", n)
	}
	h.await("nobody calls any more", func() bool { return left.Load() == int64(len(list)) })
}
