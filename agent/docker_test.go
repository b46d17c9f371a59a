package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	dockertypes "github.com/docker/docker/api/types"

	"paas/cluster"
)

func TestNoUserInputReachesAnEngineOption(t *testing.T) {
	plain := spec{Cluster: "0123456789abcdef", Assignment: assignment("a-1", "true"), Image: imageRef{Image: cluster.Image{Digest: "sha256:x"}}}
	engine := gifts{init: true, cpus: 4}
	hostile := plain
	hostile.Assignment.Process.Command = []string{"--privileged", "-v", "/:/host", "$(touch /tmp/x)"}
	hostile.Assignment.Env = map[string]cluster.Redacted{"A": "--cap-add=ALL\nB=2", "PORT": "8080"}
	hostile.Assignment.Release = 99
	want, err := json.Marshal(hostConfig(plain, engine))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(hostConfig(hostile, engine))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got %s, want %s", got, want)
	}
	h, c := hostConfig(hostile, engine), containerConfig(hostile)
	if h.Privileged || len(h.Binds)+len(h.Mounts)+len(h.Devices)+len(h.PortBindings)+len(h.ExtraHosts)+len(h.VolumesFrom)+len(h.Sysctls) > 0 ||
		h.PidMode != "" || h.UsernsMode != "" || h.PublishAllPorts || len(c.ExposedPorts)+len(c.Volumes) > 0 || c.User != "" {
		t.Errorf("host config: %+v", h)
	}
	if !slices.Equal(c.Entrypoint, hostile.Assignment.Process.Command) || len(c.Cmd) > 0 {
		t.Errorf("command: %q, %q", c.Entrypoint, c.Cmd)
	}
	if !slices.Equal(c.Env, []string{"A=--cap-add=ALL\nB=2", "PORT=8080"}) {
		t.Errorf("environment: %q", c.Env)
	}
}

// An engine that hangs holds up whoever asks it, and nobody for longer than they
// want: the others hang in their own questions, not in the first one's.
func TestAHungEngineHoldsNobodyLongerThanTheyWait(t *testing.T) {
	for _, hangs := range []string{"/info", "/networks/"} {
		asked := make(chan struct{}, 1)
		engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Api-Version", "1.45")
			if strings.Contains(r.URL.Path, hangs) {
				wake(asked)
				<-r.Context().Done()
				return
			}
			_, _ = io.WriteString(w, "{}")
		}))
		t.Setenv("DOCKER_HOST", "tcp://"+engine.Listener.Addr().String())
		d, err := newDocker("c0ffee")
		if err != nil {
			t.Fatal(err)
		}
		ask := func(ctx context.Context) error {
			if _, err := d.given(ctx); err != nil {
				return err
			}
			return d.ensureNetwork(ctx)
		}
		patient, leave := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { first <- ask(patient) }()
		<-asked
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		second := make(chan error, 1)
		go func() { second <- ask(gone) }()
		select {
		case err := <-second:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", hangs, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: whoever has gone still waits for another's answer", hangs)
		}
		leave()
		<-first
		engine.Close()
	}
}

func TestContainerCommand(t *testing.T) {
	s := spec{Cluster: "c", Assignment: assignment("a-1")}
	if c := containerConfig(s); c.Entrypoint != nil || c.Cmd != nil {
		t.Errorf("no command: %q, %q", c.Entrypoint, c.Cmd)
	}
	s.Assignment.Process.Command, s.Assignment.Process.KeepEntrypoint = []string{"web"}, true
	if c := containerConfig(s); c.Entrypoint != nil || !slices.Equal(c.Cmd, []string{"web"}) {
		t.Errorf("kept entrypoint: %q, %q", c.Entrypoint, c.Cmd)
	}
}

