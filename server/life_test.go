package server

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"paas/api"
	"paas/cluster"
)

func wantKind(t *testing.T, err error, kind cluster.Kind, code string) *cluster.Error {
	t.Helper()
	var e *cluster.Error
	if !errors.As(err, &e) || e.Kind != kind || (code != "" && e.Code != code) {
		t.Fatalf("got %+v, want %s %s", err, kind, code)
	}
	return e
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
}

// Who pushes the first worker is told how to start one, and who pushes again is not.
func TestATypeWithoutReplicasIsToldOnce(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	const told = "worker has no replica yet; start one: paas scale worker=1 -a blog"
	for v, files := range []map[string]string{procfile("web: ok\n"), procfile("web: ok\nworker: ok\n"), procfile("web: ok\nworker: ok\n\n")} {
		_, n, err := h.deploy("blog", files)
		if err != nil {
			t.Fatalf("%v\n%s", err, n)
		}
		if got := strings.Contains(n.String(), told); got != (v == 1) {
			t.Errorf("release v%d: told %v\n%s", v+1, got, n)
		}
	}
}

func TestDeployRollsOut(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	res, n, err := h.deploy("blog", procfile("web: ok\nworker: ok\n"))
	if err != nil {
		t.Fatalf("%v\n%s", err, n)
	}
	if res.Release != 1 || res.URL != "https://blog.localhost:8443" || res.Build == "" || res.Deployment == "" {
		t.Errorf("result: %+v", res)
	}
	contains(t, n.String(), "-----> Stub app detected", "compiling blog\n       red", "Rolling out v1", "web.1 v1 healthy", "worker has no replica yet; start one: paas scale worker=1 -a blog", "v1 is live")
	done := n.last()
	for _, phase := range []string{"receive", "build", "push", "rollout"} {
		if _, ok := done.Phase[phase]; !ok {
			t.Errorf("phase %s is not told: %v", phase, done.Phase)
		}
	}
	env := h.agent.env("blog", "web.1")
	for k, want := range map[string]string{"PORT": "8080", "PAAS_APP": "blog", "PAAS_PROCESS": "web", "PAAS_INSTANCE": "web.1",
		"PAAS_RELEASE": "v1", "DYNO": "web.1", "FROM_APP_JSON": "yes"} {
		if got := env[k].Reveal(); got != want {
			t.Errorf("env %s = %q, want %q", k, got, want)
		}
	}
	var log strings.Builder
	if err := h.client.BuildLog(t.Context(), "blog", res.Build, &log); err != nil {
		t.Fatal(err)
	}
	contains(t, log.String(), "-----> Stub app detected", "compiling blog")
	left, err := os.ReadDir(filepath.Join(h.dir, "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("source left behind: %v %v", left, err)
	}
}

func TestCrashReverts(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\n"))
	_, n, err := h.deploy("blog", procfile("web: crash 3\n"))
	e := wantKind(t, err, cluster.KindRolloutFailed, "rollout.crashed")
	contains(t, e.Message, "v2", "v1 still serves")
	contains(t, e.Reason, "web.1 on node-1", "code 3")
	contains(t, n.String(), "cannot find module ./config/prod")
	if strings.Contains(n.String(), "\x1b") {
		t.Error("escape sequences of the app reach the pusher")
	}
	h.await("only v1 runs", func() bool {
		ps, err := h.client.Processes(t.Context(), "blog")
		return err == nil && len(ps.Allocations) == 1 && ps.Allocations[0].Release == 1 && h.agent.running("blog") == 1
	})
	res := h.mustDeploy("blog", procfile("web: ok\nworker: ok\n"))
	if res.Release != 3 {
		t.Errorf("the next release is %s", res.Release)
	}
}

func TestBuildFails(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	res, n, err := h.deploy("blog", map[string]string{"Procfile": "web: ok\n", "build": "fail"})
	wantKind(t, err, cluster.KindBuildFailed, "build.failed")
	if res != nil && res.Release != 0 {
		t.Errorf("a failed build made a release: %+v", res)
	}
	contains(t, n.String(), "main.go:3: syntax error")
	builds, err := h.client.Builds(t.Context(), "blog")
	if err != nil || len(builds) != 1 || builds[0].State != cluster.BuildFailed {
		t.Fatalf("builds: %+v %v", builds, err)
	}
	contains(t, builds[0].Failure, "syntax error")
}

func TestHangUpCancelsBuild(t *testing.T) {
	h := newHost(t)
	h.images.building = make(chan string, 1)
	h.createApp("blog")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, _, err := h.deployCtx(ctx, "blog", map[string]string{"Procfile": "web: ok\n", "build": "wait"})
		done <- err
	}()
	<-h.images.building
	cancel()
	if err := <-done; err == nil {
		t.Fatal("a deploy that was hung up on succeeded")
	}
	h.await("the build is cancelled", func() bool {
		builds, err := h.client.Builds(t.Context(), "blog")
		return err == nil && builds[0].State == cluster.BuildCancelled
	})
	h.mustDeploy("blog", procfile("web: ok\n")) // the queue is free
}

