package store

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	// reservedBytes are some thousand changes: enough to make room with the product's
	// own commands on a disk that others have filled to the last block.
	reservedBytes = 16 << 20
	// reserveEvery writes the reserve is made up again; they take a fraction of it.
	reserveEvery = 256
)

// reserveLog keeps blocks for the log beyond its end, and in its holes, without
// changing what it holds. Nobody else can take them, unlike those of a file that
// is deleted when it comes to the worst. A disk that has none left, or a file
// system that cannot do it, is no error: the log then lives without.
func reserveLog(path string) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return
	}
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, info.Size()+reservedBytes) // see above
}
