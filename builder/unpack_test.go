package builder

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

// pack writes a gzipped tar of headers; bodies are as long as Size says.
func pack(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpack(t *testing.T) {
	dir, at := t.TempDir(), time.Unix(1_700_000_000, 0)
	data := pack(t,
		tar.Header{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "4f2c9e1"}},
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "bin/run", Size: 3, Mode: 0o4711, ModTime: at},
		tar.Header{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "a/b.txt", Size: 2, Mode: 0o600},
		tar.Header{Name: "a/link", Typeflag: tar.TypeSymlink, Linkname: "../bin/run"},
		tar.Header{Name: "a/hard", Typeflag: tar.TypeLink, Linkname: "a/b.txt"},
		tar.Header{Name: "a/b.txt", Size: 5},
	)
	if err := Unpack(t.Context(), bytes.NewReader(data), dir, Limits{}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "bin/run"))
	if err != nil || info.Mode() != 0o755 || !info.ModTime().Equal(at) {
		t.Errorf("bin/run: %v %v", info.Mode(), err)
	}
	for name, want := range map[string]string{"a/b.txt": "xxxxx", "a/link": "xxx", "a/hard": "xx"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v, want %q", name, got, err, want)
		}
	}
}

func TestUnpackPlainTar(t *testing.T) {
	z, err := gzip.NewReader(bytes.NewReader(pack(t, tar.Header{Name: "a", Size: 1})))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Unpack(t.Context(), z, dir, Limits{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); err != nil {
		t.Error(err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	for name, headers := range map[string][]tar.Header{
		"absolute":          {{Name: "/etc/passwd"}},
		"parent":            {{Name: "../x"}},
		"inner parent":      {{Name: "a/../b"}},
		"deep parent":       {{Name: "a/../../x"}},
		"absolute link":     {link("a", "/etc")},
		"leaving link":      {link("a/b", "../../etc")},
		"through a link":    {link("a", "b"), link("b", "."), {Name: "c", Typeflag: tar.TypeSymlink, Linkname: "a/../.."}},
		"leaving hard link": {{Name: "a", Typeflag: tar.TypeLink, Linkname: "../x"}},
		"link to itself":    {{Name: "a", Size: 1}, {Name: "a", Typeflag: tar.TypeLink, Linkname: "a"}},
		"dead hard link":    {{Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}},
		"device":            {{Name: "a", Typeflag: tar.TypeChar}},
		"block device":      {{Name: "a", Typeflag: tar.TypeBlock}},
		"pipe":              {{Name: "a", Typeflag: tar.TypeFifo}},
		"file over folder":  {{Name: "a/b"}, {Name: "a"}},
		"folder over file":  {{Name: "a"}, {Name: "a/b"}},
		"too large":         {{Name: "a", Size: 900}, {Name: "b", Size: 200}},
		"too deep":          {{Name: strings.Repeat("d/", maxDepth) + "x"}},
		"too deep a folder": {{Name: strings.Repeat("d/", maxDepth+1), Typeflag: tar.TypeDir}},
		"too many folders":  {{Name: "a/b/c/d"}},
		"too long a name":   {{Name: strings.Repeat("d/", 50) + strings.Repeat("x", maxNameBytes)}},
		"too many":          {{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "in")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			err := Unpack(t.Context(), bytes.NewReader(pack(t, headers...)), dir, Limits{UnpackedBytes: 1000, Files: 3})
			if cluster.KindOf(err) != cluster.KindInvalid {
				t.Errorf("error %v", err)
			}
			onlyIn(t, outer)
		})
	}
}

// onlyIn fails when outer holds anything beside the folder "in".
func onlyIn(t testing.TB, outer string) {
	t.Helper()
	entries, err := os.ReadDir(outer)
	if err != nil || len(entries) != 1 || entries[0].Name() != "in" {
		t.Fatalf("outside the tree: %v %v", entries, err)
	}
}

func TestUnpackBrokenArchives(t *testing.T) {
	whole := pack(t, tar.Header{Name: "a", Size: 5000})
	var hollow bytes.Buffer // its header promises what does not follow
	if err := tar.NewWriter(&hollow).WriteHeader(&tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 5000}); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"garbage": []byte("this is no archive at all, really it is not"), "cut": whole[:len(whole)/2],
		"bad gzip": {0x1f, 0x8b, 0}, "hollow": hollow.Bytes()} {
		if err := Unpack(t.Context(), bytes.NewReader(data), t.TempDir(), Limits{}); cluster.KindOf(err) != cluster.KindInvalid {
			t.Errorf("%s: %v, want the sender to be told", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Unpack(ctx, bytes.NewReader(whole), t.TempDir(), Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack(f, tar.Header{Name: "a/b", Size: 3}, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "a"}, tar.Header{Name: "l/c", Size: 1}))
	f.Add(pack(f, tar.Header{Name: "../x"}))
	plain, err := gzip.NewReader(bytes.NewReader(pack(f, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "b"}, tar.Header{Name: "b", Typeflag: tar.TypeSymlink, Linkname: ".."})))
	if err != nil {
		f.Fatal(err)
	}
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(plain); err != nil {
		f.Fatal(err)
	}
	f.Add(raw.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = Unpack(t.Context(), bytes.NewReader(data), dir, Limits{UnpackedBytes: 1 << 20, Files: 100}) // any error will do
		onlyIn(t, outer)
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Type()&fs.ModeSymlink == 0 {
				return err
			}
			target, err := os.Readlink(path)
			if strings.HasPrefix(target, "/") {
				t.Fatalf("absolute link %s → %s", path, target)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
