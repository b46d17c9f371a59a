//go:build e2e

package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// capabilitiesOfApps is the mask of the eight that agent/docker_create.go names:
// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE.
const capabilitiesOfApps = "00000000000004fb"

// TestAttackFromWithin runs a hostile app: it looks at its own rights and tries
// what it must not be able to do, as a replica, through exec and as a one-off.
func TestAttackFromWithin(t *testing.T) {
	h := newHost(t)
	victim, dir := h.repo("probe"), h.repo("probe")
	h.must(victim, "apps", "create", "victim")
	h.push(victim)
	h.must(dir, "apps", "create", "hostile")
	h.push(dir)
	h.must(dir, "scale", "web=2")

	t.Run("rights", func(t *testing.T) {
		h.t = t
		_, replica := h.get("https://hostile.localhost/spy")
		oneOff := h.must(dir, "run", "--", "/probe", "spy")
		inside := h.must(dir, "exec", "web.1", "--", "/probe", "spy")
		for what, text := range map[string]string{"replica": replica, "one-off": oneOff, "exec": inside} {
			rights(t, what, text)
		}
		// Two looks of one kind differ in process IDs and mounts' roots alone.
		if a, b := rightsOf(replica), rightsOf(oneOff); a != b {
			t.Errorf("a replica and a one-off differ:\n%s\n---\n%s", a, b)
		}
	})
	t.Run("options", func(t *testing.T) { h.t = t; engineOptions(t, h) })
	t.Run("network", func(t *testing.T) { h.t = t; network(t, h, dir) })
	t.Run("asking for more", func(t *testing.T) { h.t = t; askingForMore(t, h, dir) })
	h.t = t
	h.serves("https://victim.localhost/", "version=v1")
}

func rights(t *testing.T, what, text string) {
	t.Helper()
	contains(t, what, text, "CapEff: "+capabilitiesOfApps, "CapPrm: "+capabilitiesOfApps, "CapBnd: "+capabilitiesOfApps,
		"NoNewPrivs: 1", "Seccomp: 2", "limit pids 512", "limit memory ", "interfaces 2")
	if strings.Contains(text, ": YES") {
		t.Errorf("%s can do too much:\n%s", what, text)
	}
	for _, masked := range []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"} {
		if _, err := os.Stat(masked); err == nil && !strings.Contains(text, "mount "+masked+" ") {
			t.Errorf("%s: %s is not masked", what, masked)
		}
	}
	for _, readOnly := range []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/bus", "/sys"} {
		if _, err := os.Stat(readOnly); err == nil && !mountIs(text, readOnly, "ro") {
			t.Errorf("%s: %s is not read-only", what, readOnly)
		}
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) > 1 && f[0] == "mount" && (strings.Contains(line, "docker.sock") || strings.HasPrefix(f[1], "/home") || strings.HasPrefix(f[1], "/var/lib")) {
			t.Errorf("%s: mount of the host's: %s", what, line)
		}
	}
}

// mountIs looks for "mount PATH ROOT OPTIONS".
func mountIs(text, path, option string) bool {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "mount" && f[1] == path {
			return slices.Contains(strings.Split(f[3], ","), option)
		}
	}
	return false
}

// rightsOf is the part of a spy's report that is the same for equals.
func rightsOf(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "mount" {
			line = "mount " + f[1] + "\n"
		}
		if !strings.HasPrefix(line, "pid ") && !strings.HasPrefix(line, "mount /dev/console") {
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "")
}

// engineOptions looks at the containers from the engine's side.
func engineOptions(t *testing.T, h *host) {
	said, _, _ := h.run(h.home, "", "docker", "info", "--format", "{{.NCPU}}")
	cpus, err := strconv.ParseInt(strings.TrimSpace(said), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(h.containers("hostile")), "\n") {
		id, _, _ := strings.Cut(line, " ")
		out, _, _ := h.run(h.home, "", "docker", "inspect", "--format", "{{json .HostConfig}}", id)
		var c struct {
			Privileged                                         bool
			Binds, SecurityOpt, VolumesFrom                    []string
			PortBindings                                       map[string]any
			NetworkMode, PidMode, IpcMode, UTSMode, UsernsMode string
			CgroupnsMode                                       string
			Devices, DeviceRequests, Mounts, DeviceCgroupRules []any
			Memory, MemorySwap, NanoCPUs, CPUShares            int64 `json:",omitempty"`
			PidsLimit                                          *int64
			PublishAllPorts                                    bool
			LogConfig                                          struct{ Config map[string]string }
			MaskedPaths, ReadonlyPaths                         []string
		}
		if err := json.Unmarshal([]byte(out), &c); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if c.Privileged || c.PublishAllPorts || len(c.Binds)+len(c.PortBindings)+len(c.Devices)+len(c.DeviceRequests)+len(c.Mounts)+len(c.VolumesFrom)+len(c.DeviceCgroupRules) > 0 {
			t.Errorf("privileges, mounts, devices or ports: %s", out)
		}
		if c.PidMode != "" || c.UTSMode != "" || c.UsernsMode != "" || c.IpcMode != "private" || c.NetworkMode == "host" {
			t.Errorf("namespaces of the host's: %s", out)
		}
		if c.Memory <= 0 || c.MemorySwap != c.Memory || c.PidsLimit == nil || *c.PidsLimit != 512 || !strings.Contains(out, `"CpuShares":`) {
			t.Errorf("limits: %s", out)
		}
		if want := cpus*1_000_000_000 - 250_000_000; c.NanoCPUs != want {
			t.Errorf("a container gets %d billionths of a processor, want %d of %d processors", c.NanoCPUs, want, cpus)
		}
		if c.LogConfig.Config["max-size"] == "" || c.LogConfig.Config["max-file"] == "" || !slices.Contains(c.SecurityOpt, "no-new-privileges") || len(c.MaskedPaths) == 0 {
			t.Errorf("log, security options or masks: %s", out)
		}
		if slices.ContainsFunc(c.SecurityOpt, func(o string) bool { return strings.Contains(o, "unconfined") }) {
			t.Errorf("unconfined: %s", out)
		}
	}
}

