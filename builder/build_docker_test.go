//go:build docker

package builder

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
)

// goServer is a program that needs nothing but the standard library.
const goServer = `package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		text, _ := os.ReadFile("static/note.txt")
		fmt.Fprintln(w, "hello from Go", string(text), os.Getuid())
	})
	if err := http.ListenAndServe(":"+os.Getenv("PORT"), nil); err != nil {
		panic(err)
	}
}
`

func TestDockerStaticSite(t *testing.T) {
	h := newHarness(t, nil)
	files := map[string]string{"index.html": "<h1>hello static</h1>", "about/index.html": "about", ".secret": "no", "paas.toml": "app = \"blog\"\n"}
	res := h.must(t, files)
	if res.Method != "static" || res.Reason != "index.html" {
		t.Errorf("method %s (%s)", res.Method, res.Reason)
	}
	h.serves(t, res, "/", "hello static")
	h.serves(t, res, "/about/", "about")
	h.serves(t, res, "/.secret", "404")
	h.serves(t, res, "/paas.toml", "404")
	files["index.html"] = "<h1>second</h1>"
	h.serves(t, h.must(t, files), "/", "second")
}

// scratchTree holds a FROM scratch Dockerfile and a binary built on the host.
func scratchTree(t *testing.T) string {
	t.Helper()
	dir := writeTree(t, map[string]string{
		"Dockerfile":    "FROM scratch\nCOPY app /app\nEXPOSE 9000\nCMD [\"/app\"]\n",
		".dockerignore": "*\n!app\n", "secret.txt": "x", "main.go": goServer, "go.mod": "module app\n\ngo 1.24\n",
	})
	cmd := exec.Command("go", "build", "-o", "app", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func TestDockerOwnDockerfile(t *testing.T) {
	for _, engine := range []Engine{EngineBuildKit, EngineClassic} {
		t.Run(string(engine), func(t *testing.T) {
			h := newHarness(t, func(c *Config) { c.Engine = engine })
			dir := scratchTree(t)
			res, _, err := h.buildDir(t, dir)
			if err != nil {
				t.Fatal(err)
			}
			if web := res.Processes[cluster.ProcessWeb]; web.Port != 9000 || web.Check.Kind != cluster.CheckTCP || len(web.Command) != 0 {
				t.Errorf("web: %+v", web)
			}
			h.serves(t, res, "/", "hello from Go")
			again, log, err := h.buildDir(t, dir)
			if err != nil {
				t.Fatal(err)
			}
			if again.Image != res.Image || !strings.Contains(strings.ToLower(log), "cache") {
				t.Errorf("unchanged source made %v, then %v", res.Image, again.Image)
			}
		})
	}
}

func TestDockerGo(t *testing.T) {
	for _, engine := range []Engine{EngineBuildKit, EngineClassic} {
		t.Run(string(engine), func(t *testing.T) {
			h := newHarness(t, func(c *Config) { c.Engine = engine })
			files := map[string]string{"go.mod": "module example.com/hello\n\ngo 1.24\n", "main.go": goServer, "static/note.txt": "with data"}
			res := h.must(t, files)
			h.serves(t, res, "/", "hello from Go with data 65534")
			began := time.Now()
			if again := h.must(t, files); again.Image != res.Image {
				t.Errorf("unchanged source made %v, then %v", res.Image, again.Image)
			}
			t.Logf("rebuild in %v", time.Since(began))
			files["main.go"] += "// changed\n"
			h.must(t, files)
			stages := docker(t, "images", "-q", stagesRepository(h.id))
			if engine == EngineClassic && len(strings.Fields(stages)) != 1 || engine == EngineBuildKit && stages != "" {
				t.Errorf("stages kept: %s", stages)
			}
			dangling(t, h)
		})
	}
}

// dangling fails when an image without a name was left by this cluster's builds:
// one that was not there before and that nothing is built on.
func dangling(t *testing.T, h *harness) {
	t.Helper()
	for _, id := range strings.Fields(docker(t, "images", "-q", "--filter", "dangling=true", "--filter", "since=golang:1-bookworm")) {
		if history := docker(t, "history", "--no-trunc", id); strings.Contains(history, "hello .") {
			t.Errorf("left behind: %s\n%s", id, history)
		}
	}
}

func TestDockerNode(t *testing.T) {
	h := newHarness(t, nil)
	files := map[string]string{
		"package.json": `{"name":"hello","scripts":{"start":"node server.js","build":"node -e \"require('fs').writeFileSync('built.txt','built')\""}}`,
		"server.js": `const http = require("http"), fs = require("fs");
const s = http.createServer((q, r) => r.end("hello from Node " + fs.readFileSync("built.txt") + " " + process.getuid()));
s.listen(process.env.PORT); process.on("SIGTERM", () => process.exit(0));`,
	}
	res := h.must(t, files)
	h.serves(t, res, "/", "hello from Node built 1000")
	began := time.Now()
	h.must(t, files)
	if took := time.Since(began); took > 10*time.Second { // 0.3 s on an idle host; a first build takes more
		t.Errorf("unchanged source took %v to build again", took)
	}
}

func TestDockerPython(t *testing.T) {
	h := newHarness(t, nil)
	res := h.must(t, map[string]string{
		"requirements.txt": "# nothing\n", "Procfile": "web: python app.py $PORT\nworker: python worker.py --once\n",
		"app.json": `{"env":{"SECRET_KEY":{"generator":"secret"},"MODE":"fast"},"formation":{"worker":{"quantity":2}},"scripts":{"postdeploy":"x"}}`,
		"app.py": `import signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class H(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"hello from Python")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
HTTPServer(("", int(sys.argv[1])), H).serve_forever()
`,
	})
	h.serves(t, res, "/", "hello from Python")
	if w := res.Processes["worker"]; strings.Join(w.Command, " ") != "python worker.py --once" || w.Port != 0 || w.Check.Kind != cluster.CheckNone {
		t.Errorf("worker: %+v", w)
	}
	if len(res.Env["SECRET_KEY"].Reveal()) != 64 || res.Env["MODE"].Reveal() != "fast" || res.Formation["worker"] != 2 {
		t.Errorf("env %d, formation %v", len(res.Env), res.Formation)
	}
}

// wheel is a package that installs without a network.
func wheel(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range map[string]string{
		"greet.py":                     "text = 'hello from a wheel'\n",
		"greet-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n",
		"greet-1.0.dist-info/WHEEL":    "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"greet-1.0.dist-info/RECORD":   "greet.py,,\ngreet-1.0.dist-info/METADATA,,\ngreet-1.0.dist-info/WHEEL,,\ngreet-1.0.dist-info/RECORD,,\n",
	} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDockerPythonDependencies(t *testing.T) {
	h := newHarness(t, nil)
	res := h.must(t, map[string]string{
		"requirements.txt": "--no-index\n./greet-1.0-py3-none-any.whl\n", "greet-1.0-py3-none-any.whl": wheel(t),
		"app.py": `import greet, os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class H(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(greet.text.encode())
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open("written", "w").close()
HTTPServer(("", int(os.environ["PORT"])), H).serve_forever()
`,
	})
	h.serves(t, res, "/", "hello from a wheel")
}

func TestDockerPrebuiltImage(t *testing.T) {
	h := newHarness(t, nil)
	res, err := h.Build(t.Context(), Request{App: "blog", Image: "busybox:latest", Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	if res.Method != "image" || !h.Has(t.Context(), res.Image) || res.Image.Arch == "" {
		t.Errorf("result %+v", res)
	}
	_, err = h.Build(t.Context(), Request{App: "blog", Image: "127.0.0.1:1/no/such:image", Log: t.Output()})
	if cluster.KindOf(err) != cluster.KindBuildFailed {
		t.Errorf("missing image: %v", err)
	}
	if err := h.Retain(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	docker(t, "image", "inspect", "busybox:latest") // never ours to remove
}

func TestDockerBrokenDockerfile(t *testing.T) {
	for _, engine := range []Engine{EngineBuildKit, EngineClassic} {
		h := newHarness(t, func(c *Config) { c.Engine = engine })
		for name, c := range map[string]struct{ file, want string }{
			"instruction": {"FROM scratch\nCOPPY a b\n", "COPPY"},
			"command":     {"FROM busybox\nRUN echo before-it-breaks && exit 7\n", "before-it-breaks"},
			"file":        {"FROM busybox\nCOPY missing.txt /\n", "missing.txt"},
		} {
			t.Run(string(engine)+" "+name, func(t *testing.T) {
				_, log, err := h.build(t, map[string]string{"Dockerfile": c.file})
				if cluster.KindOf(err) != cluster.KindBuildFailed {
					t.Fatalf("error %v", err)
				}
				if !strings.Contains(log, c.want) {
					t.Errorf("the log does not show %q", c.want)
				}
			})
		}
	}
}

// An app that writes into a compiler's cache must not write into the programs of
// another.
func TestDockerCacheMountsAreAnAppsOwn(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Engine = EngineBuildKit })
	build := func(app cluster.AppName, mount, command string) {
		t.Helper()
		dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN --mount=type=cache,target=/c" + mount + " " + command + "\nCMD [\"true\"]\n"})
		if _, err := h.Build(t.Context(), Request{App: app, Dir: dir, Log: t.Output()}); err != nil {
			t.Errorf("%s %q: %v", app, command, err)
		}
	}
	mark := strconv.FormatInt(time.Now().UnixNano(), 36)
	for _, mount := range []string{"", ",id=own", ",id=../own"} {
		build("blog", mount, "touch /c/"+mark)
		build("blog", mount, "test -e /c/"+mark)
		build("shop", mount, "test ! -e /c/"+mark)
	}
	build("shop", ",id=../blog/own", "test ! -e /c/"+mark)
}

func TestDockerBuildArgsAndTarget(t *testing.T) {
	h := newHarness(t, nil)
	res := h.must(t, map[string]string{
		"docker/app.Dockerfile": "FROM busybox AS one\nARG WHO\nRUN echo $WHO > /who\nCMD [\"cat\",\"/who\"]\nFROM busybox AS two\nRUN false\n",
		"paas.toml":             "[build]\ndockerfile = \"docker/app.Dockerfile\"\ntarget = \"one\"\nargs = { WHO = \"me\" }\n",
	})
	if got := docker(t, "run", "--rm", "--label", labelCluster+"="+string(h.id), h.Endpoint().Address+"/"+res.Image.Repository+"@"+res.Image.Digest); got != "me" {
		t.Errorf("got %q", got)
	}
}

func TestDockerCancelLeavesNothing(t *testing.T) {
	for _, engine := range []Engine{EngineBuildKit, EngineClassic} {
		t.Run(string(engine), func(t *testing.T) {
			h := newHarness(t, func(c *Config) { c.Engine = engine })
			mark := strconv.FormatInt(3_000_000+time.Now().UnixNano()%1_000_000, 10)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo ready && sleep " + mark + "\n"})
			log := &waitFor{text: "ready", then: func() {
				awaitRunning(t, mark)
				cancel()
			}}
			_, err := h.Build(ctx, Request{App: "blog", Dir: dir, Log: log})
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("error %v", err)
			}
			for deadline := time.Now().Add(15 * time.Second); running(t, mark); <-time.After(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the step still runs")
				}
			}
			for deadline := time.Now().Add(15 * time.Second); strings.Contains(docker(t, "ps", "-a", "--no-trunc", "--format", "{{.Command}}"), mark); <-time.After(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the container is still there")
				}
			}
			if left := docker(t, "images", "-q", "--filter", "label="+labelCluster+"="+string(h.id)); left != "" {
				t.Errorf("images left: %s", left)
			}
		})
	}
}

