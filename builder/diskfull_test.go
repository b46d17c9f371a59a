package builder

import (
	"fmt"
	"syscall"
	"testing"

	"paas/cluster"
)

func TestFullDiskIsTheHosts(t *testing.T) {
	if err := diskFull("cannot unpack", fmt.Errorf("write: %w", syscall.ENOSPC)); cluster.KindOf(err) != cluster.KindUnplaceable {
		t.Errorf("%v", err)
	}
	for text, want := range map[string]bool{
		"failed to copy files: copy file range failed: no space left on device":                     true,
		"failed to register layer: ApplyLayer exit status 1: write /x: No space left on device":     true,
		"executor failed running [/bin/sh -c echo 'no space left on device'; exit 1]: exit code: 1": false,
		"The command '/bin/sh -c echo no space left on device' returned a non-zero code: 1":         false,
		"failed to compute cache key: \"/nothing\" not found":                                       false,
	} {
		if got := engineOutOfSpace(&engineError{text}); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