func TestCancelBuild(t *testing.T) {
	h := newHost(t)
	h.images.building = make(chan string, 1)
	h.createApp("blog")
	done := make(chan error, 1)
	go func() {
		_, _, err := h.deploy("blog", map[string]string{"Procfile": "web: ok\n", "build": "wait"})
		done <- err
	}()
	<-h.images.building
	builds, err := h.client.Builds(t.Context(), "blog")
	if err != nil || len(builds) != 1 {
		t.Fatalf("builds: %+v %v", builds, err)
	}
	if err := h.client.CancelBuild(t.Context(), "blog", builds[0].ID); err != nil {
		t.Fatal(err)
	}
	wantKind(t, <-done, cluster.KindBuildFailed, "build.cancelled")
}

func TestDeploysOfOneAppWait(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	first, second := &news{}, &news{}
	errs := make(chan error, 2)
	go func() {
		_, err := h.client.DeploySource(t.Context(), "blog", api.DeploySource{Archive: archive(t, procfile("web: boot gate\n"))}, first.add)
		errs <- err
	}()
	h.await("the first rolls out", func() bool { return strings.Contains(first.String(), "Rolling out v1") })
	go func() {
		_, err := h.client.DeploySource(t.Context(), "blog", api.DeploySource{Archive: archive(t, procfile("web: ok\n"))}, second.add)
		errs <- err
	}()
	h.await("the second waits", func() bool { return strings.Contains(second.String(), "Waiting for a deploy by tester") })
	h.agent.release("gate")
	for range 2 {
		if err := <-errs; err != nil {
			t.Fatalf("%v\n%s\n%s", err, first, second)
		}
	}
	contains(t, second.String(), "v2 is live")
}

func TestConfigAndRollback(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.createApp("blog")
	if res, err := h.client.ChangeConfig(ctx, "blog", api.ChangeConfig{Set: map[string]cluster.Redacted{"EARLY": "1"}}); err != nil || res.Deployment != "" {
		t.Fatalf("config before the first release: %+v %v", res, err)
	}
	h.mustDeploy("blog", procfile("web: ok\n"))
	res, err := h.client.ChangeConfig(ctx, "blog", api.ChangeConfig{Set: map[string]cluster.Redacted{"GREETING": "hello there"}})
	if err != nil || res.Release != 2 || res.Deployment == "" {
		t.Fatalf("config set: %+v %v", res, err)
	}
	n := &news{}
	if err := h.client.WatchDeployment(ctx, "blog", res.Deployment, n.add); err != nil {
		t.Fatalf("%v\n%s", err, n)
	}
	if got := h.agent.env("blog", "web.1")["GREETING"].Reveal(); got != "hello there" {
		t.Errorf("GREETING = %q", got)
	}
	v, err := h.client.ConfigValue(ctx, "blog", "GREETING")
	if err != nil || v.Value != "hello there" {
		t.Errorf("config get: %+v %v", v, err)
	}
	list, err := h.client.Config(ctx, "blog")
	if err != nil || len(list.Keys) != 3 || list.Keys[0] != (api.ConfigKey{Key: "EARLY", Since: 1}) || list.Keys[2] != (api.ConfigKey{Key: "GREETING", Since: 2}) {
		t.Errorf("config: %+v %v", list, err)
	}
	if same, err := h.client.ChangeConfig(ctx, "blog", api.ChangeConfig{Set: map[string]cluster.Redacted{"GREETING": "hello there"}}); err != nil || same.Release != 0 {
		t.Errorf("the same value again made %+v %v", same, err)
	}
	_, err = h.client.ConfigValue(ctx, "blog", "GREETIN")
	contains(t, wantKind(t, err, cluster.KindNotFound, "config_key").Reason, "GREETING")

	back, err := h.client.Rollback(ctx, "blog", api.Rollback{To: 1})
	if err != nil || back.Release != 3 {
		t.Fatalf("rollback: %+v %v", back, err)
	}
	if err := h.client.WatchDeployment(ctx, "blog", back.Deployment, func(api.Progress) {}); err != nil {
		t.Fatal(err)
	}
	if _, has := h.agent.env("blog", "web.1")["GREETING"]; has {
		t.Error("the rollback kept the config that came later")
	}
}

