//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// clusterTerminals opens terminals through servers that do not lead, in replicas of
// the leader's host, the asked server's own, and others.
func clusterTerminals(f *fleet, dir string) {
	list := f.healthy("shop", 3, time.Minute)
	for _, m := range f.followers() {
		h := f.via(m)
		for _, r := range list {
			args := []string{"exec", r.Instance, "-a", "shop", "--"}
			clusterAttached(f, h, dir, m.name+", exec in "+r.Instance+" of "+r.Node, args)
			if got := strings.TrimSpace(h.must(dir, append(args, "/probe", "env", "PAAS_INSTANCE")...)); got != r.Instance {
				f.t.Errorf("%s: exec in %s runs in %q", m.name, r.Instance, got)
			}
		}
		clusterAttached(f, h, dir, m.name+", run", []string{"run", "-a", "shop", "--"})
	}
	clusterFollows(f, f.followers()[0], dir)
}

// clusterAttached checks all that a terminal carries: input, its end, output, exit
// code; and with a person at it size and Ctrl-C.
func clusterAttached(f *fleet, h *host, dir, what string, args []string) {
	text := strings.Repeat("0123456789abcde\n", 1<<16) // 1 MiB: more than any buffer on the way
	if out, errs, code := h.run(dir, text, h.bin, append(args, "/probe", "cat")...); out != text || code != 0 {
		f.t.Errorf("%s: %d of %d bytes came back, exit %d\n%s", what, len(out), len(text), code, errs)
	}
	if _, errs, code := h.paas(dir, append(args, "/probe", "exit", "7")...); code != 7 {
		f.t.Errorf("%s: exit %d in place of the 7\n%s", what, code, errs)
	}
	p := newTypist(f.t, h, dir, "terminal 100x30", append(args, "/probe", "tty")...)
	p.sees()
	p.types("\x03")
	if code := p.ends(); code != 5 {
		f.t.Errorf("%s: Ctrl-C in the app: exit %d, want its 5\n%s", what, code, p.said)
	}
}

// clusterFollows follows logs through a server while a replica comes to be on whatever
// host.
func clusterFollows(f *fleet, m *member, dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	h, said := f.via(m), &watched{want: "probe starting web.4", seen: make(chan struct{})}
	cmd := h.command(ctx, h.bin, "logs", "-f", "-n", "3", "-a", "shop")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, h.env(), said, said
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	f.await("logs -f through "+m.name+" shows what was", 30*time.Second, func() string { return lacks(said.String(), "probe listening on") })
	f.must(f.home, "scale", "web=4", "-a", "shop")
	f.await("logs -f through "+m.name+" shows the new replica", 30*time.Second, func() string { return lacks(said.String(), "probe starting web.4") })
	f.must(f.home, "scale", "web=3", "-a", "shop")
	f.healthy("shop", 3, time.Minute)
}

// lacks is what there is if it lacks want.
func lacks(text, want string) string {
	if strings.Contains(text, want) {
		return ""
	}
	return fmt.Sprintf("%q has no %q", text, want)
}
