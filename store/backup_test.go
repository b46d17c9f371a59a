package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"paas/cluster"
)

func TestRestoredBackupServesExactlyThatStateAndTakesWrites(t *testing.T) {
	s := run(t, t.TempDir())
	s.propose(t, bootstrapCommand())
	s.propose(t, CreateApp{By: by(1), Name: "blog"})
	s.propose(t, ChangeConfig{By: by(2), App: "blog", Set: set("A", "1")})
	s.propose(t, CreateToken{By: by(3), Token: token("000000000001", cluster.ScopeAdmin)})
	var backup bytes.Buffer
	if err := s.Backup(&backup); err != nil {
		t.Fatal(err)
	}
	want := stateBytes(t, s.State())
	s.propose(t, CreateApp{By: by(4), Name: "later"})

	dir := filepath.Join(t.TempDir(), "new")
	if err := RestoreBackup(dir, nodeB, bytes.NewReader(backup.Bytes())); err != nil {
		t.Fatal(err)
	}
	open := func() *running {
		st, err := Open(Config{Dir: dir, Node: nodeB})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Bootstrap(); err != nil {
			t.Fatal(err)
		}
		return start(t, st)
	}
	r := open()
	if got := stateBytes(t, r.State()); !bytes.Equal(got, want) {
		t.Fatal("the restored state is another one")
	}
	out := r.propose(t, CreateApp{By: by(5), Name: "shop"})
	r.stop()
	r = open()
	if _, err := r.State().App("shop"); err != nil || r.State().Index() != out.Index {
		t.Errorf("write after the restore: %v at index %d, want %d", err, r.State().Index(), out.Index)
	}
	if tok, err := r.State().Token("000000000001"); err != nil || len(tok.Hash) != 32 {
		t.Errorf("token after the restore: %+v, %v", tok, err)
	}
}

func TestRestoreRefusesADirectoryInUse(t *testing.T) {
	r := withApp(t)
	var backup bytes.Buffer
	if err := writeBackup(&backup, r.state); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := RestoreBackup(dir, nodeA, &backup); cluster.KindOf(err) != cluster.KindConflict {
		t.Errorf("got %v, want KindConflict", err)
	}
}

func TestRestoreLeavesLostServersBehind(t *testing.T) {
	r := begin(t)
	server, _ := r.state.Node(nodeA)
	gone := *server
	gone.Server = true
	r.must(RegisterNode{By: by(20), Node: gone})
	build := r.must(StartBuild{By: by(21), App: "blog", Node: nodeA}).Build
	s := withoutServers(r.state, "cccccccccccccccc")
	if _, err := s.Node(nodeA); err == nil || !s.WasRemoved(nodeA) {
		t.Error("the lost server may come back as who it was")
	}
	if withoutServers(r.state, nodeA).WasRemoved(nodeA) {
		t.Error("the server that restores is shut out")
	}
	if _, err := s.Node(nodeB); err != nil {
		t.Error("an agent was lost with the server")
	}
	if b, err := s.Build(build); err != nil || b.State != cluster.BuildFailed || b.Failure == "" {
		t.Errorf("its build is %+v: %v", b, err)
	}
	if _, err := r.state.Node(nodeA); err != nil || s.Index() != r.state.Index() {
		t.Error("the state that was read has changed")
	}
}

func TestDamagedBackupIsRefused(t *testing.T) {
	r := begin(t)
	var b bytes.Buffer
	if err := writeBackup(&b, r.state); err != nil {
		t.Fatal(err)
	}
	good := b.Bytes()
	h, s, err := ReadBackup(bytes.NewReader(good))
	if err != nil || h.Cluster != "0123456789abcdef" || h.Index != r.state.Index() || s.Index() != h.Index {
		t.Fatalf("header %+v, error %v", h, err)
	}
	bad := map[string][]byte{"empty": nil, "text": []byte("hello, this is no backup"), "longer": append(slices.Clone(good), 'x')}
	for i := 0; i < len(good); i += 1 + len(good)/200 {
		flipped := slices.Clone(good)
		flipped[i] ^= 0x20
		bad["flipped"] = flipped
		for name, data := range map[string][]byte{"flipped": flipped, "cut": good[:i]} {
			if _, _, err := ReadBackup(bytes.NewReader(data)); cluster.KindOf(err) != cluster.KindInvalid {
				t.Fatalf("%s at %d: got %v, want KindInvalid", name, i, err)
			}
		}
	}
	for name, data := range bad {
		dir := filepath.Join(t.TempDir(), "new")
		if err := RestoreBackup(dir, nodeA, bytes.NewReader(data)); cluster.KindOf(err) != cluster.KindInvalid {
			t.Errorf("%s: got %v, want KindInvalid", name, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: a refused backup left a directory", name)
		}
	}
}

func TestBackupOfNothingIsRefused(t *testing.T) {
	if err := writeBackup(&bytes.Buffer{}, &cluster.State{}); cluster.KindOf(err) != cluster.KindConflict {
		t.Errorf("got %v, want KindConflict", err)
	}
}

func TestRaftSnapshotIsTakenAndRestored(t *testing.T) {
	dir := t.TempDir()
	s := run(t, dir)
	s.propose(t, bootstrapCommand())
	s.propose(t, CreateApp{By: by(1), Name: "blog"})
	if err := s.raft.Load().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	s.propose(t, CreateApp{By: by(2), Name: "shop"})
	want := stateBytes(t, s.State())
	s.stop()

	st, err := Open(Config{Dir: dir, Node: nodeA})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := st.stores.snapshots.List(); err != nil || len(list) != 1 {
		t.Errorf("snapshots %v, %v", list, err)
	}
	again := start(t, st)
	if got := stateBytes(t, again.State()); !bytes.Equal(got, want) {
		t.Error("snapshot and log together give another state")
	}
}

// failingSink is a snapshot sink on a full disk.
type failingSink struct {
	raft.SnapshotSink
	cancelled bool
}

func (f *failingSink) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }
func (f *failingSink) Cancel() error             { f.cancelled = true; return nil }

func TestSnapshotThatCannotBeWrittenIsCancelled(t *testing.T) {
	sink := &failingSink{}
	err := fsmSnapshot{withApp(t).state}.Persist(sink)
	if err == nil || !sink.cancelled {
		t.Errorf("error %v, cancelled %v", err, sink.cancelled)
	}
}

func TestNoSecretIsPlainInExportOrLog(t *testing.T) {
	dir := t.TempDir()
	r := run(t, dir)
	r.propose(t, bootstrapCommand())
	tok := token("000000000001", cluster.ScopeAdmin)
	tok.Hash = []byte(strings.Repeat("H", 32))
	r.propose(t, CreateToken{By: by(1), Token: tok})
	out, err := Export(r.State())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte("HHHH")) || bytes.Contains(out, []byte("SEhI")) {
		t.Error("the export holds a token's hash")
	}
	if !bytes.Contains(out, []byte(`"[sealed `)) {
		t.Error("the export shows no fingerprint of a sealed value")
	}
}