func TestScale(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\nworker: ok\n"))
	list, err := h.client.Scale(ctx, "blog", api.Scale{Changes: []api.ScaleChange{{Type: "web", Quantity: 3}, {Type: "worker", Quantity: 1, Relative: true}}})
	if err != nil || list.Formation["web"] != 3 || list.Formation["worker"] != 1 {
		t.Fatalf("scale: %+v %v", list, err)
	}
	if err := h.client.Settle(ctx, "blog", nil, func(api.Progress) {}); err != nil {
		t.Fatal(err)
	}
	if n := h.agent.running("blog"); n != 4 {
		t.Errorf("%d replicas run, want 4", n)
	}
	if err := h.client.Settle(ctx, "blog", []cluster.ProcessType{"we b"}, func(api.Progress) {}); err == nil {
		t.Error("settled of an impossible type")
	}
	// 1 GiB holds 16 replicas of 64 MiB.
	_, err = h.client.Scale(ctx, "blog", api.Scale{Changes: []api.ScaleChange{{Type: "web", Quantity: 40}}})
	e := wantKind(t, err, cluster.KindUnplaceable, "")
	contains(t, e.Message, "of 40")
	contains(t, e.Reason, "node-1")
	list, err = h.client.Processes(ctx, "blog")
	if err != nil || list.Formation["web"] != 3 {
		t.Errorf("a refused scale changed something: %+v %v", list.Formation, err)
	}
	_, err = h.client.Scale(ctx, "blog", api.Scale{Changes: []api.ScaleChange{{Type: "wrker", Quantity: 1}}})
	contains(t, wantKind(t, err, cluster.KindNotFound, "process_type").Hint, "worker")
	if err := h.client.Restart(ctx, "blog", api.Restart{}); err != nil {
		t.Fatal(err)
	}
	if err := h.client.Settle(ctx, "blog", nil, func(api.Progress) {}); err != nil {
		t.Fatal(err)
	}
}

// TestSettleOfOneTypeWaitsForNoOther: a worker that never comes up is no reason to
// wait when the web processes are scaled.
func TestSettleOfOneTypeWaitsForNoOther(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\nworker: boot never\n"))
	quantity := func(typ cluster.ProcessType, n int) {
		t.Helper()
		if _, err := h.client.Scale(ctx, "blog", api.Scale{Changes: []api.ScaleChange{{Type: typ, Quantity: n}}}); err != nil {
			t.Fatal(err)
		}
	}
	quantity("worker", 1)
	quantity("web", 2)
	if err := h.client.Settle(ctx, "blog", []cluster.ProcessType{"web"}, func(api.Progress) {}); err != nil {
		t.Fatal(err)
	}
	for a := range h.server.store.State().AllocationsOf("blog") {
		if healthy := a.Observed.State == cluster.AllocationHealthy; healthy != (a.Type == "web") {
			t.Errorf("%s is %s", a.Instance(), a.Observed.State)
		}
	}
}

func TestReleaseCommand(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	_, n, err := h.deploy("blog", procfile("web: ok\nrelease: ok\n"))
	if err != nil {
		t.Fatalf("%v\n%s", err, n)
	}
	contains(t, n.String(), "Running the release command of v1", "       migrated", "Rolling out v1")
	if _, ok := n.last().Phase["release"]; !ok {
		t.Errorf("phase release is not told: %v", n.last().Phase)
	}
	// Who hangs up now has to know that the deployment goes on.
	i := slices.IndexFunc(n.list, func(p api.Progress) bool { return p.Text == "Running the release command of v1" })
	if res := n.list[i].Result; res == nil || res.Release != 1 || res.Deployment == "" {
		t.Errorf("the release command is not told as part of a deployment: %+v", res)
	}
	_, n, err = h.deploy("blog", procfile("web: ok\nrelease: exit 9\n"))
	e := wantKind(t, err, cluster.KindRolloutFailed, "release.failed")
	contains(t, e.Reason, "code 9")
	contains(t, e.Message, "v1 still serves")
	contains(t, strings.Join(n.last().Log, "\n"), "relation users does not exist")
	if got := h.agent.env("blog", "web.1")["PAAS_RELEASE"].Reveal(); got != "v1" {
		t.Errorf("a failed release command was followed by %s", got)
	}
}

