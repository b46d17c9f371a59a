package builder

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// stepSlice is the group of build steps where systemd manages control groups.
const stepSlice = "paasbuilds.slice"

// sliceLeaf is the slice's child for BuildKit's steps: a slice itself holds no
// processes. The classic builder's scopes are beside it.
const sliceLeaf = "buildkit"

// engineBeside is the control group (below the root) beside whose children an
// engine with the systemd driver has BuildKit's steps: runc, started by the engine
// without --systemd-cgroup, takes "system.slice:docker:ID" for a path relative to
// the parent of its own group. Unknown means where every distribution starts it.
func engineBeside(pidFile string) string {
	const usual = "system.slice"
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		return usual
	}
	data, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "cgroup"))
	own, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "0::/")
	if err != nil || !ok || strings.Contains(own, "\n") || path.Dir(own) == "." {
		return usual
	}
	return path.Dir(own)
}

// limitSlice has systemd make the slice with the limits: what is written behind its
// back is gone when it next looks at the slice. A slice that has them already is
// left alone, and nothing is started for it.
func (g *stepGroup) limitSlice(ctx context.Context, l Limits) error {
	want := g.settings(l)[""]
	if !hasAll(filepath.Join(g.root, g.name), want) {
		for _, args := range [][]string{append([]string{"set-property", "--runtime", g.name}, properties(l)...), {"start", g.name}} {
			out, err := exec.CommandContext(ctx, "systemctl", append([]string{"--no-ask-password"}, args...)...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("limit build steps: systemctl %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
			}
		}
		if !hasAll(filepath.Join(g.root, g.name), want) {
			return fmt.Errorf("limit build steps: systemd did not set the limits of %s", g.name)
		}
	}
	leaf := filepath.Join(g.root, g.name, sliceLeaf)
	if err := os.MkdirAll(leaf, 0o755); err != nil {
		return fmt.Errorf("limit build steps: %w", err)
	}
	if err := filterDevices(leaf); err != nil {
		return fmt.Errorf("limit build steps: %w", err)
	}
	return nil
}

// usable says why a process of that user cannot limit the group; nil when it can.
func (g *stepGroup) usable(uid int) error {
	if uid != 0 {
		return fmt.Errorf("%w: only root may write control groups", errNoStepGroup)
	}
	if g.born == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(g.root, g.born)); err != nil {
		return fmt.Errorf("%w: %w", errNoStepGroup, err)
	}
	if _, err := exec.LookPath("systemctl"); err != nil {
		return fmt.Errorf("%w: systemctl is not in PATH", errNoStepGroup)
	}
	return nil
}

// properties are the settings of version 2 as systemd's.
func properties(l Limits) []string {
	quota := "" // none
	if l.CPUMilli > 0 {
		quota = fmt.Sprintf("%d.%d%%", l.CPUMilli/10, l.CPUMilli%10)
	}
	return []string{
		fmt.Sprintf("MemoryMax=%d", l.MemoryBytes), "MemorySwapMax=0", fmt.Sprintf("TasksMax=%d", l.PIDs),
		fmt.Sprintf("CPUWeight=%d", weight(stepShares)), "CPUQuota=" + quota,
	}
}

// hasAll reports whether a group has all settings. One that this kernel does not
// know (swap accounting may be off) is as good as set.
func hasAll(dir string, all []setting) bool {
	for _, s := range all {
		have, err := os.ReadFile(filepath.Join(dir, s.file))
		if os.IsNotExist(err) && strings.Contains(s.file, "sw") {
			continue
		}
		if err != nil || strings.TrimSpace(string(have)) != s.value {
			return false
		}
	}
	return true
}
