package builder

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"paas/cluster"
)

// Unpack writes a tar, gzipped or plain, into dir, which must exist. Entries that
// are absolute, contain "..", lead through or to a link that leaves the tree, or
// are devices are refused, as is what exceeds l. Only the executable bit and the
// time of a file survive. Refusals are of KindInvalid; what was written until
// then stays, for the caller to remove with dir.
func Unpack(ctx context.Context, r io.Reader, dir string, l Limits) error {
	l = l.withDefaults()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack source: %w", err)
	}
	defer root.Close()
	plain, err := decompress(r)
	if err != nil {
		return err
	}
	u := unpacker{root: root, limits: l}
	in := tar.NewReader(plain)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return badArchive("%s", err).Wrap(err)
		}
		if err := u.entry(ctx, h, in); outOfSpace(err) {
			return diskFull("cannot unpack the source", err)
		} else if err != nil {
			return err
		}
	}
}

// badArchive is about an archive that no tool of good will writes.
func badArchive(format string, args ...any) *cluster.Error {
	return cluster.Invalid("archive", "cannot unpack the source archive").Because(format, args...)
}

// decompress looks at the first bytes: gzip or plain.
func decompress(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	magic, err := b.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read source archive: %w", err)
	}
	if len(magic) < 2 || magic[0] != 0x1f || magic[1] != 0x8b {
		return b, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, badArchive("%s", err).Wrap(err)
	}
	return z, nil
}

// maxDepth bounds how deep folders lie in one another. Each of them is opened again
// for each entry below it: two thousand, which a one-line archive can name, keep a
// processor busy for minutes.
const maxDepth = 100

// maxNameBytes bounds a name as Linux bounds a path (PATH_MAX).
const maxNameBytes = 4096

// smallerHint is for those who push and for those who deploy a folder.
const smallerHint = "keep out of it what the build does not need: git rm -r --cached FOLDER, and name it in .gitignore"

type unpacker struct {
	root   *os.Root
	limits Limits
	files  int
	bytes  int64
}

func (u *unpacker) entry(ctx context.Context, h *tar.Header, in io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader { // git archive's commit hash
		return nil
	}
	if len(h.Name) > maxNameBytes {
		return badArchive("the name %s is longer than %d bytes", shorten(h.Name), maxNameBytes)
	}
	if !localName(strings.TrimSuffix(h.Name, "/")) {
		return badArchive("the name %s leaves the tree", shorten(h.Name))
	}
	name := path.Clean(h.Name)
	if strings.Count(name, "/") >= maxDepth {
		return badArchive("%s lies more than %d folders deep", shorten(name), maxDepth)
	}
	if err := u.count(1); err != nil || name == "." {
		return err
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.root.MkdirAll(name, 0o755); err != nil {
			return u.unmade(name, err)
		}
		return nil
	case tar.TypeReg:
		return u.file(ctx, name, h, in)
	case tar.TypeSymlink:
		return u.symlink(name, h.Linkname)
	case tar.TypeLink:
		return u.link(name, h.Linkname)
	}
	return badArchive("%s is neither a file nor a folder nor a link", shorten(name))
}

// count takes n more entries, folders that only names imply among them: each
// costs an inode.
func (u *unpacker) count(n int) error {
	if u.files += n; u.files > u.limits.Files {
		return badArchive("it has more than %d files and folders", u.limits.Files).WithHint(smallerHint)
	}
	return nil
}

// folder makes a folder and those above it that are missing.
func (u *unpacker) folder(name string) error {
	missing := 0
	for dir := name; dir != "."; dir = path.Dir(dir) {
		if _, err := u.root.Lstat(dir); err == nil {
			break
		}
		missing++
	}
	if missing == 0 {
		return nil // a link or a file there is refused by what is written below it
	}
	if err := u.count(missing); err != nil {
		return err
	}
	if err := u.root.MkdirAll(name, 0o755); err != nil {
		return u.unmade(name, err)
	}
	return nil
}

// unmade tells a disk without room from a name that cannot be.
func (u *unpacker) unmade(name string, err error) error {
	if outOfSpace(err) {
		return fmt.Errorf("unpack %s: %w", shorten(name), err)
	}
	return badArchive("%s cannot be made", shorten(name)).Wrap(err)
}

// localName reports whether a slash-separated name stays in the tree as written:
// not even "a/../b" is let through.
func localName(name string) bool {
	if name == "" || strings.ContainsRune(name, 0) || !filepath.IsLocal(name) {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return false
		}
	}
	return true
}

func (u *unpacker) file(ctx context.Context, name string, h *tar.Header, in io.Reader) error {
	if err := u.clear(name); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return u.unmade(name, err)
	}
	left := u.limits.UnpackedBytes - u.bytes
	from := &sourceReader{ctx: ctx, r: in}
	n, err := io.Copy(f, io.LimitReader(from, left+1))
	u.bytes += n
	if err := errors.Join(err, f.Close()); err != nil {
		if from.failed != nil && ctx.Err() == nil {
			return badArchive("%s cannot be read: %s", shorten(name), from.failed).Wrap(err)
		}
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	if n > left {
		return badArchive("unpacked it is larger than %s", humanBytes(u.limits.UnpackedBytes)).WithHint(smallerHint)
	}
	if !h.ModTime.IsZero() {
		if err := u.root.Chtimes(name, h.ModTime, h.ModTime); err != nil {
			return fmt.Errorf("unpack %s: %w", name, err)
		}
	}
	return nil
}

// clear removes what an earlier entry of the same name left, so that no entry
// writes through a link.
func (u *unpacker) clear(name string) error {
	info, err := u.root.Lstat(name)
	if err != nil {
		return nil //nolint:nilerr // absent, or the write after this says what is wrong
	}
	if info.IsDir() {
		return badArchive("%s is there as a folder and as something else", shorten(name))
	}
	if err := u.root.Remove(name); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	return nil
}

func (u *unpacker) symlink(name, target string) error {
	if !linkStays(name, target) {
		return badArchive("the link %s to %s leaves the tree", shorten(name), shorten(target))
	}
	if err := u.clear(name); err != nil {
		return err
	}
	if err := u.root.Symlink(target, name); err != nil {
		return u.unmade(name, err)
	}
	return nil
}

func (u *unpacker) link(name, target string) error {
	if !localName(target) {
		return badArchive("the link %s to %s leaves the tree", shorten(name), shorten(target))
	}
	if path.Clean(target) == name {
		return badArchive("%s is a link to itself", shorten(name))
	}
	if err := u.clear(name); err != nil {
		return err
	}
	if err := u.root.Link(path.Clean(target), name); err != nil {
		return u.unmade(name, err)
	}
	return nil
}

// sourceReader ends a long read when its context does, and remembers whether it
// was the source that failed: what cannot be written is not the sender's fault.
type sourceReader struct {
	ctx    context.Context
	r      io.Reader
	failed error
}

// Read fails once the context has ended.
func (s *sourceReader) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed = err
	}
	return n, err
}
