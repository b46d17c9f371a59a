package builder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

const (
	lfsPrefix = "version https://git-lfs.github.com/spec/v1\n"
	// maxPointerBytes bounds what git-lfs itself takes for a pointer.
	maxPointerBytes = 1024
	// namedFiles is how many of a kind a warning names.
	namedFiles = 5
)

// unfetched says what a tree stands for and does not hold: files of Git LFS and
// the contents of submodules, neither of which a push carries.
func unfetched(ctx context.Context, fsys fs.FS) ([]string, error) {
	var warnings []string
	if modules := emptyModules(fsys); len(modules) > 0 {
		warnings = append(warnings, fmt.Sprintf("Submodules are not fetched, these folders are empty: %s. Commit their files, or have the build fetch them", someOf(modules)))
	}
	pointers, err := lfsPointers(ctx, fsys)
	if len(pointers) > 0 {
		warnings = append(warnings, fmt.Sprintf("Git LFS files are not fetched, these hold pointers only: %s. Commit the files themselves, or have the build fetch them", someOf(pointers)))
	}
	return warnings, err
}

// emptyModules are the folders of .gitmodules that hold nothing.
func emptyModules(fsys fs.FS) []string {
	data, ok, err := readSmall(fsys, ".gitmodules")
	if err != nil || !ok {
		return nil // it is for git, and no settings file of ours
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		key, dir, ok := strings.Cut(line, "=")
		dir = strings.Trim(strings.TrimSpace(dir), `"`)
		if !ok || strings.TrimSpace(key) != "path" || !fs.ValidPath(dir) {
			continue
		}
		if entries, err := fs.ReadDir(fsys, dir); err == nil && len(entries) == 0 {
			out = append(out, dir)
		}
	}
	return out
}

// lfsPointers lists the pointers of Git LFS. Only trees that say in a
// .gitattributes that they use it are looked through.
func lfsPointers(ctx context.Context, fsys fs.FS) ([]string, error) {
	var uses bool
	var small, pointers []string
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read source tree: %w", err)
		}
		if !d.Type().IsRegular() {
			return ctx.Err()
		}
		if path.Base(name) == ".gitattributes" {
			data, ok, err := readSmall(fsys, name)
			uses = uses || err == nil && ok && bytes.Contains(data, []byte("filter=lfs"))
		}
		if info, err := d.Info(); err == nil && info.Size() >= int64(len(lfsPrefix)) && info.Size() <= maxPointerBytes {
			small = append(small, name)
		}
		return ctx.Err()
	})
	if err != nil || !uses {
		return nil, err
	}
	for _, name := range small {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if begins(fsys, name, lfsPrefix) {
			pointers = append(pointers, name)
		}
	}
	return pointers, nil
}

func begins(fsys fs.FS, name, prefix string) bool {
	f, err := fsys.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(prefix))
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == prefix
}

// someOf names the first of names, cleaned, and counts the rest.
func someOf(names []string) string {
	var out []string
	for _, n := range names[:min(namedFiles, len(names))] {
		out = append(out, strings.Trim(shorten(n), `"`))
	}
	text := strings.Join(out, ", ")
	if more := len(names) - namedFiles; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
