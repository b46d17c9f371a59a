package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"paas/cluster"
)

// TestAListOfHostsThatWasNotSavedIsSavedLater: the disk may be full for a while.
func TestAListOfHostsThatWasNotSavedIsSavedLater(t *testing.T) {
	said := &syncBuffer{}
	path := filepath.Join(t.TempDir(), "later", "roster")
	b, err := openBook(path, "1", slog.New(slog.NewTextHandler(said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	r := &cluster.Roster{Members: []cluster.Member{{ID: "1", Address: "10.0.0.1:7443", Server: true}}}
	for range 2 {
		if b.update(r) {
			t.Fatal("saved to where nothing can be")
		}
	}
	if n := strings.Count(said.String(), "was not saved"); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, said)
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if !b.update(r) {
		t.Error("not saved once that is possible")
	}
	if again, err := openBook(path, "1", b.log); err != nil || !again.roster.Same(r) {
		t.Errorf("after a restart: %+v, %v", again.roster, err)
	}
}
