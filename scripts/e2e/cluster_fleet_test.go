//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fleet is one cluster on a test bed. Its host is the console: the command line,
// git and all requests come from host 0, which is never killed.
type fleet struct {
	*host
	bed       *bed
	root      testing.TB // the whole test, of which f.t may be a step
	members   []*member  // host 1 first
	spare     *member    // the host after the last member, for those who try to get in
	ca        string     // PEM
	authority string     // the file that it is in
	token     string     // of an admin
	status    string     // JSON, of the beginning: how routers are known
}

// plan is what a fleet is made of: servers on the first hosts, agents with a
// router on those after them, zones a, b, c in turn within each kind.
type plan struct {
	kind            string // of the bed
	servers, agents int
	zones           []string // "a", "b", "c" if nil
	dockerd         string   // flags
	disk            string   // size of each host's $HOST_DATA; "" is the machine's disk
	flags           []string // of every server and agent
}

// member is paas on one host, as a server or an agent.
type member struct {
	f           *fleet
	index       string // "2"
	name        string // "h2"
	zone        string
	addr        string // IP
	role        string // "server", "agent"
	flags       []string
	home, log   string
	pid         int
	born        string // of the process: a number is used again
	everStarted bool
	wanted      bool // to run: nothing here has ended it
}

// newFleet boots the hosts and joins everything; it returns when all nodes are up.
func newFleet(t testing.TB, p plan) *fleet {
	t.Helper()
	f := placeFleet(t, p)
	began := time.Now()
	f.members[0].start()
	f.login()
	for _, m := range f.members[1:] {
		m.join()
	}
	f.allUp(60 * time.Second)
	t.Logf("%d servers and %d agents are up after %v", p.servers, p.agents, time.Since(began).Round(time.Millisecond))
	return f
}

// placeFleet boots the hosts, and starts nothing.
func placeFleet(t testing.TB, p plan) *fleet {
	t.Helper()
	if p.kind == "" {
		p.kind = "cluster"
	}
	if p.zones == nil {
		p.zones = []string{"a", "b", "c"}
	}
	f := &fleet{root: t, bed: newBed(t, p.kind, strconv.Itoa(p.servers+p.agents+1), p.dockerd), host: placeHost(t)}
	f.on = []string{"nsenter", "--net=" + f.bed.network("0")}
	f.host.dial = func(ctx context.Context, addr string) (net.Conn, error) { return f.bed.dial(ctx, "0", addr) }
	dir := t.TempDir()
	for i := range p.servers + p.agents + 1 {
		m := &member{f: f, index: strconv.Itoa(i + 1), name: fmt.Sprintf("h%d", i+1), addr: fmt.Sprintf("10.77.0.%d", i+1),
			zone: p.zones[i%len(p.zones)], role: "server", flags: p.flags, log: filepath.Join(dir, fmt.Sprintf("h%d.log", i+1))}
		if i >= p.servers {
			m.role, m.zone = "agent", p.zones[(i-p.servers)%len(p.zones)]
		}
		m.home = "/var/lib/testbed-" + f.bed.id + "/" + m.name + "/data"
		if i == p.servers+p.agents {
			f.spare = m
			break
		}
		if p.disk != "" {
			f.bed.must(t, "disk", m.index, p.disk)
		}
		f.members = append(f.members, m)
	}
	t.Cleanup(f.report)
	return f
}

// report shows the logs of a failed test, and makes each process's panic a failure.
func (f *fleet) report() {
	for _, m := range f.members {
		text, err := os.ReadFile(m.log)
		if err != nil {
			continue
		}
		if regexp.MustCompile(`(?m)^(panic: |fatal error: |goroutine \d+ \[)`).Match(text) {
			f.t.Errorf("%s panicked", m.name)
		}
		if f.t.Failed() {
			f.t.Logf("%s (%s, zone %s) said:\n%s", m.name, m.role, m.zone, tail(string(text), 40))
			if keep := os.Getenv("PAAS_E2E_LOGS"); keep != "" {
				_ = os.WriteFile(filepath.Join(keep, m.name+".log"), text, 0o644)
			}
		}
	}
}

// await waits with patience.
func (f *fleet) await(what string, within time.Duration, wrong func() string) {
	f.t.Helper()
	f.host.await(what, within*patience, wrong)
}

func (f *fleet) servers() (list []*member) {
	for _, m := range f.members {
		if m.role == "server" {
			list = append(list, m)
		}
	}
	return list
}

func (f *fleet) agents() []*member { return f.members[len(f.servers()):] }

// member is the one of that name.
func (f *fleet) member(name string) *member {
	f.t.Helper()
	for _, m := range f.members {
		if m.name == name {
			return m
		}
	}
	f.t.Fatalf("no host is called %q", name)
	return nil
}

// login makes a context for each server, of the first one's console.
func (f *fleet) login() {
	f.t.Helper()
	first := f.members[0]
	var url, fingerprint, token string
	f.await("the first server prints its login", 30*time.Second, func() string {
		text := first.said()
		found := regexp.MustCompile(`paas login (\S+) --ca-fingerprint (\S+) --token (\S+)`).FindStringSubmatch(text)
		if found == nil {
			return "it has printed: " + text
		}
		url, fingerprint, token = found[1], found[2], found[3]
		return ""
	})
	f.must(f.home, "login", url, "--ca-fingerprint", fingerprint, "--token", token, "--name", first.name)
	var made struct {
		Token string `json:"text"`
	}
	f.into(&made, f.home, "token", "create", "--name", "drills", "--scope", "admin")
	f.token = made.Token
	f.await("the first server says how it is known", 30*time.Second, func() string {
		var errs string
		var code int
		if f.status, errs, code = f.paas(f.home, "status", "--json"); code != 0 {
			return f.status + errs
		}
		return f.trust(f.status)
	})
	ca, err := filepath.Glob(filepath.Join(f.home, "ca", "*.pem"))
	if err != nil || len(ca) == 0 {
		f.t.Fatalf("login keeps no authority: %v", err)
	}
	pem, err := os.ReadFile(ca[0])
	if err != nil {
		f.t.Fatal(err)
	}
	f.ca = string(pem)
	f.authority = ca[0]
	f.contexts()
}

