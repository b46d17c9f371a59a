package agent

import (
	"context"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
)

// What of a host is kept for the system, the engine and the agent itself.
const (
	// A tenth of the memory, at least 256 MiB and at most 2 GiB, but never more than
	// a quarter of a very small host.
	reserveMemoryMin = 256 << 20
	reserveMemoryMax = 2 << 30
	// A tenth of a CPU per CPU, at most half a CPU.
	reserveMilliPerCPU = 100
	reserveMilliMax    = 500
)

// capacity is what a host has for allocations.
func capacity(memoryBytes int64, cpus int) (bytes, milli int64) {
	keep := min(max(memoryBytes/10, reserveMemoryMin), reserveMemoryMax, memoryBytes/4)
	all := int64(cpus) * 1000
	return memoryBytes - keep, all - min(int64(cpus)*reserveMilliPerCPU, reserveMilliMax)
}

// engineInfo is what the node's engine says of itself and the host. When it does
// not answer, the host is asked: a node is no smaller because its engine is down.
// A node without apps has nothing to offer.
func (a *Agent) engineInfo(ctx context.Context) engineInfo {
	here := engineInfo{Arch: goruntime.GOARCH}
	if !a.config.Apps {
		return here
	}
	// An engine that hangs must not keep the node from its servers, for which it
	// would be down, with everything on it placed elsewhere.
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if info, err := a.reconciler.shared.runtime.engine.Info(ctx); err == nil {
		return info
	}
	here.CPUs, here.MemoryBytes = goruntime.NumCPU(), hostMemory()
	return here
}

// hostMemory is the host's memory in bytes, 0 if the kernel does not say.
func hostMemory() int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64) // 0 when it is no number
			return kib << 10
		}
	}
	return 0
}
