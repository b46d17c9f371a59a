//go:build docker

package builder

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

// limited is a harness whose engine can limit build steps.
func limited(t *testing.T, change func(*Config)) *harness {
	t.Helper()
	if err := CheckLimits(t.Context()); err != nil {
		t.Skip(err)
	}
	return newHarness(t, change)
}

// memoryHog takes mebibytes at once and touches all of them.
func memoryHog(mebibytes int) string {
	return fmt.Sprintf("FROM busybox\nRUN date && dd if=/dev/zero of=/dev/null bs=%dM count=1\nCMD [\"true\"]\n# %d\n", mebibytes, time.Now().UnixNano())
}

// A step that takes too much memory is killed, the pusher is told what killed
// it, and one that takes less is not.
func TestDockerMemoryHogIsKilled(t *testing.T) {
	for _, engine := range []Engine{EngineBuildKit, EngineClassic} {
		t.Run(string(engine), func(t *testing.T) {
			h := limited(t, func(c *Config) { c.Engine, c.Limits.MemoryBytes = engine, 768<<20 })
			_, log, err := h.build(t, map[string]string{"Dockerfile": memoryHog(1200)})
			if cluster.KindOf(err) != cluster.KindBuildFailed || !strings.Contains(log, "ran out of memory: 768 MiB") {
				t.Errorf("error %v", err)
			}
			h.must(t, map[string]string{"Dockerfile": memoryHog(300)})
		})
	}
}

// A fork bomb ends at the cap, which is of all steps together.
func TestDockerProcessesAreCapped(t *testing.T) {
	for _, engine := range []Engine{EngineBuildKit, EngineClassic} {
		t.Run(string(engine), func(t *testing.T) {
			h := limited(t, func(c *Config) { c.Engine, c.Limits.PIDs, c.Limits.Time = engine, 200, time.Minute })
			_, log, err := h.build(t, map[string]string{"Dockerfile": "FROM busybox\nRUN i=0; while [ $i -lt 300 ]; do sleep 60 & i=$((i+1)); done\n"})
			if cluster.KindOf(err) != cluster.KindBuildFailed || !strings.Contains(log, "can't fork") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// Steps weigh less than replicas, and swap is no way around the cap.
func TestDockerStepsAreUnderTheirParent(t *testing.T) {
	h := limited(t, nil)
	h.must(t, map[string]string{"Dockerfile": memoryHog(1)})
	f, err := h.engine.controlGroups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g, err := stepGroupOf(f, cgroupRoot)
	if err != nil {
		t.Fatal(err)
	}
	for dir, all := range g.settings(Limits{MemoryBytes: stepMemory(f.MemoryBytes), CPUMilli: stepCPU(f.Processors), PIDs: 4096}) {
		for _, s := range all {
			data, err := os.ReadFile(filepath.Join(cgroupRoot, dir, g.name, s.file))
			if strings.Contains(s.file, "sw") && os.IsNotExist(err) {
				continue
			}
			if got := strings.TrimSpace(string(data)); err != nil || got != s.value {
				t.Errorf("%s/%s is %q, want %q (%v)", dir, s.file, got, s.value, err)
			}
		}
	}
}
