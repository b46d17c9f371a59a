//go:build docker

package builder

import (
	"os"
	"testing"
	"time"
)

// TestDockerSamples builds the samples that "make up" and the end-to-end tests push.
func TestDockerSamples(t *testing.T) {
	h := newHarness(t, nil)
	for name, want := range map[string]string{"static": "Static sample", "node": "hello from Node", "python": "hello from Python", "go": "hello from Go"} {
		t.Run(name, func(t *testing.T) {
			dir := "../scripts/samples/" + name
			if _, err := os.Stat(dir); err != nil {
				t.Fatal(err)
			}
			res, _, err := h.buildDir(t, dir)
			if err != nil {
				t.Fatal(err)
			}
			h.serves(t, res, "/", want)
			began := time.Now()
			if _, _, err := h.buildDir(t, dir); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 10*time.Second { // 0.3 s on an idle host; a first build takes more
				t.Errorf("unchanged source took %v to build again", took)
			}
		})
	}
}