// waitFor calls then once when the output holds text in a line of its own.
type waitFor struct {
	text string
	then func()
	all  bytes.Buffer
}

func (w *waitFor) Write(p []byte) (int, error) {
	if strings.TrimSpace(string(p)) == w.text && w.then != nil {
		then := w.then
		w.then = nil
		then()
	}
	return w.all.Write(p)
}

// awaitRunning waits for the shell to come from its echo to its sleep.
func awaitRunning(t *testing.T, seconds string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !running(t, seconds); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("the step does not run")
			return
		}
	}
}

// running reports whether any process of this host sleeps for that long.
func running(t *testing.T, seconds string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && string(data) == "sleep\x00"+seconds+"\x00" {
			return true
		}
	}
	return false
}

func TestDockerTimeLimit(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Limits.Time = 2 * time.Second })
	_, _, err := h.build(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo " + identity.NewID() + " && sleep 60\n"})
	if cluster.KindOf(err) != cluster.KindBuildFailed || !strings.Contains(err.Error(), "longer than 2s") {
		t.Errorf("error %v", err)
	}
}

func TestDockerHostNetwork(t *testing.T) {
	for _, engine := range []Engine{EngineBuildKit, EngineClassic} {
		t.Run(string(engine), func(t *testing.T) {
			h := newHarness(t, func(c *Config) { c.Engine, c.Network = engine, "host" })
			_, port, _ := strings.Cut(h.Endpoint().Address, ":")
			_, log, err := h.build(t, map[string]string{
				"Dockerfile": "FROM busybox\nRUN echo " + identity.NewID() + "; nc -w 2 127.0.0.1 " + port + " </dev/null && echo the host answers\nCMD [\"true\"]\n",
			})
			if err != nil || strings.Count(log, "the host answers") < 2 {
				t.Errorf("error %v", err)
			}
		})
	}
}
