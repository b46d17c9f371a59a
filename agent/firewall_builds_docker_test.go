//go:build docker

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
)

// sender is a container of somebody else's on the engine's own bridge.
type sender struct {
	t       *testing.T
	id      string
	address netip.Addr
}

func newSender(t *testing.T) *sender {
	t.Helper()
	s := &sender{t: t}
	s.id = s.docker("run", "-d", "--rm", "busybox:latest", "sleep", "120")
	t.Cleanup(func() { _ = exec.Command("docker", "kill", s.id).Run() })
	s.address = netip.MustParseAddr(s.docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", s.id))
	return s
}

func (s *sender) docker(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("docker %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (s *sender) ask(host string, port uint16) string {
	cmd := exec.Command("docker", "exec", "-i", s.id, "nc", "-w", "5", host, fmt.Sprint(port))
	cmd.Stdin = strings.NewReader("GET / HTTP/1.0\r\n\r\n")
	out, _ := cmd.CombinedOutput()
	return string(out)
}

// TestFirewallTellsBuildsFromContainers has one sender that the set knows and one
// that it does not, which is what a build step is.
func TestFirewallTellsBuildsFromContainers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may write netfilter tables")
	}
	h := newHost(t)
	private, offered := answering(t), answering(t)
	others, step := newSender(t), newSender(t)
	wall := &firewall{cluster: h.d.cluster, ports: []uint16{offered}, engine: h.d, log: slog.New(slog.DiscardHandler), dirty: make(chan struct{}, 1)}
	gateway := others.docker("inspect", "-f", "{{.NetworkSettings.Gateway}}", others.id)
	if got := step.ask(gateway, private); !strings.HasSuffix(got, "reached") {
		t.Fatalf("before: %q; this host cannot show the difference", got)
	}
	t.Cleanup(func() { _ = removeFirewall(h.d.cluster) })
	b, err := h.d.DefaultBridge(t.Context())
	if err != nil || !slices.Contains(b.Containers, others.address) || !slices.Contains(b.Containers, step.address) {
		t.Fatalf("the engine's own bridge is %+v, %v", b, err)
	}
	b.Containers = slices.DeleteFunc(b.Containers, func(a netip.Addr) bool { return a == step.address })
	wall.known.Store(&b)
	if changed, err := wall.apply(); err != nil || !changed {
		t.Fatalf("apply: %v, %v", changed, err)
	}
	for _, c := range []struct {
		who     *sender
		host    string
		port    uint16
		refused bool
	}{{others, gateway, private, false}, {step, gateway, private, true}, {step, gateway, offered, false}, {step, "169.254.169.254", 80, true}} {
		got := c.who.ask(c.host, c.port)
		if refused(got) != c.refused || !c.refused && !strings.HasSuffix(got, "reached") {
			t.Errorf("%s asks %s:%d: %q", c.who.address, c.host, c.port, got)
		}
	}
	// It turns out to be a container: it is let pass, and the table stays.
	if err := wall.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if changed, err := wall.apply(); err != nil || changed {
		t.Errorf("apply after a look: %v, %v", changed, err)
	}
	if got := step.ask(gateway, private); !strings.HasSuffix(got, "reached") {
		t.Errorf("a known container: %q", got)
	}
}

// TestFirewallKnowsContainersBeforeTheyRun starts one whose first deed is to ask
// the host, while the loop runs.
func TestFirewallKnowsContainersBeforeTheyRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may write netfilter tables")
	}
	h := newHost(t)
	private := answering(t)
	first := newSender(t)
	gateway := first.docker("inspect", "-f", "{{.NetworkSettings.Gateway}}", first.id)
	wall := &firewall{cluster: h.d.cluster, engine: h.d, log: slog.New(slog.DiscardHandler), dirty: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- wall.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; _ = removeFirewall(h.d.cluster) })
	deadline := time.Now().Add(20 * time.Second)
	for wall.bridge().Interface == "" && time.Now().Before(deadline) {
		<-time.After(20 * time.Millisecond)
	}
	for n := range 3 {
		out, _ := exec.Command("docker", "run", "--rm", "busybox:latest", "sh", "-c",
			fmt.Sprintf("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 %s %d", gateway, private)).CombinedOutput()
		if !strings.HasSuffix(string(out), "reached") {
			t.Errorf("container %d: %q", n, out)
		}
	}
}

// TestFirewallHoldsForBuildsWhereNoAppsRun: a server without apps builds images all
// the same.
func TestFirewallHoldsForBuildsWhereNoAppsRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may write netfilter tables")
	}
	h := newHost(t)
	_, me := identities(t)
	t.Cleanup(func() { _ = removeFirewall(h.d.cluster) })
	_, stop := runAgent(t, Config{Dir: t.TempDir(), Node: always(me), Cluster: h.d.cluster, Builds: true, Servers: []string{"127.0.0.1:1"}})
	defer stop()
	b, err := h.d.DefaultBridge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wall := &firewall{cluster: h.d.cluster}
	soon(t, "a wall around build steps", func() bool {
		c, err := nftables.New()
		return err == nil && wall.stands(c, wall.table(), wall.chains(b.Interface))
	})
}
