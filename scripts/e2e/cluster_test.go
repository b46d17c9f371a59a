//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestCluster is a cluster of three servers and two agents in three zones: it is
// joined, used, and loses its leader, a host, and all servers. The drills of
// `make faults` do each of this for longer.
func TestCluster(t *testing.T) {
	f := newFleet(t, plan{servers: 3, agents: 2})
	entry := f.through(f.members[4]) // an agent's router: it is never killed here
	var dir string
	for i, step := range []struct {
		name string
		do   func()
	}{
		{"an app is spread over the zones", func() { dir = clusterDeploys(f) }},
		{"any server takes commands and pushes", func() { clusterAnyServer(f, dir) }},
		{"a terminal through any server", func() { clusterTerminals(f, dir) }},
		{"who is not invited stays out", func() { clusterStrangers(f) }},
		{"a server is removed", func() { clusterServerRemoved(f) }},
		{"the leader is killed", func() { clusterLeaderKilled(f, entry) }},
		{"a host is lost", func() { clusterHostLost(f, entry) }},
		{"a node is drained", func() { clusterDrained(f, entry) }},
		{"all servers are dead", func() { clusterServersDead(f, entry) }},
	} {
		if !t.Run(step.name, func(t *testing.T) { f.t = t; entry.t = t; step.do() }) && i == 0 {
			break // what follows needs the app
		}
	}
	f.t = t
}

// clusterDeploys pushes an app to the leader and finds it behind every router.
func clusterDeploys(f *fleet) string {
	dir := f.deployProbe("shop", 3)
	list := f.healthy("shop", 3, time.Second)
	if n := skew(list, "a", "b", "c"); n > 1 {
		f.t.Errorf("3 replicas in 3 zones: %s", hostsOf(list))
	}
	for _, m := range f.members {
		h := f.through(m)
		f.await("the app answers through "+m.name, 10*time.Second, func() string { return ask(h.client, "https://shop.localhost/", "version=") })
	}
	f.serving("shop", 3, nil, 10*time.Second)
	return dir
}

// clusterAnyServer uses the followers.
func clusterAnyServer(f *fleet, dir string) {
	for i, m := range f.servers() {
		h := f.via(m)
		want := fmt.Sprintf("hello-%d", i)
		h.must(dir, "config", "set", "GREETING="+want, "-a", "shop")
		if got := strings.TrimSpace(f.via(f.servers()[(i+1)%3]).must(dir, "config", "get", "GREETING", "-a", "shop")); got != want {
			f.t.Errorf("set through %s, and read through the next: %q, want %q", m.name, got, want)
		}
	}
	f.write(dir, "note", "through a follower")
	f.commit(dir, "Through a follower")
	follower := f.followers()[0]
	if out, code := f.pushTo(follower, dir, "shop"); code != 0 {
		f.t.Errorf("push to %s: exit %d\n%s", follower.name, code, out)
	}
	f.settled("shop", 3, 30*time.Second)
	f.exports(10 * time.Second)
}

// clusterLeaderKilled kills the leader under load, and brings it back.
func clusterLeaderKilled(f *fleet, entry *host) {
	l := f.newLedger("ledger")
	traffic := entry.load("https://shop.localhost/", "version=", 100)
	f.await("the load is on", 20*time.Second, func() string { return traffic.atLeast(0, 100) })
	killed, first, all := f.killLeader(l)
	within(f.t, "writes back after kill -9 of the leader", first, 2*time.Second)
	f.t.Logf("through every other server: %v", all.Round(time.Millisecond))
	killed.start()
	f.allUp(20 * time.Second)
	n := traffic.stop(f.t)
	f.t.Logf("%d writes acknowledged, none may be lost; %d requests", l.check(), n)
	f.exports(10 * time.Second)
}

// clusterHostLost pulls the plug of a host with replicas.
func clusterHostLost(f *fleet, entry *host) {
	f.everywhere("shop", 3)
	m := f.busiest("shop", f.members[:4])
	f.lostHost(m, entry, "shop", 3)
	m.powerOn()
	f.allUp(30 * time.Second)
}

// clusterDrained empties a node under load.
func clusterDrained(f *fleet, entry *host) {
	f.healthy("shop", 3, 60*time.Second)
	m := f.busiest("shop", f.members)
	traffic := entry.load("https://shop.localhost/", "version=", 100)
	f.must(f.home, "nodes", "drain", m.name)
	f.await(m.name+" is empty", 60*time.Second, func() string {
		list, err := m.containersOf("shop")
		if err != nil || len(list) > 0 {
			return fmt.Sprint(list, err)
		}
		return ""
	})
	f.healthy("shop", 3, 30*time.Second)
	traffic.stop(f.t)
	f.must(f.home, "nodes", "uncordon", m.name)
}

// clusterServersDead kills every server: requests go on, also through an agent
// that starts from what is on its disk.
func clusterServersDead(f *fleet, entry *host) {
	f.healthy("shop", 3, 60*time.Second)
	agent := f.members[3]
	traffic := entry.load("https://shop.localhost/", "version=", 100)
	f.await("the load is on", 20*time.Second, func() string { return traffic.atLeast(0, 100) })
	for _, m := range f.servers() {
		m.end(syscall.SIGKILL)
	}
	agent.end(syscall.SIGKILL)
	began := time.Now()
	agent.start()
	restarted := f.through(agent)
	f.await("the restarted agent's router serves", 20*time.Second, func() string { return ask(restarted.client, "https://shop.localhost/", "version=") })
	within(f.t, "agent restarted without any server, serving", time.Since(began), 3*time.Second)
	began = time.Now()
	for _, m := range f.servers() {
		m.start()
	}
	f.await("the cluster takes writes", 30*time.Second, func() string {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		in := map[string]any{"set": map[string]string{"AGAIN": "1"}}
		if err := f.api(f.servers()[0]).call(ctx, http.MethodPatch, "/v1/apps/ledger/config", in, nil); err != nil {
			return err.Error()
		}
		return ""
	})
	within(f.t, "all servers restarted, writable", time.Since(began), 10*time.Second)
	f.allUp(30 * time.Second)
	f.healthy("shop", 3, 30*time.Second)
	traffic.stop(f.t)
	f.exports(10 * time.Second)
}
