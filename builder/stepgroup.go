package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupRoot is where Linux mounts control groups.
const cgroupRoot = "/sys/fs/cgroup"

// stepParent is the control group in which an engine with the cgroupfs driver runs
// BuildKit's steps, each in a child named by a random ID (moby's executor:
// DefaultCgroupParent "docker", BuildKit's spec: PARENT/buildkit/ID).
const stepParent = "docker/buildkit"

// Caps of all build steps of a host together.
const (
	// stepShares is their weight on a busy processor: half of what one replica
	// of the default size has. BuildKit's own is that of a container, 1024.
	stepShares = 51
	// stepMemoryMost bounds the default share of memory, which is half the host's.
	stepMemoryMost = 4 << 30
)

// stepMemory is the default cap of memory: half the host's, at most 4 GiB. The
// other half is for what serves, paas and the engine among it.
func stepMemory(host int64) int64 { return min(host/2, stepMemoryMost) }

// stepCPU is the default cap of processors, in thousandths: a weight alone holds
// between containers, and a fork bomb weighs as much as all of them together
// against what is no container, such as the router.
func stepCPU(processors int) int64 { return int64(processors) * 750 }

// stepGroup is the parent of all control groups of build steps. Its limits hold
// for all steps together and are written before a build. The engine's API has no
// limits for BuildKit, and its classic builder is put into the same group. With
// the cgroupfs driver steps begin in it, whoever's they are; with the systemd
// driver a stepCatcher brings them while a build runs.
type stepGroup struct {
	root    string // where control groups are mounted
	name    string // the group's path below root
	unified bool   // version 2
	born    string // the systemd driver: below root, where BuildKit's steps begin; else ""
}

// errNoStepGroup means that the engine keeps steps where no parent can be limited.
var errNoStepGroup = errors.New("no control group for build steps")

// engineFacts is what an engine says about its control groups.
type engineFacts struct {
	Driver, Version string // "cgroupfs" or "systemd", "1" or "2"
	Rootless, Local bool
	Beside          string // with the systemd driver: the control group that the engine's own is in
	MemoryBytes     int64  // the host's
	Processors      int    // the host's
}

// stepGroupOf finds the parent for an engine.
func stepGroupOf(f engineFacts, root string) (*stepGroup, error) {
	switch {
	case !f.Local:
		return nil, fmt.Errorf("%w: the engine is on another host", errNoStepGroup)
	case f.Rootless:
		return nil, fmt.Errorf("%w: the engine is rootless", errNoStepGroup)
	case f.Driver == "cgroupfs":
		return &stepGroup{root: root, name: stepParent, unified: f.Version == "2"}, nil
	case f.Driver == "systemd" && f.Version == "2":
		return &stepGroup{root: root, name: stepSlice, unified: true, born: f.Beside}, nil
	}
	return nil, fmt.Errorf("%w: the engine has the %s driver with version %s of control groups", errNoStepGroup, f.Driver, f.Version)
}

// parent is the group as the engine's API takes it.
func (g *stepGroup) parent() string {
	if g.born != "" {
		return g.name
	}
	return "/" + g.name
}

// setting is one file of a control group.
type setting struct{ file, value string }

// settings are what must be written, by directory, in order.
func (g *stepGroup) settings(l Limits) map[string][]setting {
	l.MemoryBytes -= l.MemoryBytes % int64(os.Getpagesize()) // as the kernel counts
	bytes, pids := strconv.FormatInt(l.MemoryBytes, 10), strconv.FormatInt(l.PIDs, 10)
	if g.unified {
		all := []setting{{"memory.max", bytes}, {"memory.swap.max", "0"}, {"pids.max", pids}, {"cpu.weight", strconv.Itoa(weight(stepShares))}}
		if l.CPUMilli > 0 {
			all = append(all, setting{"cpu.max", fmt.Sprintf("%d 100000", l.CPUMilli*100)})
		}
		return map[string][]setting{"": all}
	}
	cpu := []setting{{"cpu.shares", strconv.Itoa(stepShares)}}
	if l.CPUMilli > 0 {
		cpu = append(cpu, setting{"cpu.cfs_period_us", "100000"}, setting{"cpu.cfs_quota_us", strconv.FormatInt(l.CPUMilli*100, 10)})
	}
	return map[string][]setting{
		// The kernel keeps the first at or below the second: whether it has to be
		// written before or after depends on what was there, so it is written twice.
		"memory": {{"memory.limit_in_bytes", bytes}, {"memory.memsw.limit_in_bytes", bytes}, {"memory.limit_in_bytes", bytes}},
		"pids":   {{"pids.max", pids}},
		"cpu":    cpu,
	}
}

// weight turns a share of version 1 (2 to 262,144) into a weight of version 2 (1
// to 10,000), as OCI runtimes do.
func weight(shares int) int { return 1 + (shares-2)*9999/262142 }

// limit makes the group and writes the limits that it does not have.
func (g *stepGroup) limit(ctx context.Context, l Limits) error {
	if g.born != "" {
		return g.limitSlice(ctx, l)
	}
	for controller, all := range g.settings(l) {
		dir := filepath.Join(g.root, controller, g.name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("limit build steps: %w", err)
		}
		if g.unified {
			if err := g.delegate(); err != nil {
				return fmt.Errorf("limit build steps: %w", err)
			}
		}
		if err := writeAll(dir, all); err != nil {
			return fmt.Errorf("limit build steps: %w", err)
		}
	}
	return nil
}

// delegate lets the groups from the root down have limits.
func (g *stepGroup) delegate() error {
	for _, dir := range []string{"", filepath.Dir(g.name)} {
		name := filepath.Join(g.root, dir, "cgroup.subtree_control")
		if err := os.WriteFile(name, []byte("+cpu +memory +pids"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeAll writes settings in order. One that the kernel does not have (swap
// accounting may be off) is left out; of one that is written twice the last counts.
func writeAll(dir string, all []setting) error {
	failed := map[string]error{}
	for _, s := range all {
		name := filepath.Join(dir, s.file)
		have, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) && strings.Contains(s.file, "sw") {
			continue
		}
		failed[s.file] = err
		if err == nil && strings.TrimSpace(string(have)) != s.value {
			failed[s.file] = os.WriteFile(name, []byte(s.value), 0o644)
		}
	}
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}
