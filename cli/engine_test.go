package cli

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/client"
)

// TestDockerHostIsNamed: who named another engine is not only told to install one.
func TestDockerHostIsNamed(t *testing.T) {
	host := "unix://" + filepath.Join(t.TempDir(), "nothing.sock")
	t.Setenv(client.EnvOverrideHost, host)
	_, err := checkEngine(t.Context())
	if err == nil || !strings.Contains(asError(err).Hint, "DOCKER_HOST is "+host) {
		t.Errorf("got %v, hint %q", err, asError(err).Hint)
	}
}

// TestServerStartsAgainWithoutItsEngine: with live-restore the replicas of a host
// run on while the engine is away, and its router has to reach them.
func TestServerStartsAgainWithoutItsEngine(t *testing.T) {
	t.Setenv(client.EnvOverrideHost, "unix://"+filepath.Join(t.TempDir(), "nothing.sock"))
	var said bytes.Buffer
	none := func(string) string { return "" }
	in := &invocation{program: &program{env: none, out: newOutput(io.Discard, &said, none)}}
	dir := t.TempDir()
	if err := in.engineFor(t.Context(), dir); err == nil || said.Len() > 0 {
		t.Errorf("the first start needs an engine: got %v, said %q", err, &said)
	}
	if err := (&upRecord{}).write(dir); err != nil {
		t.Fatal(err)
	}
	if err := in.engineFor(t.Context(), dir); err != nil || !strings.Contains(said.String(), "served without it") {
		t.Errorf("got %v, said %q", err, &said)
	}
}
