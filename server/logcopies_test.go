package server

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/store"
)

// left is a host of g that runs and is not at.
func (g group) left(at int) *host {
	for i, h := range g {
		if i != at && h.stop != nil {
			return h
		}
	}
	return nil
}

// TestBuildEndsWithTheLeadOfItsServer: nobody builds it any more, and its log is read
// through whoever leads, once the server that wrote it is back.
func TestBuildEndsWithTheLeadOfItsServer(t *testing.T) {
	g := newGroup(t, 3)
	for _, h := range g {
		h.images.building = make(chan string, 1)
	}
	first, _ := g.leader()
	g[first].createApp("blog")
	done := g[first].mustDeploy("blog", procfile("web: ok\n")).Build
	g.await("all servers have the log", func() bool {
		for _, h := range g {
			if _, err := os.Stat(filepath.Join(h.dir, "builds", buildLogName(done))); err != nil {
				return false
			}
		}
		return true
	})
	go func() { // it is cut off
		_, _ = g[first].client.DeploySource(t.Context(), "blog", api.DeploySource{Archive: archive(t, map[string]string{"Procfile": "web: ok\n", "build": "wait"})}, func(api.Progress) {})
	}()
	<-g[first].images.building
	var id cluster.BuildID
	for b := range g[first].server.store.State().Builds("blog") {
		id = b.ID
	}
	// One that its server has no time to end.
	silent, err := g[first].server.store.Propose(t.Context(), store.StartBuild{By: platform(), App: "blog", Node: g[first].server.self})
	if err != nil {
		t.Fatal(err)
	}
	g[first].listen = g[first].server.Addr().String()
	g[first].stop()
	h := g.left(first)
	g.await("the builds have ended", func() bool {
		b, err := h.server.store.State().Build(silent.Build)
		other, err2 := h.server.store.State().Build(id)
		return err == nil && err2 == nil && b.State == cluster.BuildFailed && b.Failure == "the server that built it lost the lead" && other.State.Ended()
	})
	var text bytes.Buffer
	if err := h.client.BuildLog(t.Context(), "blog", done, &text); err != nil {
		t.Fatal(err)
	}
	contains(t, text.String(), "compiling blog")
	g[first].start()
	g.await("the log of the build that was cut off", func() bool {
		text.Reset()
		return h.client.BuildLog(t.Context(), "blog", id, &text) == nil && text.Len() > 0
	})
	contains(t, text.String(), "compiling blog")
}

// TestReleaseCommandRunsOncePerCluster: a new leader that finds it begun fails the
// deployment, whatever became of it.
func TestReleaseCommandRunsOncePerCluster(t *testing.T) {
	g := newGroup(t, 3)
	first, _ := g.leader()
	g[first].createApp("blog")
	g[first].mustDeploy("blog", procfile("web: ok\n"))
	go func() { // it is cut off
		_, _, _ = g[first].deploy("blog", procfile("web: ok\nrelease: hang\n"))
	}()
	ran := func() (n int) {
		for _, h := range g {
			n += h.agent.ran()
		}
		return n
	}
	g.await("the command runs", func() bool { return ran() == 1 })
	g[first].stop()
	h := g.left(first)
	var x *cluster.Deployment
	g.await("the deployment ends", func() bool {
		for x = range h.server.store.State().Deployments("blog") {
		}
		return x.State.Ended()
	})
	if x.State != cluster.DeploymentFailed || x.Failure.Code != codeReleaseInterrupted || ran() != 1 {
		t.Errorf("deployment %s: %+v; the command ran %d times", x.State, x.Failure, ran())
	}
	app, err := h.client.App(t.Context(), "blog")
	if err != nil || app.Current != 1 {
		t.Errorf("serves %+v, %v", app, err)
	}
	if res := h.mustDeploy("blog", procfile("web: ok\nrelease: ok\n")); res.Release != 3 {
		t.Errorf("then: %+v", res)
	}
}

// TestALogThatIsAwayIsNoStormOfQuestions: a server that does not answer is asked now
// and then, however much changes meanwhile.
func TestALogThatIsAwayIsNoStormOfQuestions(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	propose := func(c store.Command) store.Outcome {
		out, err := h.server.store.Propose(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	away := cluster.Node{ID: "0000000000000001", Name: "away", Zone: "a", Server: true} // without an address: only the test's own copier finds it
	propose(store.RegisterNode{By: platform(), Node: away})
	if err := h.server.store.AddServer(ctx, away.ID, store.Learner); err != nil {
		t.Fatal(err)
	}
	h.createApp("blog")
	build := propose(store.StartBuild{By: platform(), App: "blog", Node: away.ID}).Build
	propose(store.FinishBuild{By: platform(), ID: build, State: cluster.BuildFailed, Failure: "lost"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	go func() { // it ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			_ = conn.Close()
		}
	}()
	defer l.Close()
	others := h.others(cluster.Member{ID: away.ID, Address: l.Addr().String(), Server: true})
	c := &logCopier{control: h.server.control, logs: newBuildLogs(t.TempDir()), copies: &copier{control: h.server.control, peers: others}}
	var running sync.WaitGroup
	began := time.Now()
	running.Go(func() { _ = c.Run(ctx) })
	h.await("it is asked", func() bool { return asked.Load() > 0 })
	for i := range 200 {
		away.Name = "away-" + strconv.Itoa(i)
		propose(store.RegisterNode{By: platform(), Node: away})
	}
	cancel()
	running.Wait()
	rests := int64(1)
	for sum := time.Duration(0); sum < time.Since(began); rests++ {
		sum += backoff(int(rests))
	}
	if n := asked.Load(); n > rests {
		t.Errorf("it was asked %d times in %v, want %d at most", n, time.Since(began), rests)
	}
}
