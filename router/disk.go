package router

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/certmagic"
)

// certificateDir is where certificates lie below Config.Dir.
const certificateDir = "certificates"

// disk is the router's own directory: files of 0600 in directories of 0700,
// replaced atomically. No name leads out of it, links included.
type disk struct{ dir string }

func (d *disk) init() error { return os.MkdirAll(d.dir, 0o700) }

// within calls do with the directory open.
func (d *disk) within(do func(*os.Root) error) error {
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return do(root)
}

func (d *disk) read(name string) (b []byte, err error) {
	err = d.within(func(root *os.Root) error {
		b, err = root.ReadFile(name)
		return err
	})
	return b, err
}

func (d *disk) write(name string, b []byte) error {
	return d.within(func(root *os.Root) error {
		if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
			return err
		}
		temp := fmt.Sprintf("%s.%08x.tmp", name, rand.Uint32())
		err := writeSynced(root, temp, b)
		if err == nil {
			err = root.Rename(temp, name)
		}
		if err != nil {
			_ = root.Remove(temp)
		}
		return err
	})
}

func writeSynced(root *os.Root, name string, b []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

func (d *disk) remove(name string) error {
	return d.within(func(root *os.Root) error { return root.RemoveAll(name) })
}

func (d *disk) stat(name string) (info fs.FileInfo, err error) {
	err = d.within(func(root *os.Root) error {
		info, err = root.Stat(name)
		return err
	})
	return info, err
}

// list returns the files below dir, by name; none if there is no dir.
func (d *disk) list(dir string) (names []string, err error) {
	err = d.within(func(root *os.Root) error {
		return fs.WalkDir(root.FS(), dir, func(name string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() && !strings.HasSuffix(name, ".tmp") {
				names = append(names, name)
			}
			return err
		})
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

// localStorage is certmagic's storage on this router's disk alone, with locks
// that hold in this process. Certificates of the edge CA live in it: signing
// another one costs a call, replicating keys would cost a Raft write each.
type localStorage struct {
	disk *disk
	mu   sync.Mutex
	held map[string]chan struct{} // closed by Unlock
}

var _ certmagic.Storage = (*localStorage)(nil)

func newLocalStorage(d *disk) *localStorage {
	return &localStorage{disk: d, held: map[string]chan struct{}{}}
}

func (s *localStorage) Lock(ctx context.Context, name string) error {
	for {
		s.mu.Lock()
		wait := s.held[name]
		if wait == nil {
			s.held[name] = make(chan struct{})
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wait:
		}
	}
}

func (s *localStorage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if done := s.held[name]; done != nil {
		close(done)
		delete(s.held, name)
	}
	return nil
}

func (s *localStorage) Store(_ context.Context, key string, value []byte) error {
	return s.disk.write(certificateFile(key), value)
}

func (s *localStorage) Load(_ context.Context, key string) ([]byte, error) {
	return s.disk.read(certificateFile(key))
}

func (s *localStorage) Delete(_ context.Context, key string) error {
	return s.disk.remove(certificateFile(key))
}

func (s *localStorage) Exists(_ context.Context, key string) bool {
	_, err := s.disk.stat(certificateFile(key))
	return err == nil
}

func (s *localStorage) List(_ context.Context, dir string, recursive bool) ([]string, error) {
	names, err := s.disk.list(certificateFile(dir))
	if err != nil {
		return nil, err
	}
	for i, n := range names {
		names[i] = strings.TrimPrefix(n, certificateDir+"/")
	}
	return children(names, dir, recursive), nil
}

func (s *localStorage) Stat(_ context.Context, key string) (certmagic.KeyInfo, error) {
	info, err := s.disk.stat(certificateFile(key))
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: key, Modified: info.ModTime(), Size: info.Size(), IsTerminal: !info.IsDir()}, nil
}

func certificateFile(key string) string { return path.Join(certificateDir, key) }

// children returns the keys below dir; without recursive, what lies directly in
// it, directories included.
func children(keys []string, dir string, recursive bool) []string {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	var out []string
	for _, k := range keys {
		rest, ok := strings.CutPrefix(k, prefix)
		if !ok || rest == "" {
			continue
		}
		if !recursive {
			first, _, _ := strings.Cut(rest, "/")
			k = prefix + first
		}
		out = append(out, k)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
