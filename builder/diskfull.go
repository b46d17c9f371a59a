package builder

import (
	"errors"
	"strings"
	"syscall"

	"paas/cluster"
)

// noSpace is the kernel's ENOSPC in the engine's own words (strerror).
const noSpace = "no space left on device"

// diskFull is an error of the host's: nothing in the source could mend it.
func diskFull(what string, err error) error {
	return cluster.Errorf(cluster.KindUnplaceable, "disk", "%s: the disk of this host is full", what).Because("%s", cleanLine(err.Error())).
		WithHint("see what is large: docker system df; drop build caches: docker builder prune; then deploy again").Wrap(err)
}

// outOfSpace reports whether err is about a disk without room.
func outOfSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// engineOutOfSpace reports whether the engine could not write. A step that met a
// full file system says so in its output alone and ends with a code of its own.
func engineOutOfSpace(e *engineError) bool {
	return strings.Contains(strings.ToLower(e.text), noSpace) && !stepEndedRE.MatchString(e.text)
}
