package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/builder"
	"paas/cluster"
)

func doctorVerb() *verb {
	return &verb{name: "doctor", group: groupOperate, summary: "find out why something does not work", run: doctor, needs: needsNothing,
		flags:    append(serverFlags(), &cli.StringFlag{Name: "data", Usage: "`DIR` of the state on this host", DefaultText: "where paas up or paas server keeps it"}),
		about:    "It changes nothing. Each line is fine (✓), worth knowing (!) or broken (✗), with what to do;\nthe exit code is 1 when something is broken.",
		examples: []string{"paas doctor", "paas doctor --json", "sudo paas doctor --data /var/lib/paas"}}
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
	all, err := in.examine(ctx)
	if err != nil {
		return err
	}
	failures := 0
	for _, f := range all {
		if f.State == "broken" {
			failures++
		}
	}
	err = in.print(all, func(o *output) {
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

// examine looks at this host first, then at the cluster that is chosen.
func (in *invocation) examine(ctx context.Context) ([]finding, error) {
	dir, err := in.stateDir()
	if err != nil {
		return nil, err
	}
	engine := checkDocker(ctx)
	all := []finding{engine, checkGit(ctx)}
	root := ""
	if engine.State == "ok" {
		root = engineRoot(ctx)
		all = append(all, checkBuildLimits(ctx))
	}
	all = append(all, judgeMemory(readMemory("/")))
	all = append(all, judgeDisks(readDisks(dir, root))...)
	all = append(all, judgeKernel(readKernel("/"))...)
	clock := readClock("/", time.Now())
	certs := readNodeCertificate(dir)
	t, f := in.checkContext()
	all = append(all, f)
	reached := false
	if t != nil {
		all = append(all, in.checkGitTrust(t))
		var found []finding
		found, reached = in.checkServer(ctx, t, &clock, &certs)
		all = append(all, found...)
	}
	if !reached {
		all = append(all, checkPorts(dir)...)
		all = append(all, checkNames(ctx, 8443))
	}
	all = append(all, judgeClock(clock))
	return append(all, judgeCertificates(certs, clock.Now)...), nil
}

// stateDir is --data, or that of the context's cluster if it is of this host, or the
// default one; or an operator's, if that alone holds a state.
func (in *invocation) stateDir() (string, error) {
	if !in.IsSet("data") {
		if t, err := in.findTarget(); err == nil && t.data != "" && isData(t.data) {
			return t.data, nil
		}
	}
	dir, err := in.dataDir()
	if err == nil && !in.IsSet("data") && !isData(dir) && isData(serverDir) {
		return serverDir, nil
	}
	return dir, err
}

// serverDir is where scripts/paas.service keeps a server's state.
const serverDir = "/var/lib/paas"

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
	return warning("build limits", "run paas as root on the engine's host; with the systemd driver the engine needs version 2 of control groups", "%s: %s", e.Message, e.Reason)
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

// checkServer asks the chosen server who it is, and whether an app of it answers.
// What it shows of its clock and of certificates is left to the judges of those.
func (in *invocation) checkServer(ctx context.Context, t *target, clock *clockFacts, certs *[]certFacts) (out []finding, reached bool) {
	c, err := t.client()
	if err != nil {
		return []finding{broken("server", err)}, false
	}
	if shown, err := probeServer(ctx, t.server); err == nil {
		clock.Server, clock.Took = shown.clock, shown.took
		*certs = append(*certs, shown.cert)
	}
	began := time.Now()
	s, err := c.Status(ctx)
	if err != nil {
		return []finding{broken("server", in.explain(t, err))}, false
	}
	out = []finding{fine("server", "server %s answers in %s, leader %s, %d of %d nodes up", s.Version, short(time.Since(began)), s.Leader, s.NodesUp, s.Nodes)}
	if s.Version != version {
		out = append(out, warning("version", "install the same version on both", "this tool is %s, the server is %s", version, s.Version))
	}
	if s.NodesUp < s.Nodes {
		out = append(out, warning("nodes", "see which: paas nodes", "%s %s down", counted(s.Nodes-s.NodesUp, "node"), isAre(s.Nodes-s.NodesUp)))
	}
	if all, err := c.Volumes(ctx, ""); err == nil { // else the token may see none
		out = append(out, judgeVolumes(all)...)
	}
	for _, low := range s.LowSpace {
		out = append(out, checkLowSpace(low))
	}
	if list, err := c.Events(ctx, "", 1); err == nil && len(list) > 0 {
		clock.Newest = list[len(list)-1].At
	}
	hosts, found := checkDomains(ctx, c, s)
	out = append(out, checkApp(ctx, c, s))
	out = append(out, found...)
	*certs = append(*certs, probeHosts(ctx, hosts, s.HTTPSPort)...)
	if s.Domain == "localhost" {
		out = append(out, checkNames(ctx, s.HTTPSPort))
	}
	return out, true
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
