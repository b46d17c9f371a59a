package builder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"paas/cluster"
)

// The files that describe an app, all at the root of its tree.
const (
	manifestFile = "paas.toml"
	procFile     = "Procfile"
	appJSONFile  = "app.json"
)

// maxSettingsBytes bounds each of those files; real ones have a few hundred bytes.
const maxSettingsBytes = 256 << 10

// maxCommandBytes bounds one process type's command line.
const maxCommandBytes = 8 << 10

// failed is an Error that the author of the source can repair.
func failed(code, format string, args ...any) *cluster.Error {
	return cluster.Errorf(cluster.KindBuildFailed, code, format, args...)
}

// failedAt names the file and, where it is known, the line.
func failedAt(file string, line int, format string, args ...any) *cluster.Error {
	where := file
	if line > 0 {
		where = fmt.Sprintf("%s line %d", file, line)
	}
	e := failed(file, "%s: %s", where, fmt.Sprintf(format, args...))
	switch file {
	case manifestFile, procFile, appJSONFile: // until there is a better one
		return e.WithHint("what the file may hold: paas help " + strings.ToLower(file))
	}
	return e
}

// settings is what a tree says about itself. Absent files leave nil fields.
type settings struct {
	manifest *Manifest
	procfile Procfile
	appJSON  *AppJSON
}

// readSettings parses the files that describe an app.
func readSettings(fsys fs.FS) (settings, error) {
	s := settings{manifest: &Manifest{}}
	var err error
	if data, ok, e := readSmall(fsys, manifestFile); e != nil {
		return s, e
	} else if ok {
		if s.manifest, err = ParseManifest(data); err != nil {
			return s, err
		}
	}
	if data, ok, e := readSmall(fsys, procFile); e != nil {
		return s, e
	} else if ok {
		if s.procfile, err = ParseProcfile(data); err != nil {
			return s, err
		}
	}
	if data, ok, e := readSmall(fsys, appJSONFile); e != nil {
		return s, e
	} else if ok {
		if s.appJSON, err = ParseAppJSON(data); err != nil {
			return s, err
		}
	}
	return s, nil
}

// readSmall reads a regular file of bounded size; ok is false when there is none.
func readSmall(fsys fs.FS, name string) (data []byte, ok bool, err error) {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, failed(name, "cannot read %s", name).Wrap(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, false, failed(name, "%s is not a regular file", name)
	}
	data, err = io.ReadAll(io.LimitReader(f, maxSettingsBytes+1))
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > maxSettingsBytes {
		return nil, false, failed(name, "%s is larger than %d bytes", name, maxSettingsBytes)
	}
	return data, true, nil
}

// exists reports whether name is a regular file of fsys.
func exists(fsys fs.FS, name string) bool {
	info, err := fs.Stat(fsys, name)
	return err == nil && info.Mode().IsRegular()
}

// isDir reports whether name is a directory of fsys.
func isDir(fsys fs.FS, name string) bool {
	info, err := fs.Stat(fsys, name)
	return err == nil && info.IsDir()
}
