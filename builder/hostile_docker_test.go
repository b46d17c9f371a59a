//go:build docker

package builder

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/distribution/distribution/v3/registry/handlers"

	"paas/cluster"
	"paas/identity"
)

// canary is a service of the host that only the host may reach; hits counts who did.
func canary(t *testing.T) (url string, hits *atomic.Int32) {
	t.Helper()
	hits = &atomic.Int32{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = w.Write([]byte("internal"))
	}))
	t.Cleanup(srv.Close)
	return srv.URL, hits
}

// A pusher's Dockerfile makes the engine reach nothing that its own steps cannot.
func TestDockerHostileDockerfile(t *testing.T) {
	url, hits := canary(t)
	for _, engine := range []Engine{EngineBuildKit, EngineClassic} {
		h := newHarness(t, func(c *Config) { c.Engine = engine })
		const secret = "planted-in-the-other-app"
		other, err := h.Build(t.Context(), Request{App: "victim", Dir: writeTree(t, map[string]string{
			"Dockerfile": "FROM busybox AS one\nRUN echo " + secret + " > /secret\nFROM busybox\nCOPY --from=one /secret /secret\nCMD [\"true\"]\n"}), Log: t.Output()})
		if err != nil {
			t.Fatal(err)
		}
		digest := h.Endpoint().Address + "/" + other.Image.Repository + "@" + other.Image.Digest
		id := docker(t, "image", "inspect", "-f", "{{.Id}}", digest)
		tag := docker(t, "image", "inspect", "-f", "{{range .RepoTags}}{{.}}\n{{end}}", id)
		tag, _, _ = strings.Cut(tag, "\n")
		for name, file := range map[string]string{
			"url":      "FROM busybox\nADD " + url + "/x /x\nRUN cat /x\n",
			"trigger":  "FROM " + hostileBase(t, "ONBUILD ADD "+url+"/x /x") + "\nRUN true\n",
			"digest":   "FROM " + digest + "\nRUN cat /secret\n",
			"tag":      "FROM " + tag + "\nRUN cat /secret\n",
			"copy":     "FROM busybox\nCOPY --from=" + tag + " /secret /secret\nRUN cat /secret\n",
			"mount":    "FROM busybox\nRUN --mount=from=" + tag + ",target=/o cat /o/secret\n",
			"id":       "FROM " + id + "\nRUN cat /secret\n",
			"short id": "FROM " + strings.TrimPrefix(id, "sha256:")[:12] + "\nRUN cat /secret\n",
			"stages":   "FROM " + stagesRepository(h.id) + ":victim.1\nRUN cat /secret\n",
			"frontend": "# syntax=" + h.Endpoint().Address + "/apps/victim\nFROM busybox\nRUN true\n",
			"device":   "FROM busybox\nRUN --security=insecure true\n",
			"network":  "FROM busybox\nRUN --network=host wget -O- " + url + "\n",
		} {
			t.Run(string(engine)+" "+name, func(t *testing.T) {
				_, log, err := h.build(t, map[string]string{"Dockerfile": file})
				if cluster.KindOf(err) != cluster.KindBuildFailed {
					t.Errorf("error %v", err)
				}
				if strings.Contains(log, secret) || strings.Contains(log, "internal") {
					t.Error("the log shows what the build may not see")
				}
			})
		}
		for _, ref := range []string{digest, tag, id} {
			if _, err := h.Build(t.Context(), Request{App: "blog", Image: ref}); err == nil {
				t.Errorf("another app's image %s was taken as a prebuilt one", ref)
			}
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("the host's own service was reached %d times", n)
	}
}

// A step has neither the engine's socket, nor devices, nor the host's network.
func TestDockerStepsAreConfined(t *testing.T) {
	url, hits := canary(t)
	for _, engine := range []Engine{EngineBuildKit, EngineClassic} {
		h := newHarness(t, func(c *Config) { c.Engine = engine })
		h.must(t, map[string]string{"Dockerfile": "FROM busybox\n" +
			"RUN test ! -e /var/run/docker.sock && test ! -e /run/docker.sock\n" +
			"RUN ! wget -T 2 -q -O- " + url + "\n" +
			"RUN ! mknod /tmp/disk b 8 0 || ! dd if=/tmp/disk of=/dev/null bs=1 count=1\n" +
			"RUN ! mount -t tmpfs none /mnt && ! mount -o remount,rw /sys && ! sh -c 'echo 1 > /proc/sys/kernel/sysrq'\n" +
			"RUN test $(grep -c . /proc/net/dev) -le 4\n" +
			"CMD [\"true\"]\n"})
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("the host's loopback was reached %d times", n)
	}
}

// hostileBase publishes an image with a trigger and takes it from the engine.
func hostileBase(t *testing.T, trigger string) string {
	t.Helper()
	app := handlers.NewApp(t.Context(), registryConfig(t.TempDir(), identity.NewID()))
	srv := httptest.NewServer(app)
	t.Cleanup(srv.Close)
	ref := srv.Listener.Addr().(*net.TCPAddr).String() + "/base:1"
	cmd := exec.Command("docker", "build", "-q", "-t", ref, "-")
	cmd.Stdin = strings.NewReader("FROM busybox\n" + trigger + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	docker(t, "push", "-q", ref)
	docker(t, "rmi", ref)
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", ref).Run() }) // a build may have pulled it
	return ref
}

// A base image is pulled once, and serves the next builds for a day.
func TestDockerBaseIsPulledOnce(t *testing.T) {
	h := newHarness(t, nil)
	ref := hostileBase(t, "ONBUILD RUN echo triggered > /t")
	tree := map[string]string{"Dockerfile": "FROM " + ref + "\nRUN cat /t\nCMD [\"true\"]\n"}
	for i, want := range []bool{true, false} {
		_, log, err := h.build(t, tree)
		if err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		if pulled := strings.Contains(log, "Pulling "+ref); pulled != want {
			t.Errorf("build %d: pulled is %v, want %v\n%s", i+1, pulled, want, log)
		}
	}
}
