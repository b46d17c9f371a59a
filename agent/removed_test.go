package agent

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
)

// TestARemovedNodeAsksSeldom, once every server that there is was asked.
func TestARemovedNodeAsksSeldom(t *testing.T) {
	told, lost := cluster.Errorf(cluster.KindForbidden, "removed", "the server refuses this node"), errors.New("no answer")
	if !api.WasRemoved(told) {
		t.Fatal("this is not what a server says")
	}
	var r redials
	for i, c := range []struct {
		err  error
		want time.Duration
	}{
		{lost, redialFirst}, {lost, 2 * redialFirst}, {told, 4 * redialFirst}, {lost, 8 * redialFirst}, {told, redialLimit},
		{lost, removedPause}, {told, removedPause}, {told, removedPause},
	} {
		if got := r.next(c.err, 3); got != c.want {
			t.Errorf("try %d: wait %v, want %v", i, got, c.want)
		}
	}
}

// TestARemovedNodeSaysWhatToDo, once.
func TestARemovedNodeSaysWhatToDo(t *testing.T) {
	server, me := identities(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", server.ServerConfig(api.ALPNSession))
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, api.RemovedNotice) // the handshake comes before
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	})
	log, removed := &said{}, make(chan struct{}, 10)
	_, stop := runAgent(t, Config{Dir: t.TempDir(), Data: "/srv/data", Node: always(me), Cluster: "c0ffee", Servers: []string{l.Addr().String()},
		Removed: func() { removed <- struct{}{} }, Logger: slog.New(slog.NewTextHandler(log, nil))})
	receive(t, "the first word", removed)
	receive(t, "the second word", removed)
	stop()
	_ = l.Close()
	serving.Wait()
	if n := strings.Count(log.String(), "this node was removed from the cluster: it idles. To let the host join again"); n != 1 || !strings.Contains(log.String(), "dir=/srv/data") || strings.Contains(log.String(), "no session") {
		t.Errorf("it was said %d times:\n%s", n, log)
	}
}
