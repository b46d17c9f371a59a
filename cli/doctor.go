package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"paas/api"
	"paas/builder"
	"paas/cluster"
)

func doctorVerb() *verb {
	return &verb{name: "doctor", group: groupOperate, summary: "find out why something does not work", run: doctor, needs: needsNothing, flags: serverFlags(),
		about:    "It changes nothing. Each line is fine (✓), worth knowing (!) or broken (✗), with what to do;\nthe exit code is 1 when something is broken.",
		examples: []string{"paas doctor", "paas doctor --json"}}
}

// finding is one line of the doctor's.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // "ok", "warning", "broken"
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"`
}

func fine(check, format string, args ...any) finding {
	return finding{Check: check, State: "ok", Text: fmt.Sprintf(format, args...)}
}

func warning(check, do, format string, args ...any) finding {
	return finding{Check: check, State: "warning", Text: fmt.Sprintf(format, args...), Do: do}
}

func broken(check string, err error) finding {
	e := asError(err)
	text := e.Message
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return finding{Check: check, State: "broken", Text: text, Do: e.Hint}
}

func doctor(ctx context.Context, in *invocation) error {
	var all []finding
	add := func(f ...finding) { all = append(all, f...) }
	engine := checkDocker(ctx)
	add(engine, checkGit(ctx))
	if engine.State == "ok" {
		add(checkBuildLimits(ctx))
	}
	add(checkMemory(), checkDisk(in))
	add(judgeKernel(readKernel("/"))...)
	t, f := in.checkContext()
	add(f)
	if t != nil {
		add(in.checkGitTrust(t))
		add(checkServer(ctx, t)...)
	} else {
		add(checkPorts()...)
		add(checkNames(ctx, 8443))
	}
	failures := 0
	for _, f := range all {
		if f.State == "broken" {
			failures++
		}
	}
	err := in.print(all, func(o *output) {
		for _, f := range all {
			g := map[string]glyph{"ok": good, "warning": warn, "broken": bad}[f.State]
			mark := o.outStyle.mark(g)
			if g == warn {
				mark = o.outStyle.yellow(string(g))
			}
			o.printf("  %s %s\n", mark, oneLine(f.Text))
			if f.Do != "" {
				o.printf("      %s\n", strings.ReplaceAll(f.Do, "\n", "\n      "))
			}
		}
	})
	if err == nil && failures > 0 {
		return status(exitFailed)
	}
	return err
}

func checkDocker(ctx context.Context) finding {
	v, err := checkEngine(ctx)
	if err != nil {
		return broken("docker", err)
	}
	return fine("docker", "Docker Engine %s", v)
}

// checkBuildLimits says whether a build could take the whole host.
func checkBuildLimits(ctx context.Context) finding {
	err := builder.CheckLimits(ctx)
	if err == nil {
		return fine("build limits", "build steps are limited in memory, processes and CPU")
	}
	e := asError(err)
	return warning("build limits", "run paas as root, beside an engine with the cgroupfs driver", "%s: %s", e.Message, e.Reason)
}

func checkGit(ctx context.Context) finding {
	if _, err := exec.LookPath("git"); err != nil {
		return broken("git", cluster.Invalid("git", "git is not installed").WithHint("install it: sudo apt-get install git"))
	}
	v, err := git(ctx, "", "version")
	if err != nil {
		return broken("git", err)
	}
	return fine("git", "%s", v)
}

const (
	lowMemory = 512 << 20
	lowDisk   = 2 << 30
	badDisk   = 256 << 20
)

// checkMemory reads what the kernel says can be had without swapping.
func checkMemory() finding {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return warning("memory", "", "memory is not known: %v", err)
	}
	var kib int64
	for line := range strings.SplitSeq(string(data), "\n") {
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); err == nil {
			break
		}
	}
	if free := kib << 10; free < lowMemory {
		return warning("memory", "stop something, or scale apps down: paas scale", "%d MiB of memory are available; builds want %d MiB", free>>20, lowMemory>>20)
	}
	return fine("memory", "%.1f GiB of memory are available", float64(kib)/(1<<20))
}

// checkDisk looks at the file system of the default data directory, or of the
// nearest folder above it that exists.
func checkDisk(in *invocation) finding {
	dir, err := in.dataDir()
	if err != nil {
		return broken("disk", err)
	}
	var fs syscall.Statfs_t
	for syscall.Statfs(dir, &fs) != nil && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	free := int64(fs.Bavail) * fs.Bsize
	text := fmt.Sprintf("%.1f GiB of disk are free at %s", float64(free)/(1<<30), dir)
	switch {
	case free < badDisk:
		return broken("disk", cluster.Errorf(cluster.KindUnavailable, "disk", "%s", text).WithHint("free some: docker system df shows what images take"))
	case free < lowDisk:
		return warning("disk", "docker system df shows what images take", "%s", text)
	}
	return fine("disk", "%s", text)
}

