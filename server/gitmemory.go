package server

import (
	"errors"

	"golang.org/x/sys/unix"
)

// gitMemory is what each git child may allocate on a host of that memory: a quarter,
// at least 256 MiB and at most 1 GiB. A pack of 16 kB can stand for deltas of
// gigabytes, which git would put together in memory. Packs and large files are not
// counted: they are mapped and streamed.
func gitMemory(host uint64) uint64 { return min(1<<30, max(256<<20, host/4)) }

// limitMemory holds the started child pid, and what it starts from now on, to its share.
// What a push sends comes later, so nothing of it was read yet.
func limitMemory(pid int) error {
	var host unix.Sysinfo_t
	if err := unix.Sysinfo(&host); err != nil {
		return err
	}
	most := gitMemory(host.Totalram * uint64(host.Unit))
	err := unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: most, Max: most}, nil)
	if errors.Is(err, unix.ESRCH) {
		return nil // it has ended already
	}
	return err
}
