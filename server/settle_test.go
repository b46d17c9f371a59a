package server

import (
	"context"
	"strings"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
)

// settle waits for the app, but not for ever.
func (h *host) settle(app cluster.AppName) (*news, error) {
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	n := &news{}
	return n, h.client.Settle(ctx, app, nil, n.add)
}

// TestTheWaitForWhatDoesNotStartEnds: a replica that its agent gave up on is not waited
// for, nor one that crashes; one that only takes its time is.
func TestTheWaitForWhatDoesNotStartEnds(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\nworker: fetch never\njob: crash 3\nslow: boot gate\n"))
	quantity := func(typ cluster.ProcessType, n int) {
		t.Helper()
		if _, err := h.client.Scale(t.Context(), "blog", api.Scale{Changes: []api.ScaleChange{{Type: typ, Quantity: n}}}); err != nil {
			t.Fatal(err)
		}
	}
	quantity("worker", 1)
	n, err := h.settle("blog")
	e := wantKind(t, err, cluster.KindRolloutFailed, "rollout.image")
	contains(t, e.Message, "worker.1 of app blog does not start")
	contains(t, e.Reason, "its image is not in the registry")
	if last := n.last(); last.Kind != api.ProgressFailed {
		t.Errorf("the last word is %+v", last)
	}
	quantity("worker", 0)
	quantity("job", 1)
	n, err = h.settle("blog")
	contains(t, wantKind(t, err, cluster.KindRolloutFailed, "rollout.crashed").Reason, "exited with code 3")
	if len(n.last().Log) == 0 {
		t.Error("no word of what the process printed")
	}
	quantity("job", 0)
	quantity("slow", 1)
	ended := make(chan error, 1)
	go func() { _, err := h.settle("blog"); ended <- err }()
	h.await("the slow one starts", func() bool {
		for a := range h.server.store.State().AllocationsOf("blog") {
			if a.Type == "slow" && a.Observed.State == cluster.AllocationStarting {
				return true
			}
		}
		return false
	})
	h.agent.release("gate")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestARestartWithoutRoomIsNotDone: with every node draining nothing is replaced, and
// whoever waits hears so at once.
func TestARestartWithoutRoomIsNotDone(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\n"))
	drain := func(s cluster.NodeSchedule) {
		t.Helper()
		if _, err := h.client.UpdateNode(ctx, string(h.server.self), api.UpdateNode{Schedule: s}); err != nil {
			t.Fatal(err)
		}
	}
	drain(cluster.ScheduleDraining)
	if _, err := h.settle("blog"); err != nil {
		t.Errorf("what runs all the same is not settled: %v", err)
	}
	if err := h.client.Restart(ctx, "blog", api.Restart{}); err != nil {
		t.Fatal(err)
	}
	_, err := h.settle("blog")
	e := wantKind(t, err, cluster.KindUnplaceable, "unplaceable")
	contains(t, e.Message, "web.1 of app blog")
	contains(t, e.Reason, "draining")
	drain(cluster.ScheduleOpen)
	if _, err := h.settle("blog"); err != nil {
		t.Fatal(err)
	}
	app, err := h.server.store.State().App("blog")
	if err != nil {
		t.Fatal(err)
	}
	for a := range h.server.store.State().AllocationsOf("blog") {
		if a.Desired == cluster.DesiredRun && a.Generation != app.Generation["web"] {
			t.Errorf("%s is of before the restart", a.ID)
		}
	}
}

// TestADeployWithoutRoomSaysOnceHowLongItWaits: who waits for minutes wants to know how
// many.
func TestADeployWithoutRoomSaysOnceHowLongItWaits(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\nworker: ok\n"))
	if _, err := h.client.Scale(ctx, "blog", api.Scale{Changes: []api.ScaleChange{{Type: "worker", Quantity: 1}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.settle("blog"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.client.UpdateNode(ctx, string(h.server.self), api.UpdateNode{Schedule: cluster.ScheduleDraining}); err != nil {
		t.Fatal(err)
	}
	n, ended := &news{}, make(chan error, 1)
	go func() {
		_, err := h.client.DeploySource(ctx, "blog", api.DeploySource{Archive: archive(t, procfile("web: ok\nworker: ok\n"))}, n.add)
		ended <- err
	}()
	h.await("both are told", func() bool {
		return strings.Contains(n.String(), "web.1 fits nowhere yet") && strings.Contains(n.String(), "worker.1 fits nowhere yet")
	})
	if got := strings.Count(n.String(), "the rollout waits for room for 3m0s"); got != 1 {
		t.Errorf("told %d times how long it waits:\n%s", got, n)
	}
	if _, err := h.client.UpdateNode(ctx, string(h.server.self), api.UpdateNode{Schedule: cluster.ScheduleOpen}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
