package server

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
)

func TestTokens(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.createApp("blog")
	h.createApp("shop")
	made, err := h.client.CreateToken(ctx, api.CreateToken{Name: "ci", Scope: cluster.ScopeDeploy, Apps: []cluster.AppName{"blog"}})
	if err != nil {
		t.Fatal(err)
	}
	ci := h.as(made.Text)
	if apps, err := ci.Apps(ctx); err != nil || len(apps) != 1 || apps[0].Name != "blog" {
		t.Errorf("apps: %+v %v", apps, err)
	}
	_, err = ci.App(ctx, "shop")
	wantKind(t, err, cluster.KindForbidden, "")
	_, err = ci.Tokens(ctx)
	wantKind(t, err, cluster.KindForbidden, "")
	events, err := ci.Events(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.App != "blog" {
			t.Errorf("a token of blog sees %+v", e)
		}
	}
	if err := h.client.RevokeToken(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	_, err = ci.Apps(ctx)
	wantKind(t, err, cluster.KindUnauthenticated, "")

	// A caller gives no more than it has.
	s := &tokenService{h.server.control}
	mine := api.Actor{Name: "ci", Scope: cluster.ScopeDeploy, Apps: []cluster.AppName{"blog"}}
	for _, in := range []api.CreateToken{
		{Name: "x", Scope: cluster.ScopeAdmin}, {Name: "x", Scope: cluster.ScopeDeploy},
		{Name: "x", Scope: cluster.ScopeRead, Apps: []cluster.AppName{"blog", "shop"}},
	} {
		_, err := s.CreateToken(api.WithActor(ctx, mine), in)
		wantKind(t, err, cluster.KindForbidden, "scope")
	}
	if _, err := s.CreateToken(api.WithActor(ctx, mine), api.CreateToken{Name: "x", Scope: cluster.ScopeRead, Apps: mine.Apps}); err != nil {
		t.Error(err)
	}
}

// A server whose log is not replayed yet knows no tokens. Refusing good ones then
// would lock out whoever polls through a restart.
func TestNoTokenIsJudgedBeforeTheStateIsThere(t *testing.T) {
	h := newHost(t)
	young := *h.server.control
	caughtUp := make(chan struct{})
	young.caughtUp = caughtUp
	for _, bearer := range []string{h.token, "paas_000000000000_wrong"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := young.authenticate(ctx, bearer)
		cancel()
		wantKind(t, err, cluster.KindUnavailable, "starting")
	}
	close(caughtUp)
	if who, err := young.authenticate(t.Context(), h.token); err != nil || who.Name != "tester" {
		t.Errorf("a good token afterwards: %+v %v", who, err)
	}
}

func TestOneTimeLogin(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	if text, err := h.server.OneTimeToken(ctx); err != nil || text != "" {
		t.Fatalf("a cluster with an admin offers a first login: %q %v", text, err)
	}
	tokens, err := h.client.Tokens(ctx)
	if err != nil || len(tokens) != 1 {
		t.Fatalf("tokens: %+v %v", tokens, err)
	}
	if err := (&tokenService{h.server.control}).RevokeToken(ctx, tokens[0].ID); err != nil {
		t.Fatal(err)
	}
	void, err := h.server.OneTimeToken(ctx)
	if err != nil || void == "" {
		t.Fatalf("%q %v", void, err)
	}
	once, err := h.server.OneTimeToken(ctx)
	if err != nil || once == "" || once == void {
		t.Fatalf("%q %v", once, err)
	}
	_, err = h.as(void).Login(ctx, api.Login{Name: "maria"})
	wantKind(t, err, cluster.KindUnauthenticated, "")
	first := h.as(once)
	_, err = first.Apps(ctx)
	wantKind(t, err, cluster.KindForbidden, "")
	admin, err := first.Login(ctx, api.Login{Name: "maria"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = first.Login(ctx, api.Login{Name: "eve"})
	wantKind(t, err, cluster.KindUnauthenticated, "")
	who, err := h.as(admin.Text).Whoami(ctx)
	if err != nil || who.Name != "maria" || who.Scope != cluster.ScopeAdmin {
		t.Errorf("whoami: %+v %v", who, err)
	}
	if text, err := h.server.OneTimeToken(ctx); err != nil || text != "" {
		t.Errorf("a second first login: %q %v", text, err)
	}
}

func TestDomains(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.createApp("blog")
	h.createApp("shop")
	if _, err := h.client.AddDomain(ctx, "blog", api.AddDomain{Host: "Shop.Example.com"}); err != nil {
		t.Fatal(err)
	}
	_, err := h.client.AddDomain(ctx, "shop", api.AddDomain{Host: "shop.example.com"})
	wantKind(t, err, cluster.KindConflict, "")
	_, err = h.client.AddDomain(ctx, "blog", api.AddDomain{Host: "shop.localhost"})
	wantKind(t, err, cluster.KindConflict, "domain_reserved")
	list, err := h.client.Domains(ctx, "blog")
	if err != nil || len(list) != 2 || !list[0].Default || list[1].Host != "shop.example.com" {
		t.Fatalf("domains: %+v %v", list, err)
	}
	if err := h.client.RemoveDomain(ctx, "shop", "shop.example.com"); err == nil {
		t.Error("another app's domain was removed")
	}
	if err := h.client.RemoveDomain(ctx, "blog", "shop.example.com"); err != nil {
		t.Error(err)
	}
}

func TestEventsFollow(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	h.createApp("blog")
	seen := make(chan cluster.Event, 64)
	done := make(chan error, 1)
	go func() {
		done <- h.client.FollowEvents(ctx, "", 0, func(e cluster.Event) error { seen <- e; return nil })
	}()
	want := func(action string) cluster.Event {
		for {
			select {
			case e := <-seen:
				if e.Action == action {
					return e
				}
			case <-ctx.Done():
				t.Fatalf("no event %s", action)
			}
		}
	}
	first := want("app.created")
	h.createApp("shop")
	if e := want("app.created"); e.App != "shop" || e.Actor != "tester" || e.Index <= first.Index {
		t.Errorf("event: %+v", e)
	}
	cancel()
	<-done
}

func TestLogsRunExec(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\nworker: ok\n"))
	var lines []string
	if err := h.client.Logs(ctx, api.LogsRequest{App: "blog"}, func(l api.LogLine) error { lines = append(lines, l.Text); return nil }); err != nil {
		t.Fatal(err)
	}
	contains(t, strings.Join(lines, "\n"), "hello from web.1")
	_, err := h.client.Events(ctx, "blgo", 5)
	wantKind(t, err, cluster.KindNotFound, "app")
	for code, in := range map[string]api.LogsRequest{"process_type": {App: "blog", Type: "wbe", Follow: true}, "instance": {App: "blog", Instance: "web.77"}} {
		wantKind(t, h.client.Logs(ctx, in, func(api.LogLine) error { return nil }), cluster.KindNotFound, code)
	}

	followed := make(chan string, 16)
	following, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- h.client.Logs(following, api.LogsRequest{App: "blog", Follow: true}, func(l api.LogLine) error { followed <- l.Text; return nil })
	}()
	if got := <-followed; got != "hello from web.1" {
		t.Errorf("followed %q", got)
	}
	if _, err := h.client.Scale(ctx, "blog", api.Scale{Changes: []api.ScaleChange{{Type: "worker", Quantity: 1}}}); err != nil {
		t.Fatal(err)
	}
	if got := <-followed; got != "hello from worker.1" { // it came later
		t.Errorf("followed %q", got)
	}
	stop()
	<-done

	term := &outputTerminal{out: &syncBuffer{}}
	code, err := h.client.Run(ctx, api.RunRequest{App: "blog", Command: []string{"exit", "7"}}, term)
	if err != nil || code != 7 {
		t.Errorf("run: %d %v", code, err)
	}
	contains(t, term.out.(*syncBuffer).String(), "relation users")
	term = &outputTerminal{out: &syncBuffer{}}
	if _, err := h.client.Run(ctx, api.RunRequest{App: "blog", Command: []string{"env", "PAAS_PROCESS"}}, term); err != nil {
		t.Error(err)
	}
	contains(t, term.out.(*syncBuffer).String(), "run")
	term = &outputTerminal{out: &syncBuffer{}}
	if code, err := h.client.Exec(ctx, api.ExecRequest{App: "blog", Instance: "web.1", Command: []string{"env", "ALLOCATION"}}, term); err != nil || code != 0 {
		t.Errorf("exec: %d %v", code, err)
	}
	contains(t, term.out.(*syncBuffer).String(), "a-")
	events, err := h.client.Events(ctx, "blog", 1)
	if err != nil || len(events) != 1 || events[0].Action != "exec.started" || events[0].Target != "web.1" {
		t.Errorf("events: %+v %v", events, err)
	}
	_, err = h.client.Exec(ctx, api.ExecRequest{App: "blog", Instance: "web.9", Command: []string{"ok"}}, &outputTerminal{out: &syncBuffer{}})
	wantKind(t, err, cluster.KindNotFound, "instance")
}

// TestIdleIsQuiet: a settled server proposes nothing and logs nothing.
func TestIdleIsQuiet(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\n"))
	if err := h.client.Settle(t.Context(), "blog", nil, func(api.Progress) {}); err != nil {
		t.Fatal(err)
	}
	var index uint64
	var logged int
	h.await("two equal looks in a row", func() bool {
		same := index == h.server.store.State().Index() && logged == len(h.log.String())
		index, logged = h.server.store.State().Index(), len(h.log.String())
		return same
	})
	select {
	case <-h.server.store.Changed(index):
		t.Errorf("an idle server changed its state: %d → %d", index, h.server.store.State().Index())
	case <-time.After(2 * time.Second):
	}
	if now := len(h.log.String()); now != logged {
		t.Errorf("an idle server logged: %s", h.log.String()[logged:])
	}
}

func TestBackupAndRestore(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	h.createApp("blog")
	h.mustDeploy("blog", procfile("web: ok\n"))
	if _, err := h.client.ChangeConfig(ctx, "blog", api.ChangeConfig{Set: map[string]cluster.Redacted{"KEY": "plaintext-canary"}}); err != nil {
		t.Fatal(err)
	}
	h.await("settled", func() bool { return h.server.store.State().ActiveDeployment("blog") == nil })
	var backup strings.Builder
	if err := h.client.Backup(ctx, "correct horse", &backup); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(backup.String(), "plaintext-canary") || strings.Contains(backup.String(), "blog") {
		t.Error("the backup is readable")
	}
	if _, err := VerifyBackup("wrong horse!", strings.NewReader(backup.String())); err == nil {
		t.Error("opened with a wrong passphrase")
	}
	head, err := VerifyBackup("correct horse", strings.NewReader(backup.String()))
	if err != nil || head.Cluster != h.server.ClusterID() || head.Apps != 1 || time.Since(head.NewestEvent) > time.Hour {
		t.Fatalf("verify: %+v %v", head, err)
	}
	wantKind(t, Restore(h.dir, "correct horse", strings.NewReader(backup.String())), cluster.KindConflict, "data")
	id, ca := h.server.ClusterID(), h.server.CAPEM()
	h.stop()
	h.dir += "-restored"
	if err := Restore(h.dir, "correct horse", strings.NewReader(backup.String())); err != nil {
		t.Fatal(err)
	}
	h.agent = newStubAgent(t)
	h.start()
	if h.server.ClusterID() != id || h.server.CAPEM() != ca {
		t.Error("another cluster came back")
	}
	if v, err := h.client.ConfigValue(ctx, "blog", "KEY"); err != nil || v.Value != "plaintext-canary" {
		t.Errorf("config: %+v %v", v, err)
	}
	h.await("the app runs on the new host", func() bool { return h.agent.running("blog") == 1 })
	h.await("nothing of the old host is left", func() bool {
		st := h.server.store.State()
		return len(slices.Collect(st.Nodes())) == 1 && len(slices.Collect(st.Allocations())) == 1
	})
}
