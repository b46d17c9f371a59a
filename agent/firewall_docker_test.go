//go:build docker

package agent

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// answering is a host's own service on every address; it returns its port.
func answering(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "reached") })}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// refused tells a refusal from silence, in nc's words.
func refused(said string) bool {
	return strings.Contains(said, "refused") || strings.Contains(said, "No route to host")
}

// TestFirewallKeepsTheHostOutOfReach asks from a real container of the cluster.
func TestFirewallKeepsTheHostOutOfReach(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may write netfilter tables")
	}
	h := newHost(t)
	private, offered := answering(t), answering(t)
	wall := &firewall{cluster: h.d.cluster, ports: []uint16{offered}, log: slog.New(slog.DiscardHandler)}
	if err := h.d.ensureNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, err := h.d.inspectNetwork(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gateway := n.IPAM.Config[0].Gateway
	ask := func(host string, port uint16) string {
		cmd := exec.Command("docker", "run", "--rm", "-i", "--network", n.Name, "busybox:latest", "nc", "-w", "5", host, fmt.Sprint(port))
		cmd.Stdin = strings.NewReader("GET / HTTP/1.0\r\n\r\n")
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if got := ask(gateway, private); !strings.HasSuffix(got, "reached") {
		t.Fatalf("before: %q; this host cannot show the difference", got)
	}
	if changed, err := wall.apply(); err != nil || !changed {
		t.Fatalf("apply: %v, %v", changed, err)
	}
	if got := ask(gateway, private); !refused(got) {
		t.Errorf("the host's own service: %q", got)
	}
	if got := ask(gateway, offered); !strings.HasSuffix(got, "reached") {
		t.Errorf("the offered port: %q", got)
	}
	if got := ask("169.254.169.254", 80); !refused(got) {
		t.Errorf("the metadata address is not refused: %q", got)
	}
	if changed, err := wall.apply(); err != nil || changed {
		t.Errorf("a second apply over an unchanged world: %v, %v", changed, err)
	}
	// Somebody flushes everything: the next look mends it.
	if err := removeFirewall(h.d.cluster); err != nil {
		t.Fatal(err)
	}
	if got := ask(gateway, private); !strings.HasSuffix(got, "reached") {
		t.Errorf("after removal: %q", got)
	}
	if changed, err := wall.apply(); err != nil || !changed {
		t.Errorf("apply after a flush: %v, %v", changed, err)
	}
}

// servesMetadata is set for the process that is the metadata server.
const servesMetadata = "PAAS_TEST_METADATA"

// TestServeMetadata is no test but that process.
func TestServeMetadata(t *testing.T) {
	if os.Getenv(servesMetadata) == "" {
		t.Skip("only inside the namespace of another test")
	}
	t.Fatal(http.ListenAndServe(":80", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "iam-secret") })))
}

// metadataServer is a cloud's: behind a link of its own, so that packets to it go
// through this host and not to it. It is gone when the test ends.
func metadataServer(t *testing.T, address string) {
	t.Helper()
	space := "paas" + randomName()[:6]
	link, far := "v"+space, "w"+space
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("netns", "add", space)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", space).Run() }) // its end of the link takes the other along
	run("link", "add", link, "type", "veth", "peer", "name", far, "netns", space)
	run("link", "set", link, "up")
	run("addr", "add", "192.0.2.1/30", "dev", link)
	run("route", "add", address+"/32", "dev", link)
	for _, args := range [][]string{{"addr", "add", address + "/32", "dev", far}, {"addr", "add", "192.0.2.2/30", "dev", far},
		{"link", "set", "lo", "up"}, {"link", "set", far, "up"}, {"route", "add", "default", "via", "192.0.2.1"}} {
		run(append([]string{"-n", space}, args...)...)
	}
	srv := exec.Command("ip", "netns", "exec", space, os.Args[0], "-test.run", "^TestServeMetadata$")
	srv.Env = append(os.Environ(), servesMetadata+"=1")
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Process.Kill(); _ = srv.Wait() })
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := net.DialTimeout("tcp", address+":80", time.Second)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the metadata server does not answer: %v", err)
		}
	}
}

// TestFirewallRefusesMetadataOnTheWayThrough asks a server that answers, so that
// the refusal is the table's and not the route's.
func TestFirewallRefusesMetadataOnTheWayThrough(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may make network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not installed")
	}
	const address = "169.254.169.254"
	metadataServer(t, address)
	h := newHost(t)
	if err := h.d.ensureNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		cmd := exec.Command("docker", "run", "--rm", "-i", "--network", networkName(h.d.cluster), "busybox:latest", "nc", "-w", "5", address, "80")
		cmd.Stdin = strings.NewReader("GET / HTTP/1.0\r\n\r\n")
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if got := ask(); !strings.HasSuffix(got, "iam-secret") {
		t.Fatalf("before: %q; this host cannot show the difference", got)
	}
	wall := &firewall{cluster: h.d.cluster, log: slog.New(slog.DiscardHandler)}
	if _, err := wall.apply(); err != nil {
		t.Fatal(err)
	}
	if got := ask(); !refused(got) {
		t.Errorf("with the table: %q", got)
	}
	if err := removeFirewall(h.d.cluster); err != nil {
		t.Fatal(err)
	}
	if got := ask(); !strings.HasSuffix(got, "iam-secret") {
		t.Errorf("after removal: %q", got)
	}
}
