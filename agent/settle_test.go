package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"paas/identity"
)

// A host whose disk takes nothing has been let in and cannot say so. It repeats the
// join, with the key that the string is good for.
func TestJoinThatCannotBeWrittenDownCanBeRepeated(t *testing.T) {
	_, me := identities(t)
	for _, taken := range []string{nodeDir, membershipFile} {
		dir := t.TempDir()
		key := filepath.Join(dir, joinKeyFile)
		if _, err := identity.LoadOrCreateKey(key); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		inTheWay := filepath.Join(dir, taken) // a file where a folder belongs, and the other way round
		if taken == nodeDir {
			err = os.WriteFile(inTheWay, nil, 0o600)
		} else {
			err = os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		m := &Membership{Cluster: "c0ffee", Servers: []string{"192.0.2.1:7443"}}
		if err := settle(dir, me, m); err == nil {
			t.Errorf("%s: no error", taken)
		}
		if after, err := os.ReadFile(key); err != nil || string(after) != string(before) {
			t.Errorf("%s: the join's key is gone: %v", taken, err)
		}
		if _, err := LoadMembership(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: half a join counts: %v", taken, err)
		}
		if err := os.RemoveAll(inTheWay); err != nil {
			t.Fatal(err)
		}
		if err := settle(dir, me, m); err != nil {
			t.Errorf("%s: again: %v", taken, err)
		}
		if m, err := LoadMembership(dir); err != nil || m.Node().ID != me.ID {
			t.Errorf("%s: %v", taken, err)
		}
	}
}
