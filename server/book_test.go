package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"paas/cluster"
)

// TestAListOfHostsIsNotReplacedByAnOlderOne: the state of a server that starts is that
// of its last snapshot.
func TestAListOfHostsIsNotReplacedByAnOlderOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roster.json")
	one, two := cluster.Member{ID: "1", Address: "10.0.0.1:7443", Server: true}, cluster.Member{ID: "2", Address: "10.0.0.2:7443", Server: true}
	b, err := openBook(path, "1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b.update(&cluster.Roster{Index: 20, Members: []cluster.Member{one, two}})
	again, err := openBook(path, "1", b.log)
	if err != nil {
		t.Fatal(err)
	}
	again.update(&cluster.Roster{Index: 10, Members: []cluster.Member{one}})
	if got := again.addresses("2"); !slices.Equal(got, []string{two.Address}) {
		t.Errorf("after a start from an older snapshot the other server is at %v", got)
	}
	again.update(&cluster.Roster{Index: 21, Members: []cluster.Member{one}})
	if got := again.addresses("2"); len(got) != 0 {
		t.Errorf("who left is still at %v", got)
	}
}

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