func TestSpecHash(t *testing.T) {
	base := spec{Assignment: assignment("a-1", "true")}
	same, other := base, base
	same.Assignment.Desired, same.Assignment.Process.Check.Path, same.Image.Registry.Address = cluster.DesiredDrain, "/x", "elsewhere:1"
	other.Assignment.Env = map[string]cluster.Redacted{"PORT": "8081"}
	if base.hash() != same.hash() {
		t.Error("what a container is not made from changes its hash")
	}
	if base.hash() == other.hash() || len(base.hash()) != 32 {
		t.Error("what a container is made from does not change its hash")
	}
}

// Containers that an older version made are adopted: this is the hash on them.
func TestSpecHashIsThatOfOlderVersions(t *testing.T) {
	if got := (spec{Assignment: assignment("a-1", "true")}).hash(); got != "8ab301f252d4aefe953409dedbae6455" {
		t.Errorf("hash %s: an upgrade would restart every replica", got)
	}
}

func TestProcessorsOfOneContainer(t *testing.T) {
	for _, c := range []struct {
		name   string
		cpus   int
		milli  int64
		nano   int64
		shares int64
	}{
		{"one", 1, 100, 750_000_000, 102},
		{"two", 2, 100, 1_750_000_000, 102},
		{"many", 96, 100, 95_750_000_000, 102},
		{"reserved ones", 4, 2000, 3_750_000_000, 2048},
		{"more reserved than a container gets", 2, 2000, 1_750_000_000, 2048},
		{"nothing reserved", 4, 0, 3_750_000_000, 2},
		{"an engine that cannot cap", 0, 500, 0, 512},
	} {
		s := spec{Assignment: assignment("a-1", "true")}
		s.Assignment.Process.CPUMilli = c.milli
		if h := hostConfig(s, gifts{cpus: c.cpus}); h.NanoCPUs != c.nano || h.CPUShares != c.shares {
			t.Errorf("%s: cap %d, weight %d, want %d and %d", c.name, h.NanoCPUs, h.CPUShares, c.nano, c.shares)
		}
	}
}

func TestImageReference(t *testing.T) {
	r := imageRef{Registry: cluster.RegistryEndpoint{Address: "127.0.0.1:5000"}, Image: cluster.Image{Repository: "apps/blog", Digest: "sha256:x"}}
	if got := r.String(); got != "127.0.0.1:5000/apps/blog@sha256:x" {
		t.Error(got)
	}
	r.Image.Repository = ""
	if got := r.String(); got != "sha256:x" {
		t.Error(got)
	}
}

func TestPulled(t *testing.T) {
	for progress, want := range map[string]error{
		`{"status":"Pulling"}{"status":"Done"}`: nil,
		// Both as Docker 20.10 sent them.
		`{"status":"Pulling"}{"errorDetail":{"message":"manifest for 127.0.0.1:5000/a@sha256:0 not found: manifest unknown: manifest unknown"},"error":"manifest for 127.0.0.1:5000/a@sha256:0 not found: manifest unknown: manifest unknown"}`: errNoImage,
		`{"errorDetail":{"message":"toomanyrequests"},"error":"toomanyrequests"}`: errors.New("toomanyrequests"),
		`{"status":"Pull`: errEngineDown,
	} {
		err := pulled(strings.NewReader(progress))
		switch {
		case want == nil && err == nil, errors.Is(err, want):
		case want != nil && err != nil && want.Error() == err.Error():
		default:
			t.Errorf("%s: got %v, want %v", progress, err, want)
		}
	}
}

func TestEngineError(t *testing.T) {
	if err := engineError(io.ErrUnexpectedEOF); !errors.Is(err, errEngineDown) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut connection: %v", err)
	}
	if err := engineError(errors.New("conflict")); errors.Is(err, errEngineDown) {
		t.Errorf("a refusal: %v", err)
	}
}

func TestInitIsLookedFor(t *testing.T) {
	for version, want := range map[string]bool{"0.19.0": true, "N/A": false, "": false} {
		v := dockertypes.Version{Components: []dockertypes.ComponentVersion{{Name: "runc", Version: "1"}, {Name: "docker-init", Version: version}}}
		if got := initIn(v); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
	if initIn(dockertypes.Version{}) {
		t.Error("an engine that does not list it has it")
	}
}
