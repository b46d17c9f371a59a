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
	"paas/identity"
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

const idling = "this node was removed from the cluster: it idles. To let the host join again"

// farewell listens as a server that says to a node that it was removed.
func farewell(t *testing.T) (address string, me *identity.Node) {
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
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), me
}

// employed runs an agent that has one replica to run, and says what is wanted of it.
func employed(t *testing.T, c Config) (a *Agent, stop func(), wanted func() cluster.DesiredState) {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	a.reconciler.assign(&api.AssignmentSet{Assignments: []api.Assignment{{ID: "a-1", Desired: cluster.DesiredRun}}})
	<-a.reconciler.dirty // nobody reconciles: the agent has no engine
	return a, startAgent(t, a), func() cluster.DesiredState {
		one, _ := a.reconciler.assignment("a-1")
		return one.Desired
	}
}

// TestARemovedNodeSaysWhatToDo, once, and ends what it runs.
func TestARemovedNodeSaysWhatToDo(t *testing.T) {
	at, me := farewell(t)
	log := &said{}
	a, stop, wanted := employed(t, Config{Dir: t.TempDir(), Data: "/srv/data", Node: always(me), Cluster: "c0ffee", Servers: []string{at},
		Logger: slog.New(slog.NewTextHandler(log, nil))})
	receive(t, "another set of assignments", a.reconciler.dirty)
	if wanted() != cluster.DesiredStop {
		t.Error("its replicas run on")
	}
	stop()
	if n := strings.Count(log.String(), idling); n != 1 || !strings.Contains(log.String(), "dir=/srv/data") || strings.Contains(log.String(), "no session") {
		t.Errorf("it was said %d times:\n%s", n, log)
	}
}

// TestAWordOfRemovalIsJudgedByTheServerHere: who went on alone by mistake says it to
// servers that have a majority, and what they run must not end.
func TestAWordOfRemovalIsJudgedByTheServerHere(t *testing.T) {
	at, me := farewell(t)
	log, told := &said{}, make(chan struct{}, 10)
	a, stop, wanted := employed(t, Config{Dir: t.TempDir(), Data: "/srv/data", Node: always(me), Cluster: "c0ffee", Servers: []string{at},
		Removed: func() { told <- struct{}{} }, Logger: slog.New(slog.NewTextHandler(log, nil))})
	for range 4 { // more than there are servers: it goes on asking all the same
		receive(t, "the word", told)
	}
	if wanted() != cluster.DesiredRun || strings.Contains(log.String(), idling) {
		t.Errorf("its replicas are to %v:\n%s", wanted(), log)
	}
	a.Fence()
	if wanted() != cluster.DesiredStop {
		t.Error("its replicas run on")
	}
	receive(t, "the word", told)
	receive(t, "the word", told)
	stop()
	if n := strings.Count(log.String(), idling); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, log)
	}
}
