package builder

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// Archive writes the work tree at dir as a gzipped tar that Unpack takes. It
// leaves out .git and what .gitignore and .paasignore files name. Links that
// leave the tree, and trees over the default Limits, are errors of KindBuildFailed.
func Archive(ctx context.Context, dir string, w io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("archive source: %w", err)
	}
	defer root.Close()
	t, err := workTree(ctx, root)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(w)
	return errors.Join(t.writeTo(ctx, z), z.Close())
}

func workTree(ctx context.Context, root *os.Root) (*tree, error) {
	fsys := root.FS()
	t := &tree{root: root, dir: "."}
	rules := map[string][]ignoreRule{} // by folder, inherited ones included
	limits := Limits{}.withDefaults()
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read source tree: %w", err)
		}
		parent := rules[path.Dir(name)]
		if name == "." {
			parent = nil
		} else if d.Name() == ".git" || ignored(parent, name, d) {
			return skip(d)
		}
		if d.IsDir() {
			own, err := readIgnore(fsys, name)
			if err != nil {
				return err
			}
			rules[name] = append(parent[:len(parent):len(parent)], own...)
		}
		if name == "." {
			return nil
		}
		if err := t.add(fsys, name, d, limits); err != nil {
			return err
		}
		return ctx.Err()
	})
	return t, err
}
