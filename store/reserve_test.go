package store

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestLogKeepsBlocksBeyondItsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	text := bytes.Repeat([]byte("entry"), 1000)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	reserveLog(path)
	reserveLog(path) // again: nothing more
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, text) {
		t.Fatalf("the log has %d bytes, want the %d it had; %v", len(got), len(text), err)
	}
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	if s.Blocks*512 < reservedBytes {
		t.Skipf("this file system keeps only %d bytes", s.Blocks*512)
	}
	if s.Blocks*512 > 2*reservedBytes {
		t.Errorf("%d bytes are kept", s.Blocks*512)
	}
	reserveLog(filepath.Join(t.TempDir(), "absent")) // no error, no file
}
