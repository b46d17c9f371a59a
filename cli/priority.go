package cli

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ownPriority is the niceness of a host's process where it may choose: heartbeats,
// requests and leases are what the host's apps depend on, and cost little. A host
// that starts forty containers at once has no processor left for seconds.
const ownPriority = -10

// goFirst gives this process processors before the host's containers and builds. It
// is called before much runs: threads that are made later are like those that make
// them. Without root nothing changes, and under systemd control groups do the same.
func goFirst() {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range tasks {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, id, ownPriority) // not permitted, or the thread has ended
		}
	}
}
