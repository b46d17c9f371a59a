package server

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// absolute completes a path of git's.
func absolute(repo, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(repo, path)
}

// objectRE are the files of an object store that hold objects, or make packs
// readable. An .idx is what makes git look at a pack, so it goes last.
var objectRE = regexp.MustCompile(`^(pack/pack-[0-9a-f]+\.(pack|rev|idx)|[0-9a-f]{2}/[0-9a-f]+)$`)

// keepObjects links the objects under from into to, where git will find them when
// it moves them there itself.
func keepObjects(from, to string) error {
	var objects, indices []string
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(from, path)
		switch {
		case err != nil || !objectRE.MatchString(filepath.ToSlash(name)):
		case strings.HasSuffix(name, ".idx"):
			indices = append(indices, name)
		default:
			objects = append(objects, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	dirs := map[string]bool{}
	for _, name := range append(objects, indices...) {
		dir := filepath.Dir(filepath.Join(to, name))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Link(filepath.Join(from, name), filepath.Join(to, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		dirs[dir] = true
	}
	for dir := range dirs {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}
