//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bad is a release that must not come to be.
type bad struct {
	name  string
	files map[string]string
	args  []string // of paas, instead of deploying the folder
	code  int
	wants []string // in what the one who deploys sees
	// boot is how long after the start of its container a replica that goes on running
	// is known to be bad; 0: when its container ends, if it has one.
	boot time.Duration
	// quiet prints nothing that could be evidence.
	quiet bool
}

// badReleases have limits of seconds, where the defaults are of a minute.
var badReleases = []bad{
	{name: "exits at boot", files: map[string]string{"Procfile": "web: /probe -crash 0s\n"}, code: 6,
		wants: []string{"exited with code 3", "cannot find configuration ./config/prod"}},
	{name: "exits while it is watched", code: 6, files: map[string]string{"Procfile": "web: /probe -crash 3s\n", "paas.toml": "[deploy]\nmin_healthy = \"8s\"\n"},
		wants: []string{"exited with code 3", "cannot find configuration ./config/prod"}},
	{name: "listens on the wrong port", code: 6, boot: 2 * time.Second, files: map[string]string{"Procfile": "web: /probe -port 9999\n", "paas.toml": "[process.web]\ncheck = { boot = \"2s\" }\n"},
		wants: []string{"did not listen on port 8080 within 2s", "9999", "listen on $PORT, which is 8080"}},
	{name: "fails its release command", code: 6, quiet: true, files: map[string]string{"Procfile": "web: /probe\nrelease: /probe exit 9\n"}, wants: []string{"exited with code 9"}},
	{name: "runs out of memory at boot", code: 6, files: map[string]string{"paas.toml": "[process.web]\ncommand = \"/probe hog\"\nmemory = \"32M\"\n"},
		wants: []string{"ran out of memory (limit 32 MiB)", "probe takes all memory"}},
	{name: "fits nowhere", code: 7, files: map[string]string{"paas.toml": "[process.web]\nmemory = \"900G\"\n"}, wants: []string{"MiB", "GiB"}},
	{name: "image missing", code: 9, args: []string{"deploy", "--image", "127.0.0.1:1/nobody/nothing:1"}, wants: []string{"neither here nor can it be pulled"}},
	{name: "invalid Procfile", code: 9, files: map[string]string{"Procfile": "this is no process\n"}, wants: []string{"Procfile"}},
	{name: "unknown key", code: 9, files: map[string]string{"paas.toml": "[deploy]\nmin_helthy = \"1s\"\n"}, wants: []string{"min_helthy"}},
	{name: "build error", code: 9, files: map[string]string{"Dockerfile": "FROM scratch\nCOPY nothing-here /\n"}, wants: []string{"nothing-here"}},
	{name: "config that breaks it", code: 6, args: []string{"config", "set", "PROBE_CRASH=0s"}, wants: []string{"exited with code 3", "cannot find configuration ./config/prod"}},
}

// TestBadReleases deploys what cannot work to an app that does, and finds it as it was.
func TestBadReleases(t *testing.T) {
	refuse(t, 10, "", badReleases)
}

// refuse deploys all to an app with those settings that is asked at a rate.
func refuse(t *testing.T, rate int, settings string, all []bad) {
	h := newHost(t)
	dir := h.repo("probe")
	if settings != "" {
		h.write(dir, "paas.toml", settings)
		h.commit(dir, "Settings")
	}
	h.must(dir, "apps", "create", "steady")
	h.must(dir, "config", "set", "GREETING=as before")
	h.push(dir)
	config, before := h.must(dir, "config", "--json"), h.containers("steady")
	asked := h.load("https://steady.localhost/", "greeting=as before", rate)
	ends := h.watchContainers()
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			h.t = t
			h.refused(dir, b, ends)
			if now := h.must(dir, "config", "--json"); now != config {
				t.Errorf("config changed:\n%s→\n%s", config, now)
			}
		})
	}
	t.Run("build that never ends", func(t *testing.T) { h.t = t; endlessBuild(t, h) })
	h.t = t
	asked.stop(t)
	h.await("nothing is left", 40*time.Second, func() string { return h.leftovers("steady", before) })
	h.serves("https://steady.localhost/", "version=v1")
}

// refused deploys b from a copy of dir and demands what b says.
func (h *host) refused(dir string, b bad, ends *containerEvents) {
	h.t.Helper()
	copied := filepath.Join(h.t.TempDir(), "app")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		h.t.Fatal(err)
	}
	for name, text := range b.files {
		h.write(copied, name, text)
	}
	args := b.args
	if args == nil {
		args = []string{"deploy", "."}
	}
	began := time.Now()
	said, code := h.timed(copied, append(args, "-a", "steady")...)
	h.t.Logf("refused after %v\n%s", time.Since(began).Round(10*time.Millisecond), tail(said.String(), 8))
	if code != b.code {
		h.t.Errorf("exit %d, want %d\n%s", code, b.code, said)
	}
	contains(h.t, "output", said.String(), b.wants...)
	if b.code == 6 {
		h.toldInTime(b, said, ends, began)
	}
}

// endlessBuild interrupts one that prints nothing.
func endlessBuild(t *testing.T, h *host) {
	dir := t.TempDir()
	sleep := fmt.Sprintf("sleep %d", 3600+time.Now().UnixNano()%1_000_000) // to know it by
	h.write(dir, "Dockerfile", "FROM busybox\nRUN "+sleep+"\n")
	cmd := exec.Command(h.bin, "deploy", dir, "-a", "steady", "--progress", "plain")
	var out strings.Builder
	cmd.Env, cmd.Stdout, cmd.Stderr = h.env(), &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	asleep := func() bool {
		said, _ := exec.Command("pgrep", "-f", "^"+sleep).Output()
		return len(said) > 0
	}
	h.await("the build runs", 30*time.Second, func() string {
		if asleep() {
			return ""
		}
		return "it does not sleep"
	})
	_ = cmd.Process.Signal(syscall.SIGINT)
	began := time.Now()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit %d after Ctrl-C, want 130\n%s", code, out.String())
	}
	t.Logf("ended %v after Ctrl-C\n%s", time.Since(began).Round(time.Millisecond), out.String())
	h.await("the build's process is gone", 20*time.Second, func() string {
		if asleep() {
			return "it sleeps on"
		}
		return ""
	})
}

// leftovers says what there is beside the app's one container: containers, images
// of builds, temporary files.
func (h *host) leftovers(app, containers string) string {
	if now := h.containers(app); now != containers {
		return fmt.Sprintf("containers:\n%s→\n%s", containers, now)
	}
	all, _, _ := h.run(h.home, "", "docker", "images", "--filter", "label=paas.cluster="+h.cluster(), "--format", "{{.Repository}}:{{.Tag}}")
	if strings.Contains(all, ":build-") {
		return all
	}
	left, err := filepath.Glob(filepath.Join(h.data, "tmp", "*"))
	if err != nil || len(left) > 0 {
		return fmt.Sprint(left, err)
	}
	return ""
}