// contexts tells the command line where each server is now.
func (f *fleet) contexts() {
	f.t.Helper()
	for _, m := range f.servers() {
		if out, errs, code := f.run(f.home, f.token, f.bin, "context", "add", m.name, "--server", "https://"+m.addr+":7443", "--ca", f.authority, "--token", "-"); code != 0 {
			f.t.Fatalf("context add: exit %d\n%s%s", code, out, errs)
		}
	}
}

// via is the console with another server.
func (f *fleet) via(m *member) *host {
	h := *f.host
	h.on = append(append([]string{}, f.on...), "env", "PAAS_CONTEXT="+m.name)
	return &h
}

// through is the console with m's router.
func (f *fleet) through(m *member) *host {
	f.t.Helper()
	h := *f.host
	h.httpAddr, h.httpsAddr = m.addr+":80", m.addr+":443"
	if said := h.trust(f.status); said != "" {
		f.t.Fatal(said)
	}
	return &h
}

// joinString asks for a join string through a server.
func (f *fleet) joinString(via *member, args ...string) string {
	f.t.Helper()
	out := f.via(via).must(f.home, append([]string{"join", "create", "--json"}, args...)...)
	found := regexp.MustCompile(`paas://[^"\s]+`).FindString(out)
	if found == "" {
		f.t.Fatalf("join create printed no join string:\n%s", out)
	}
	return strings.ReplaceAll(found, `\u0026`, "&")
}

// join starts m for the first time, with a string of the first server.
func (m *member) join() {
	m.f.t.Helper()
	m.start("--join", m.f.joinString(m.f.members[0], "--role", m.role))
}

func (m *member) data() string { return m.home + "/paas" }

// args is the command line of the process.
func (m *member) args() []string {
	args := []string{m.role, "--data", m.data(), "--advertise", m.addr, "--zone", m.zone, "--name", m.name}
	switch {
	case m == m.f.members[0]:
		args = append(args, "--domain", "localhost") // who joins finds one
	case m.role == "agent":
		args = append(args, "--router")
	}
	return append(args, m.flags...)
}

// start begins the process, and does not wait for it to be ready.
func (m *member) start(more ...string) {
	m.f.t.Helper()
	m.launch(append(m.args(), more...))
}

// launch is start with another command line.
func (m *member) launch(args []string) {
	m.f.t.Helper()
	if m.running() {
		m.f.t.Fatalf("%s runs already", m.name)
	}
	full := append([]string{"exec", "-d", m.index, "env", "HOME=" + m.home, "LOG=" + m.log, "NO_COLOR=1",
		"sh", "-c", `exec "$@" >>"$LOG" 2>&1`, "paas", m.f.bin}, args...)
	out := m.f.bed.must(m.f.t, full...)
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		m.f.t.Fatalf("starting %s printed %q", m.name, out)
	}
	m.pid, m.born, m.everStarted, m.wanted = pid, bornAt(pid), true, true
}

// bornAt is when a process began, in the kernel's count; "" if there is none.
func bornAt(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

// running says whether the process that was last started is there.
func (m *member) running() bool { return m.pid != 0 && m.born != "" && bornAt(m.pid) == m.born }

// signal sends s to the process.
func (m *member) signal(s syscall.Signal) {
	m.f.t.Helper()
	if !m.running() {
		m.f.t.Fatalf("%s does not run:\n%s", m.name, tail(m.said(), 20))
	}
	if err := syscall.Kill(m.pid, s); err != nil {
		m.f.t.Fatal(err)
	}
}

// end sends s and waits until the process is gone. It returns when s was sent.
func (m *member) end(s syscall.Signal) (sent time.Time) {
	m.f.t.Helper()
	m.signal(s)
	sent = time.Now()
	m.wanted = false
	m.f.await(m.name+" ends", 60*time.Second, func() string {
		if m.running() {
			return "it runs"
		}
		return ""
	})
	return sent
}

// powerOff kills the whole host: silence. It returns when the plug was pulled:
// what is sent to the host from then on is never answered.
func (m *member) powerOff() (began, ended time.Time) {
	m.f.t.Helper()
	began = time.Now()
	m.f.bed.must(m.f.t, "kill", m.index)
	m.pid, m.wanted = 0, false
	return began, time.Now()
}

// powerOn boots the host and starts paas, if it ever ran there.
func (m *member) powerOn() {
	m.f.t.Helper()
	m.f.bed.must(m.f.t, "start", m.index)
	if m.everStarted {
		m.start()
	}
}

// said is all that the processes of the host have printed.
func (m *member) said() string {
	text, err := os.ReadFile(m.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// rss is the resident memory of the process, in bytes.
func (m *member) rss() int64 {
	m.f.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.pid))
	if err != nil {
		m.f.t.Fatal(err)
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindStringSubmatch(string(text))
	if found == nil {
		m.f.t.Fatalf("no VmRSS of %d", m.pid)
	}
	kib, _ := strconv.ParseInt(found[1], 10, 64)
	return kib << 10
}