func (in *invocation) checkContext() (*target, finding) {
	t, err := in.findTarget()
	if cluster.KindOf(err) == cluster.KindUnauthenticated {
		return nil, warning("context", asError(err).Hint, "no cluster is chosen yet")
	}
	if err != nil {
		return nil, broken("context", err)
	}
	return t, fine("context", "context %s is %s", t.label(), t.server)
}

// checkServer asks the chosen server who it is, what time it has, and whether an
// app of it answers.
func checkServer(ctx context.Context, t *target) []finding {
	c, err := t.client()
	if err != nil {
		return []finding{broken("server", err)}
	}
	began := time.Now()
	s, err := c.Status(ctx)
	if err != nil {
		return []finding{broken("server", err)}
	}
	out := []finding{fine("server", "server %s answers in %s, leader %s, %d of %d nodes up", s.Version, short(time.Since(began)), s.Leader, s.NodesUp, s.Nodes)}
	if s.Version != version {
		out = append(out, warning("version", "install the same version on both", "this tool is %s, the server is %s", version, s.Version))
	}
	if s.NodesUp < s.Nodes {
		out = append(out, warning("nodes", "see which: paas nodes", "%d nodes are down", s.Nodes-s.NodesUp))
	}
	for _, low := range s.LowSpace {
		out = append(out, checkLowSpace(low))
	}
	out = append(out, checkClock(ctx, c), checkApp(ctx, c, s))
	out = append(out, checkDomains(ctx, c)...)
	if s.Domain == "localhost" {
		out = append(out, checkNames(ctx, s.HTTPSPort))
	}
	return out
}

// checkLowSpace tells of a file system that the cluster found to be tight or full.
func checkLowSpace(low api.NodeSpace) finding {
	const do = "see what is large: docker system df; drop build caches: docker builder prune"
	text := fmt.Sprintf("the disk of node %s at %s is %s", low.Node, low.Path, low.Space)
	if low.Level == cluster.SpaceFull {
		return broken("disk", cluster.Errorf(cluster.KindUnavailable, "disk", "%s", text).Because("nothing is built until it is freed").WithHint(do))
	}
	return warning("disk", do, "%s; builds stop at 90%%", text)
}

// maxSkew is how far clocks may be apart before certificates and tokens suffer.
const maxSkew = 5 * time.Second

// checkClock compares clocks by the newest event, which is stamped by a server.
func checkClock(ctx context.Context, c *api.Client) finding {
	list, err := c.Events(ctx, "", 1)
	if err != nil || len(list) == 0 {
		return fine("clock", "clock is %s", time.Now().UTC().Format(time.RFC3339))
	}
	if ahead := time.Until(list[len(list)-1].At); ahead > maxSkew {
		return warning("clock", "set it: sudo timedatectl set-ntp true", "this clock is %s behind the server's", short(ahead))
	}
	return fine("clock", "clock is not behind the server's")
}

// checkApp goes the whole way of a request to the first app that should answer.
func checkApp(ctx context.Context, c *api.Client, s *api.ClusterStatus) finding {
	apps, err := c.Apps(ctx)
	if err != nil {
		return broken("apps", err)
	}
	for _, a := range apps {
		if a.Current == 0 || a.Wanted == 0 {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, a.URL, nil)
		if err != nil {
			return broken("apps", err)
		}
		res, err := edgeClient(s.EdgeCA).Do(req)
		if err != nil {
			return broken("apps", cluster.Errorf(cluster.KindUnavailable, "app", "%s does not answer", a.URL).Because("%v", innermost(err)).
				WithHint("see: paas status -a "+string(a.Name)+"\nand whether its name leads to a router of the cluster"))
		}
		_ = res.Body.Close() // HEAD has none
		return fine("apps", "%s answers (%s)", a.URL, res.Status)
	}
	return fine("apps", "no app is meant to answer yet")
}

// checkPorts says whether "up" would get its default ports.
func checkPorts() []finding {
	var out []finding
	for _, p := range [][2]string{{"http", "127.0.0.1:8080"}, {"https", "127.0.0.1:8443"}, {"listen", "127.0.0.1:7443"}} {
		if err := free(p[0], p[1]); err != nil {
			_, port, _ := net.SplitHostPort(p[1])
			n, _ := strconv.Atoi(port) // it is one of the three above
			out = append(out, judgePort(p[0], p[1], portOwner("/", n)))
		}
	}
	if out == nil {
		out = append(out, fine("ports", "the ports of paas up are free: 8080, 8443, 7443"))
	}
	return out
}

// checkNames looks how this host's resolver sees names below localhost, where the
// apps are, at port.
func checkNames(ctx context.Context, port int) finding {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	const name = "app.localhost"
	addrs, err := net.DefaultResolver.LookupHost(ctx, name)
	if err == nil && len(addrs) > 0 && net.ParseIP(addrs[0]).IsLoopback() {
		return fine("names", "%s leads here", name)
	}
	return warning("names", "browsers and newer curls know by themselves; older ones need --resolve APP.localhost:"+strconv.Itoa(port)+":127.0.0.1,\n"+
		"other programs libnss-myhostname", "the system's resolver does not know %s", name)
}
