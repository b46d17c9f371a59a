package builder

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// tree is a build context: what of a source tree the engine gets. Names are
// slash-separated and sorted; nothing in it leads out of its root.
type tree struct {
	root  *os.Root
	dir   string // folder of root that is sent, "." for all
	under string // folder of the context that it goes to, "" for its root
	files []treeFile
	bytes int64
	extra map[string][]byte // files that the builder adds
}

type treeFile struct {
	name string // in root
	as   string // in the context, where that is not the same
	info fs.FileInfo
	link string
}

// treeSpec says what goes into a tree.
type treeSpec struct {
	dir, under string
	keep       []string // files that .dockerignore cannot take away
	skip       func(name string) bool
	extra      map[string][]byte
}

// listTree walks a source tree. The caller closes root after the tree was sent.
func listTree(ctx context.Context, root *os.Root, spec treeSpec, l Limits) (*tree, error) {
	fsys := root.FS()
	t := &tree{root: root, dir: spec.dir, under: spec.under, extra: spec.extra}
	ignore, err := dockerIgnore(fsys, spec)
	if err != nil {
		return nil, err
	}
	parents := map[string]patternmatcher.MatchInfo{}
	err = fs.WalkDir(fsys, spec.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read source tree: %w", err)
		}
		if name == spec.dir {
			return ctx.Err()
		}
		if spec.skip != nil && spec.skip(name) {
			return skip(d)
		}
		out, err := excluded(ignore, parents, name)
		if err != nil {
			return failedAt(dockerIgnoreFile, 0, "%s", err)
		}
		if out && d.IsDir() && !ignore.Exclusions() {
			return fs.SkipDir
		}
		if out {
			return nil
		}
		if err := t.add(fsys, name, d, l); err != nil {
			return err
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func skip(d fs.DirEntry) error {
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

const dockerIgnoreFile = ".dockerignore"

// dockerIgnore reads the tree's .dockerignore. It counts for whole trees only:
// a static site's folder is sent as it is.
func dockerIgnore(fsys fs.FS, spec treeSpec) (*patternmatcher.PatternMatcher, error) {
	var patterns []string
	if spec.dir == "." {
		data, ok, err := readSmall(fsys, dockerIgnoreFile)
		if err != nil {
			return nil, err
		}
		if ok {
			if patterns, err = ignorefile.ReadAll(strings.NewReader(string(data))); err != nil {
				return nil, failedAt(dockerIgnoreFile, 0, "%s", err)
			}
		}
		for _, k := range spec.keep {
			if len(patterns) > 0 {
				patterns = append(patterns, "!"+k)
			}
		}
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, failedAt(dockerIgnoreFile, 0, "%s", err)
	}
	return m, nil
}

// excluded asks the matcher, remembering the answer for the folder of name.
func excluded(m *patternmatcher.PatternMatcher, parents map[string]patternmatcher.MatchInfo, name string) (bool, error) {
	if len(m.Patterns()) == 0 {
		return false, nil
	}
	out, info, err := m.MatchesUsingParentResults(name, parents[path.Dir(name)])
	parents[name] = info
	return out, err
}

// add takes one entry in. Folders whose files are all left out are harmless.
func (t *tree) add(fsys fs.FS, name string, d fs.DirEntry, l Limits) error {
	info, err := d.Info()
	if err != nil {
		return fmt.Errorf("read source tree: %w", err)
	}
	f := treeFile{name: name, info: info}
	switch mode := info.Mode(); {
	case mode.IsDir():
	case mode.IsRegular():
		t.bytes += info.Size()
	case mode&fs.ModeSymlink != 0:
		if f.link, err = fs.ReadLink(fsys, name); err != nil {
			return fmt.Errorf("read source tree: %w", err)
		}
		if !linkStays(name, f.link) {
			return failed("context", "the link %s leaves the source tree", shorten(name)).Because("it points to %s", shorten(f.link))
		}
	default:
		return failed("context", "%s is neither a file nor a folder nor a link", shorten(name))
	}
	t.files = append(t.files, f)
	if len(t.files) > l.Files {
		return failed("context", "the source tree has more than %d files", l.Files).
			WithHint("list what the build does not need in .dockerignore")
	}
	if t.bytes > l.ContextBytes {
		return failed("context", "the source tree is larger than %s", humanBytes(l.ContextBytes)).
			WithHint("list what the build does not need in .dockerignore")
	}
	return nil
}

// linkStays reports whether a symbolic link at name leads to the same tree.
func linkStays(name, target string) bool {
	if target == "" || path.IsAbs(target) || strings.ContainsRune(target, 0) {
		return false
	}
	to := path.Join(path.Dir(name), target)
	return to != ".." && !strings.HasPrefix(to, "../")
}

// writeTo writes the tree as tar. Owners are dropped, so equal trees give equal
// bytes whoever pushed them.
func (t *tree) writeTo(ctx context.Context, w io.Writer) error {
	tw := tar.NewWriter(w)
	// BuildKit looks at the first kilobyte to see whether it gets a tar or a lone
	// Dockerfile, and misjudges one that begins with a PAX header, as any name beyond
	// ASCII or 100 bytes has. The root folder never has one.
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
		return fmt.Errorf("send the root folder: %w", err)
	}
	for _, f := range t.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.write(tw, f); err != nil {
			return fmt.Errorf("send %s: %w", f.name, err)
		}
	}
	for _, name := range sortedKeys(t.extra) {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(t.extra[name])), ModTime: time.Unix(0, 0)}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("send %s: %w", name, err)
		}
		if _, err := tw.Write(t.extra[name]); err != nil {
			return fmt.Errorf("send %s: %w", name, err)
		}
	}
	return tw.Close()
}

func (t *tree) write(tw *tar.Writer, f treeFile) error {
	h, err := tar.FileInfoHeader(plainInfo{f.info}, f.link)
	if err != nil {
		return err
	}
	h.Name = t.nameOf(f)
	h.ModTime = f.info.ModTime().Truncate(time.Second)
	if f.info.IsDir() {
		h.Name += "/"
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if !f.info.Mode().IsRegular() {
		return nil
	}
	file, err := t.root.Open(f.name)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.CopyN(tw, file, f.info.Size()); err != nil {
		return err
	}
	return nil
}

// nameOf is where a file goes in the context.
func (t *tree) nameOf(f treeFile) string {
	switch {
	case f.as != "":
		return f.as
	case t.dir == ".":
		return path.Join(t.under, f.name)
	}
	return path.Join(t.under, strings.TrimPrefix(f.name, t.dir+"/"))
}

// plainInfo hides the owner from the tar header, and every mode bit but those
// that Git keeps.
type plainInfo struct{ fs.FileInfo }

// Sys hides the owner.
func (plainInfo) Sys() any { return nil }

// Mode is 0644, or 0755 for folders and what can be executed.
func (p plainInfo) Mode() fs.FileMode {
	m := p.FileInfo.Mode()
	if m.IsRegular() && m&0o111 == 0 {
		return m.Type() | 0o644
	}
	return m.Type() | 0o755
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// humanBytes writes an amount for people.
func humanBytes(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", (n+1023)>>10)
}