// network tries every way out of a container that is none of its business.
func network(t *testing.T, h *host, dir string) {
	own, err := net.Listen("tcp", "0.0.0.0:0") // a service of the host's, on all its addresses
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	go func() { _ = http.Serve(own, http.NotFoundHandler()) }()
	_, port, _ := net.SplitHostPort(own.Addr().String())
	registry, err := os.ReadFile(filepath.Join(h.data, "registry", "address"))
	if err != nil {
		t.Fatal(err)
	}
	_, registryPort, _ := net.SplitHostPort(string(registry))
	gateway, sisters := "", []string{}
	for _, app := range []string{"victim", "hostile"} {
		for _, line := range strings.Split(strings.TrimSpace(h.containers(app)), "\n") {
			id, _, _ := strings.Cut(line, " ")
			out, _, _ := h.run(h.home, "", "docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}", id)
			f := strings.Fields(out)
			if len(f) != 2 {
				t.Fatalf("addresses of %s: %q", id, out)
			}
			sisters, gateway = append(sisters, f[0]), f[1]
		}
	}
	targets := []string{"169.254.169.254:80", "100.100.100.200:80", "192.0.0.192:80", "168.63.129.16:80",
		"/var/run/docker.sock", filepath.Join(h.data, "hook.sock"), "127.0.0.1:" + registryPort, "127.0.0.1:" + port}
	for _, ip := range append(hostAddresses(t), gateway) {
		targets = append(targets, net.JoinHostPort(ip, port), net.JoinHostPort(ip, registryPort), net.JoinHostPort(ip, "2375"), net.JoinHostPort(ip, "22"))
	}
	asked := url.Values{"to": targets}
	_, said := h.get("https://hostile.localhost/dial?" + asked.Encode())
	if strings.Contains(said, " OPEN ") || strings.Count(said, " closed\n") != len(targets) {
		t.Errorf("a replica reaches what it must not, of %d targets:\n%s", len(targets), said)
	}
	var web []string
	for _, ip := range sisters {
		web = append(web, net.JoinHostPort(ip, "8080"))
	}
	if out := h.must(dir, append([]string{"run", "--", "/probe", "dial"}, web...)...); strings.Count(out, " closed\n") != len(web) {
		t.Errorf("a one-off reaches another container:\n%s", out)
	}
	asked = url.Values{"to": web} // a replica reaches its own address
	if _, said := h.get("https://hostile.localhost/dial?" + asked.Encode()); strings.Count(said, " OPEN ") != 1 {
		t.Errorf("of %d replicas one reaches itself alone, got:\n%s", len(sisters), said)
	}
	if res, err := http.Get("http://" + net.JoinHostPort(sisters[0], "8080") + "/"); err != nil || res.StatusCode != 200 {
		t.Errorf("the host itself reaches its containers, or the above shows nothing: %v", err)
	} else {
		_ = res.Body.Close()
	}
}

// hostAddresses are the IPv4 addresses of this host that are not on loopback.
func hostAddresses(t *testing.T) []string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && len(out) < 4 {
			out = append(out, n.IP.String())
		}
	}
	return out
}

// askingForMore names a container runtime's options where an app may say
// something; the packages' own tests have more of them. Nothing changes.
func askingForMore(t *testing.T, h *host, dir string) {
	before := h.containers("hostile")
	for key, text := range map[string]string{"privileged": "[process.web]\nprivileged = true\n", "network": "[build]\nnetwork = \"host\"\n"} {
		h.write(dir, "paas.toml", text)
		h.commit(dir, "Wish")
		if out, code := h.git(dir, "push", "paas", "main"); code == 0 || !strings.Contains(out, key) {
			t.Errorf("paas.toml with %s: exit %d\n%s", key, code, out)
		}
	}
	for _, flag := range []string{"--privileged", "--volume=/:/host", "--device=/dev/sda", "--network=host", "--pid=host", "--cap-add=ALL", "--publish=80:80"} {
		for _, verb := range []string{"run", "exec", "deploy", "scale"} {
			if out, errs, code := h.paas(dir, verb, flag, "web.1"); code != 2 {
				t.Errorf("paas %s %s: exit %d, want 2\n%s%s", verb, flag, code, out, errs)
			}
		}
	}
	if after := h.containers("hostile"); after != before {
		t.Errorf("containers changed:\n%s\n%s", before, after)
	}
}
