package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// layout names what lies in a data directory:
//
//	cluster.cbor  the cluster's settings as they were at bootstrap (CA keys sealed)
//	seal.key      the key that seals secrets
//	node/         this host's key and certificate
//	roster.json   the cluster's hosts and where they were last
//	joined        says that this server joined a cluster: its state comes from the others
//	join.key      the key that this host asks to be let in with; there until it is
//	recovered     says that this server was made the only one, and has yet to remove the others
//	raft/         log and snapshots
//	registry/     images; the builder's own
//	git/          one bare repository per app
//	hooks/        what git runs before it accepts a push
//	builds/       logs of builds and release commands
//	tmp/          source trees of running builds; emptied at start
//	hook.sock     where the hooks meet the server
type layout struct{ dir string }

func (l layout) settings() string  { return filepath.Join(l.dir, "cluster.cbor") }
func (l layout) sealKey() string   { return filepath.Join(l.dir, "seal.key") }
func (l layout) node() string      { return filepath.Join(l.dir, "node") }
func (l layout) roster() string    { return filepath.Join(l.dir, "roster.json") }
func (l layout) joined() string    { return filepath.Join(l.dir, "joined") }
func (l layout) joinKey() string   { return filepath.Join(l.dir, "join.key") }
func (l layout) raft() string      { return filepath.Join(l.dir, "raft") }
func (l layout) git() string       { return filepath.Join(l.dir, "git") }
func (l layout) hooks() string     { return filepath.Join(l.dir, "hooks") }
func (l layout) builds() string    { return filepath.Join(l.dir, "builds") }
func (l layout) tmp() string       { return filepath.Join(l.dir, "tmp") }
func (l layout) socket() string    { return filepath.Join(l.dir, "hook.sock") }
func (l layout) recovered() string { return filepath.Join(l.dir, "recovered") }

// make creates the directories, for the owner only.
func (l layout) make() error {
	for _, dir := range []string{l.dir, l.node(), l.raft(), l.git(), l.hooks(), l.builds(), l.tmp()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
	}
	// An operator may have made the directory itself, readable by others.
	if err := os.Chmod(l.dir, 0o700); err != nil {
		return fmt.Errorf("protect data directory: %w", err)
	}
	return nil
}

// clean removes what belonged to builds and pushes of a process that is gone. No
// other process may use the directory any more.
func (l layout) clean() error {
	left, err := filepath.Glob(filepath.Join(l.tmp(), "*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := removeTree(dir); err != nil {
			return fmt.Errorf("empty %s: %w", l.tmp(), err)
		}
	}
	repos, err := filepath.Glob(filepath.Join(l.git(), "*.git"))
	if err != nil {
		return err
	}
	for _, repo := range repos {
		if err := tidy(repo); err != nil {
			return err
		}
	}
	return nil
}

// removeTree removes dir, whatever rights its directories have.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, _ error) error {
		if e != nil && e.IsDir() {
			_ = os.Chmod(path, 0o700) // RemoveAll tells if it was not enough
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// writeOnce writes a file that must be whole or absent after a crash.
func writeOnce(path string, data []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes new names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// emptyOrAbsent reports whether nothing is at dir.
func emptyOrAbsent(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return len(entries) == 0, err
}
