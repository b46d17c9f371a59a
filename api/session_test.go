package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"paas/cluster"
	"paas/identity"
)

// bubble runs f under fake time. yamux keeps timers in a package-wide pool, and a
// timer must not move between bubbles: two collections empty the pool.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	runtime.GC()
	runtime.GC()
	synctest.Test(t, f)
	runtime.GC()
	runtime.GC()
}

func TestSessionCarriesFullSetsAndNews(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.want(3, 4)
		l := connect(t, newSessionServer(w))
		if wel := l.agent.Welcome(); wel.Cluster != "c1" {
			t.Errorf("welcome: got %+v", wel)
		}
		synctest.Wait()
		first := merge(l.got)
		if first.Assignments.Index != 3 || first.Routes.Index != 4 || first.Assignments.Assignments[0].Env["A"].Reveal() != "b" ||
			first.Assignments.Assignments[0].Process.Check.Kind != cluster.CheckTCP {
			t.Errorf("first sets: got %+v", first)
		}
		w.want(5, 4) // the routes did not change
		synctest.Wait()
		if d := merge(l.got); d.Assignments.Index != 5 || d.Routes != nil {
			t.Errorf("second sets: got %+v", d)
		}
		started := time.Now().UTC().Add(123456789)
		for _, err := range []error{
			l.agent.ReportGone([]cluster.VolumeID{"vol-2", "vol-1"}),
			l.agent.Report([]Observed{{ID: "a-1", Observation: cluster.Observation{State: cluster.AllocationHealthy, StartedAt: started}, Log: []string{"x"}}}),
			l.agent.ReportRouter(cluster.RouterStatus{Index: 5, InFlight: map[cluster.AllocationID]int{"a-0": 2}}),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		time.Sleep(HeartbeatInterval)
		synctest.Wait()
		if got := heard(w, func() []cluster.Space { return w.space }); len(got) != 1 || got[0].Path != "/data" || got[0].FreeBytes != 1 {
			t.Errorf("space: got %+v", got)
		}
		if got := heard(w, func() []cluster.VolumeID { return w.gone }); !slices.Equal(got, []cluster.VolumeID{"vol-1", "vol-2"}) {
			t.Errorf("volumes that are gone: %v", got)
		}
		if got := heard(w, func() []Observed { return w.observed }); len(got) != 1 || !got[0].Observation.StartedAt.Equal(started) || got[0].Log[0] != "x" {
			t.Errorf("observed: got %+v", got)
		}
		if got := heard(w, func() cluster.RouterStatus { return w.router }); got.Index != 5 || got.InFlight["a-0"] != 2 || got.Node != testNode {
			t.Errorf("router: got %+v", got)
		}
		before := heard(w, func() int { return len(w.alive) })
		<-time.After(10*HeartbeatInterval + HeartbeatInterval/2)
		if n := heard(w, func() int { return len(w.alive) }) - before; n != 10 {
			t.Errorf("%d heartbeats in ten intervals", n)
		}
		l.stop()
		if err := <-l.run; !errors.Is(err, context.Canceled) {
			t.Errorf("run: got %v", err)
		}
		<-l.server
		if got := heard(w, func() int { return w.left }); got != 1 {
			t.Errorf("NodeLeft was called %d times", got)
		}
		if err := l.agent.Report(nil); cluster.KindOf(err) != cluster.KindUnavailable {
			t.Errorf("report after the end: got %v", err)
		}
	})
}

// merge takes all that came and keeps the newest parts.
func merge(ch chan Desired) Desired {
	var all Desired
	for len(ch) > 0 {
		d := <-ch
		if d.Assignments != nil {
			all.Assignments = d.Assignments
		}
		if d.Routes != nil {
			all.Routes = d.Routes
		}
	}
	return all
}

func TestSilenceEndsBothSidesWithinTheLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.want(1, 1)
		s := newSessionServer(w)
		l := connect(t, s)
		<-time.After(3*HeartbeatInterval + HeartbeatInterval/2)
		if _, err := s.Node(testNode); err != nil {
			t.Errorf("connected: got %v", err)
		}
		cutAt := time.Now()
		close(l.cable.cut)
		for name, ended := range map[string]chan error{"server": l.server, "agent": l.run} {
			err := <-ended
			if d := time.Since(cutAt); d > NodeLease+HeartbeatInterval || err == nil || errors.Is(err, context.Canceled) {
				t.Errorf("%s: ended after %s with %v", name, d, err)
			}
		}
		if _, err := s.Node(testNode); cluster.KindOf(err) != cluster.KindUnavailable {
			t.Errorf("disconnected: got %v", err)
		}
		again := connect(t, s)
		synctest.Wait()
		if d := merge(again.got); d.Assignments == nil || d.Assignments.Index != 1 || d.Routes == nil {
			t.Errorf("after the reconnect: got %+v, want everything again", d)
		}
		if got := heard(w, func() []Hello { return w.joined }); len(got) != 2 || got[1].Observed[0].ID != "a-1" {
			t.Errorf("joined: got %+v", got)
		}
		again.stop()
		<-again.run
		<-again.server
	})
}

