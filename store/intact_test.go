package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"paas/cluster"
)

// TestDamagedLogIsSaid damages a log page by page. bbolt itself panics at some.
func TestDamagedLogIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), logFile)
	if err := intact(path); err != nil {
		t.Errorf("no log yet: %v", err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("logs"))
		for i := byte(0); err == nil && i < 200; i++ {
			err = b.Put([]byte{i}, bytes.Repeat([]byte{i}, 500))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := intact(path); err != nil {
		t.Errorf("a whole log: %v", err)
	}
	said := 0
	for at := 0; at < len(whole); at += 4096 {
		broken := bytes.Clone(whole)
		for i := range broken[at : at+64] {
			broken[at+i] = byte(0xa5 + i)
		}
		path := filepath.Join(t.TempDir(), logFile) // its own: after a panic the file stays locked
		if err := os.WriteFile(path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := intact(path); err != nil {
			said++
			if cluster.KindOf(err) != cluster.KindUnavailable {
				t.Errorf("page %d: %v", at/4096, err)
			}
		}
	}
	if said < 5 {
		t.Errorf("%d damaged pages were seen", said)
	}
}
