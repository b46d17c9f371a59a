package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestOverwriteKeepsToTheFilesPlace(t *testing.T) {
	full := errors.New("no space left on device")
	path := filepath.Join(t.TempDir(), "up.json")
	if err := overwrite(path, []byte("new"), full); !errors.Is(err, full) {
		t.Errorf("without the file: got %v", err)
	}
	if err := os.WriteFile(path, []byte("a longer old text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := overwrite(path, []byte("new"), full); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "new" {
		t.Errorf("got %q", got)
	}
}
