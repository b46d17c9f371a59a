//go:build docker

package agent

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
)

// TestDockerAgentServesWithoutServers is the whole node: a server assigns two
// replicas, the agent runs them, the router serves them, the agent restarts, and
// all servers are gone: requests are answered throughout.
func TestDockerAgentServesWithoutServers(t *testing.T) {
	h := newHost(t)
	server, me := identities(t)
	control := newControl(t, server, h.d.cluster)
	edge, err := identity.NewAuthority("edge", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	control.edge = edge
	config := Config{Dir: t.TempDir(), Node: always(me), Cluster: h.d.cluster, Name: "host-1", Zone: "a", Apps: true,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})), Servers: []string{control.listener.Addr().String()}, Router: &RouterConfig{HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0"}}
	a, stop := runAgent(t, config)
	if hello := receive(t, "hello", control.hellos); hello.Node.MemoryBytes == 0 || hello.Node.CPUMilli == 0 || hello.Node.DockerVersion == "" || !hello.Node.Apps || !hello.Node.Router {
		t.Errorf("hello: %+v", hello.Node)
	}
	receive(t, "ready", a.Ready())

	one, two := h.assignment("a-1", server1("one")), h.assignment("a-2", server1("two"))
	two.Slot = 2
	control.want(setOf(one, two), nil)
	route := cluster.Route{Host: "blog.localhost", App: "blog", Internal: true}
	address := map[cluster.AllocationID]string{}
	containers := map[cluster.AllocationID]string{}
	for len(address) < 2 {
		o := receive(t, "healthy replicas", control.observed)
		if o.Observation.State == cluster.AllocationHealthy {
			address[o.ID], containers[o.ID] = o.Observation.Address, o.Observation.ContainerID
			route.Upstreams = append(route.Upstreams, cluster.Upstream{Allocation: o.ID, Instance: "web", Node: me.ID, Zone: "a", Address: o.Observation.Address})
		}
	}
	control.want(nil, &cluster.RouteTable{Routes: []cluster.Route{route}})
	for receive(t, "routed", control.routers).Index == 0 { // an older table
	}
	if got := get(t, a); got != "one" && got != "two" {
		t.Errorf("answer %q", got)
	}

	control.stop()
	stop() // the agent restarts, and no server is there
	before := h.inspect(containers["a-1"])
	a, stop = runAgent(t, config)
	soon(t, "answer after the restart", func() bool { got := get(t, a); return got == "one" || got == "two" })
	if now := h.inspect(containers["a-1"]); now.State.StartedAt != before.State.StartedAt {
		t.Error("the restart of the agent restarted a replica")
	}
	if o, ok := a.board.get("a-1"); !ok || o.Observation.State != cluster.AllocationHealthy {
		t.Errorf("a-1 is %+v", o)
	}
	// What dies without any server is started again from memory, environment included.
	if err := h.d.client.ContainerKill(t.Context(), containers["a-1"], "KILL"); err != nil {
		t.Fatal(err)
	}
	soon(t, "started again", func() bool {
		o, _ := a.board.get("a-1")
		return o.Observation.State == cluster.AllocationHealthy && o.Observation.ContainerID != containers["a-1"]
	})
	o, _ := a.board.get("a-1")
	if env := strings.Join(h.inspect(o.Observation.ContainerID).Config.Env, " "); !strings.Contains(env, "PORT=8080") {
		t.Errorf("environment after the restart: %s", env)
	}
	stop()
}

// server1 serves one text.
func server1(text string) string {
	return "mkdir /tmp/w; printf " + text + " > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"
}

// get asks the router for the app; "" while it does not answer.
func get(t *testing.T, a *Agent) string {
	t.Helper()
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, a.HTTPSAddr().String())
		}}}
	defer c.CloseIdleConnections()
	res, err := c.Get("https://blog.localhost/")
	if err != nil {
		t.Logf("ask the router: %v", err)
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Logf("the router answers %d %q, %v", res.StatusCode, body, err)
		return ""
	}
	return string(body)
}

func TestDockerPurge(t *testing.T) {
	h := newHost(t)
	h.begin(setOf(h.assignment("a-1", "sleep 3600")))
	h.await("a-1", cluster.AllocationStarting)
	h.stop()
	for range 2 {
		if err := purge(t.Context(), h.d.cluster); err != nil {
			t.Fatal(err)
		}
	}
	all, err := h.d.List(t.Context())
	if err != nil || len(all) != 0 {
		t.Errorf("left: %v, %v", all, err)
	}
	if err := h.d.ensureNetwork(t.Context()); err != nil {
		t.Errorf("the network cannot be made again: %v", err)
	}
	if err := purge(t.Context(), ""); err == nil {
		t.Error("a purge of every cluster was not refused")
	}
}

// purge is a purge by a process of its own.
func purge(ctx context.Context, id cluster.ClusterID) error {
	claim, err := NewClaim(id, "")
	if err != nil {
		return err
	}
	defer claim.Release()
	return claim.Purge(ctx)
}
