package server

import (
	"io"

	"golang.org/x/sys/unix"
)

// A push of 519 bytes can stand for gigabytes: a delta says "copy these 64 KiB" in
// one byte, and git builds what it stands for in memory. So each git child is
// bounded by the kernel, as is each that it starts.
const (
	// gitData is what a child may allocate: three times git's own core.bigFileThreshold
	// (512 MiB), above which nobody's git makes a delta, for the old, the new and the
	// delta. Packs are mapped, and do not count. Half the host's memory if that is less.
	gitData = 3 * 512 << 20
	// gitSeconds is what a child may compute: ten times what the largest pack that is
	// taken costs, and far less than 2 GiB of zeros that were compressed a thousandfold.
	gitSeconds = 15 * 60
)

// boundGit sets the limits of a child. They hold from then on. It has no part in the
// server's own priority.
func boundGit(pid int) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, pid, 0); err != nil {
		return err
	}
	data := uint64(gitData)
	var host unix.Sysinfo_t
	if unix.Sysinfo(&host) == nil {
		data = min(data, uint64(host.Totalram)*uint64(host.Unit)/2)
	}
	for resource, most := range map[int]uint64{unix.RLIMIT_DATA: data, unix.RLIMIT_CPU: gitSeconds} {
		if err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: most, Max: most}, nil); err != nil {
			return err
		}
	}
	return nil
}

// heldReader is read once a channel is closed.
type heldReader struct {
	io.Reader
	until <-chan struct{}
}

// Read implements io.Reader.
func (h heldReader) Read(p []byte) (int, error) {
	<-h.until
	return h.Reader.Read(p)
}
