package cli

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"paas/cluster"
)

//go:embed sample
var sampleFiles embed.FS

func sampleVerb() *verb {
	return &verb{name: "sample", group: groupStart, summary: "write a tiny site to deploy first", args: "NAME", takes: one, run: writeSample,
		about:    "It makes the folder NAME with a git work tree in it. Building it needs no image and no network.",
		examples: []string{"paas sample hello && cd hello && paas apps create && git push paas main"}}
}

func writeSample(ctx context.Context, in *invocation) error {
	name := in.arg(0)
	if err := cluster.AppName(filepath.Base(name)).Validate(); err != nil {
		return err
	}
	if entries, err := os.ReadDir(name); err == nil && len(entries) > 0 {
		return cluster.Conflict("folder", "%s is there already", name).WithHint("choose another name: paas sample NAME")
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cluster.Invalid("folder", "%s cannot be made", name).Because("%v", err)
	}
	files, err := fs.Sub(sampleFiles, "sample")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(name, 0o755); err != nil {
		return cluster.Invalid("folder", "%s cannot be made", name).Because("%v", err)
	}
	if err := copyFiles(name, files); err != nil {
		return fmt.Errorf("write the sample: %w", err)
	}
	for _, args := range [][]string{{"init", "--quiet", "--initial-branch=main"}, {"add", "--all"},
		append(author(ctx, name), "commit", "--quiet", "--message=A first page")} {
		if _, err := git(ctx, name, args...); err != nil {
			return err
		}
	}
	return in.print(struct {
		Folder string `json:"folder"`
	}{name}, func(o *output) {
		o.done("%s is ready", name)
		o.next("cd "+name+" && paas apps create", "git push paas main")
	})
}

// copyFiles writes files with ordinary rights: embedded ones are read-only.
func copyFiles(dir string, files fs.FS) error {
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), data, 0o644)
	})
}

// author names one for the first commit where git knows nobody; nobody is asked
// for a signature.
func author(ctx context.Context, dir string) []string {
	plain := []string{"-c", "commit.gpgsign=false"}
	if _, err := git(ctx, dir, "config", "user.email"); err == nil {
		return plain
	}
	return append(plain, "-c", "user.name=paas", "-c", "user.email=paas@localhost")
}