func TestNewSessionReplacesTheOld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		s := newSessionServer(w)
		first := connect(t, s)
		synctest.Wait()
		second := connect(t, s)
		if err := <-first.server; !errors.Is(err, errReplaced) {
			t.Errorf("first: got %v", err)
		}
		if err := <-first.run; err == nil {
			t.Error("the first agent did not notice")
		}
		synctest.Wait()
		if joined, left := heard(w, func() int { return len(w.joined) }), heard(w, func() int { return w.left }); joined != 2 || left != 1 {
			t.Errorf("joined %d, left %d", joined, left)
		}
		if _, err := s.Node(testNode); err != nil {
			t.Errorf("second: got %v", err)
		}
		second.stop()
		<-second.run
		<-second.server
	})
}

func TestSlowWorkDoesNotSilenceANode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.want(1, 1)
		busy := make(chan struct{})
		w.observe = func(context.Context) error { <-busy; return nil }
		l := connect(t, newSessionServer(w), func(l *link) { l.delay = func() { <-busy } })
		for i := range 2000 { // far more than any window holds, were it queued
			if err := l.agent.Report([]Observed{{ID: "a-1", Observation: cluster.Observation{Restarts: i, Reason: strings.Repeat("x", 1024)}}}); err != nil {
				t.Fatal(err)
			}
			w.want(uint64(i+2), 1)
			synctest.Wait()
		}
		<-time.After(5 * NodeLease)
		select {
		case err := <-l.server:
			t.Fatalf("the server ended the session: %v", err)
		case err := <-l.run:
			t.Fatalf("the agent ended the session: %v", err)
		default:
		}
		close(busy)
		synctest.Wait()
		last := heard(w, func() Observed { return w.observed[len(w.observed)-1] })
		if n := heard(w, func() int { return len(w.observed) }); last.Observation.Restarts != 1999 || n > 3 {
			t.Errorf("heard %d observations, the last is %d", n, last.Observation.Restarts)
		}
		if d := merge(l.got); d.Assignments.Index != 2001 {
			t.Errorf("the newest set is %d", d.Assignments.Index)
		}
		l.stop()
		<-l.run
		<-l.server
	})
}

func TestCallsGoBothWays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		s := newSessionServer(w)
		l := connect(t, s)
		synctest.Wait()
		checkServerCalls(t, l.agent)
		checkPatience(t, l.agent)
		node, err := s.Node(testNode)
		if err != nil {
			t.Fatal(err)
		}
		checkNodeCalls(t, node, l.calls)
		l.stop()
		<-l.run
		<-l.server
		if err := node.Logs(context.Background(), LogsRequest{}, nil); cluster.KindOf(err) != cluster.KindUnavailable {
			t.Errorf("after the end: got %v", err)
		}
	})
}

func TestServerRefusesStrangers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		s := newSessionServer(w)
		open := func(id cluster.NodeID) (error, error) {
			ours, theirs := net.Pipe()
			served := make(chan error, 1)
			go func() { served <- s.Serve(t.Context(), theirs, Peer{testNode, identity.RoleAgent}) }()
			_, err := NewAgentSession(t.Context(), SessionConfig{Conn: ours, Hello: Hello{Node: cluster.Node{ID: id}}, Logger: slog.New(slog.DiscardHandler)})
			return err, <-served
		}
		if agent, server := open("00000000000000bb"); cluster.KindOf(agent) != cluster.KindForbidden || cluster.KindOf(server) != cluster.KindForbidden {
			t.Errorf("another node's name: got %v and %v", agent, server)
		}
		w.refuse = cluster.Errorf(cluster.KindUnavailable, "leader", "no leader")
		if agent, server := open(testNode); agent == nil || agent.Error() != "no leader" || server == nil {
			t.Errorf("refused: got %v and %v", agent, server)
		}
		ours, theirs := net.Pipe()
		began := time.Now()
		go io.Copy(io.Discard, ours)
		if err := s.Serve(t.Context(), theirs, Peer{testNode, identity.RoleAgent}); err == nil || time.Since(began) > sessionOpening {
			t.Errorf("no hello: got %v after %s", err, time.Since(began))
		}
		_ = ours.Close()
		if left := heard(w, func() int { return w.left }); left != 0 {
			t.Errorf("NodeLeft %d times without NodeJoined", left)
		}
	})
}

// A server that takes the connection and says nothing holds up no agent's end.
func TestGreetingEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := NewAgentSession(ctx, SessionConfig{Conn: ours, Hello: Hello{Node: cluster.Node{ID: testNode}}, Logger: slog.New(slog.DiscardHandler)})
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > time.Second {
			t.Errorf("got %v after %s", err, took)
		}
		if _, err := ours.Write(nil); err == nil {
			t.Error("the connection is open")
		}
	})
}