func TestReleaseCommandIsNotRunTwice(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\n"))
	n := &news{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = h.client.DeploySource(t.Context(), "blog", api.DeploySource{Archive: archive(t, procfile("web: ok\nrelease: hang\n"))}, n.add)
	}()
	h.await("the release command runs", func() bool { return strings.Contains(n.String(), "migrating") })
	h.restart()
	<-done
	h.await("the deployment failed", func() bool {
		list, err := h.client.Deployments(t.Context(), "blog")
		return err == nil && list[0].State == cluster.DeploymentFailed && list[0].Failure.Code == "release.interrupted"
	})
	if n := h.agent.ran(); n != 1 {
		t.Errorf("the release command ran %d times", n)
	}
}

func TestCancelDeployment(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	n := &news{}
	done := make(chan error, 1)
	go func() {
		_, err := h.client.DeploySource(t.Context(), "blog", api.DeploySource{Archive: archive(t, procfile("web: ok\nrelease: hang\n"))}, n.add)
		done <- err
	}()
	h.await("the release command runs", func() bool { return strings.Contains(n.String(), "migrating") })
	list, err := h.client.Deployments(t.Context(), "blog")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.client.CancelDeployment(t.Context(), "blog", list[0].ID); err != nil {
		t.Fatal(err)
	}
	e := wantKind(t, <-done, cluster.KindRolloutFailed, "cancelled")
	contains(t, e.Reason, "tester")
}

func TestRestartKeepsEverything(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\n"))
	// A deployment that rolls on over a restart.
	n := &news{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = h.client.DeploySource(ctx, "blog", api.DeploySource{Archive: archive(t, procfile("web: boot gate\n"))}, n.add)
	}()
	h.await("v2 boots", func() bool { return h.agent.running("blog") == 2 })
	id, ca := h.server.ClusterID(), h.server.CAPEM()
	h.restart()
	<-done
	if h.server.ClusterID() != id || h.server.CAPEM() != ca {
		t.Error("the cluster's identity changed")
	}
	list, err := h.client.Deployments(ctx, "blog")
	if err != nil || list[0].State != cluster.DeploymentRolling {
		t.Fatalf("deployments: %+v %v", list, err)
	}
	h.agent.release("gate")
	if err := h.client.WatchDeployment(ctx, "blog", list[0].ID, func(api.Progress) {}); err != nil {
		t.Fatal(err)
	}
	app, err := h.client.App(ctx, "blog")
	if err != nil || app.Current != 2 || app.Healthy != 1 {
		t.Errorf("app: %+v %v", app, err)
	}
}

func TestRestartEndsBuilds(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.images.building = make(chan string, 1)
	// A build that the server could not end: its process was killed.
	_, err := h.server.store.Propose(t.Context(), startBuild(h, "blog"))
	if err != nil {
		t.Fatal(err)
	}
	h.restart()
	builds, err := h.client.Builds(t.Context(), "blog")
	if err != nil || builds[0].State != cluster.BuildFailed || !strings.Contains(builds[0].Failure, "restart") {
		t.Fatalf("builds: %+v %v", builds, err)
	}
}

func TestDestroyLeavesNothing(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.createApp("blog")
	h.createApp("other")
	res := h.mustDeploy("blog", procfile("web: ok\nrelease: ok\n"))
	h.mustDeploy("other", procfile("web: ok\n"))
	if err := h.client.DestroyApp(ctx, "blog", "blg"); err == nil {
		t.Fatal("destroyed without its name")
	}
	if err := h.client.DestroyApp(ctx, "blog", "blog"); err != nil {
		t.Fatal(err)
	}
	if n := h.agent.running("blog"); n > 0 {
		t.Errorf("%d replicas are left", n)
	}
	for _, path := range []string{"git/blog.git", "builds/" + string(res.Build) + ".log", "builds/" + string(res.Deployment) + ".release.log"} {
		if _, err := os.Stat(filepath.Join(h.dir, path)); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	if _, err := os.Stat(filepath.Join(h.dir, "git/other.git")); err != nil || h.agent.running("other") != 1 {
		t.Errorf("destroying blog touched other: %v", err)
	}
	_, err := h.client.App(ctx, "blog")
	wantKind(t, err, cluster.KindNotFound, "app")
	h.createApp("blog") // its name is free
}
