package builder

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestStepGroupNeedsAKnownLayout(t *testing.T) {
	good := engineFacts{Driver: "cgroupfs", Version: "2", Local: true}
	if g, err := stepGroupOf(good, "/x"); err != nil || !g.unified {
		t.Fatalf("%+v, %v", g, err)
	}
	under := engineFacts{Driver: "systemd", Version: "2", Local: true, Beside: "system.slice"}
	if g, err := stepGroupOf(under, "/x"); err != nil || !g.unified || g.parent() != "paasbuilds.slice" || g.born != "system.slice" {
		t.Fatalf("%+v, %v", g, err)
	}
	for says, change := range map[string]func(*engineFacts){
		"another host":             func(f *engineFacts) { f.Local = false },
		"rootless":                 func(f *engineFacts) { f.Rootless = true },
		"systemd driver":           func(f *engineFacts) { f.Driver, f.Version = "systemd", "1" },
		"none driver with version": func(f *engineFacts) { f.Driver = "none" },
	} {
		f := good
		change(&f)
		if _, err := stepGroupOf(f, "/x"); !errors.Is(err, errNoStepGroup) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// fakeGroups is what a kernel shows: files that are there before anybody writes.
func fakeGroups(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, f := range files {
		name := filepath.Join(root, f)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("max\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestStepLimitsOfVersion2(t *testing.T) {
	root := fakeGroups(t, "cgroup.subtree_control", "docker/cgroup.subtree_control",
		"docker/buildkit/memory.max", "docker/buildkit/pids.max", "docker/buildkit/cpu.weight", "docker/buildkit/cpu.max")
	g := &stepGroup{root: root, name: stepParent, unified: true}
	for range 2 { // the second finds everything as it must be
		if err := g.limit(t.Context(), Limits{MemoryBytes: 1 << 30, CPUMilli: 1500, PIDs: 4096}); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"memory.max": "1073741824", "pids.max": "4096", "cpu.weight": "2", "cpu.max": "150000 100000"} {
		if got, err := os.ReadFile(filepath.Join(root, stepParent, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, want %q (%v)", name, got, want, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, stepParent, "memory.swap.max")); err == nil {
		t.Error("a file that the kernel does not have was made")
	}
}

// systemd is told the numbers that are written elsewhere.
func TestSlicePropertiesAreTheSettings(t *testing.T) {
	got := strings.Join(properties(Limits{MemoryBytes: 1 << 30, CPUMilli: 1125, PIDs: 4096}), " ")
	if got != "MemoryMax=1073741824 MemorySwapMax=0 TasksMax=4096 CPUWeight=2 CPUQuota=112.5%" {
		t.Error(got)
	}
	if got := properties(Limits{}); !slices.Contains(got, "CPUQuota=") {
		t.Errorf("a quota of earlier stays: %q", got)
	}
}

// A slice with the limits is left alone: no systemctl is run.
func TestSliceIsSetOnlyWhenItMust(t *testing.T) {
	l := Limits{MemoryBytes: 1 << 30, CPUMilli: 1500, PIDs: 4096}
	g := &stepGroup{root: t.TempDir(), name: stepSlice, unified: true, born: "system.slice"}
	dir := filepath.Join(g.root, g.name)
	if hasAll(dir, g.settings(l)[""]) {
		t.Error("a group that is not there has them")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, s := range g.settings(l)[""] {
		if s.file == "memory.swap.max" {
			continue // a kernel without
		}
		if err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !hasAll(dir, g.settings(l)[""]) {
		t.Error("it has them all")
	}
	l.PIDs = 200
	if hasAll(dir, g.settings(l)[""]) {
		t.Error("it has other ones")
	}
}

func TestStepsBeginBesideTheEngine(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	if got := engineBeside(pidFile); got != "system.slice" {
		t.Errorf("without a file: %q", got)
	}
	if err := os.WriteFile(pidFile, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := engineBeside(pidFile); got != "system.slice" {
		t.Errorf("without a process: %q", got)
	}
}

// Without the memory controller there is no limit, and that is no success.
func TestStepLimitsSayWhatIsMissing(t *testing.T) {
	root := fakeGroups(t, "pids/docker/buildkit/pids.max", "cpu/docker/buildkit/cpu.shares")
	if err := (&stepGroup{root: root, name: stepParent}).limit(t.Context(), Limits{MemoryBytes: 1 << 30, PIDs: 1}); err == nil {
		t.Fatal("no error")
	}
}

func TestStepMemoryLeavesRoom(t *testing.T) {
	for host, want := range map[int64]int64{1 << 30: 512 << 20, 4 << 30: 2 << 30, 64 << 30: 4 << 30} {
		if got := stepMemory(host); got != want {
			t.Errorf("of %d: %d, want %d", host, got, want)
		}
	}
}

func TestOutOfMemoryIsCertainOnlyOfTheKilled(t *testing.T) {
	const limit = 512 << 20
	killed := outOfMemory("executor failed running [/bin/sh -c x]: exit code: 137", limit)
	if !strings.HasPrefix(killed, "the build ran out of memory: 512 MiB") {
		t.Error(killed)
	}
	other := outOfMemory("executor failed running [/bin/sh -c 1137]: exit code: 1", limit)
	if strings.HasPrefix(other, "the build ran out") || !strings.Contains(other, "exit code: 1 (memory ran out") {
		t.Error(other)
	}
}
