package builder

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

const pointerText = lfsPrefix + "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"

func TestUnfetchedFilesAreNamed(t *testing.T) {
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	tree := fstest.MapFS{
		".gitattributes": text("*.psd filter=lfs diff=lfs merge=lfs -text\n"),
		"art/logo.psd":   text(pointerText), "art/real.psd": text(strings.Repeat("x", 200)), "notes.txt": text("a text"),
		".gitmodules": text("[submodule \"a\"]\n\tpath = vendor/a\n\turl = https://example.com/a\n[submodule \"b\"]\n\tpath = vendor/b\n[submodule \"c\"]\n\tpath = ../c\n"),
		"vendor/a":    &fstest.MapFile{Mode: 0o755 | 1<<31}, "vendor/b/file": text("there"),
	}
	got, err := unfetched(t.Context(), tree)
	if err != nil || len(got) != 2 || !strings.Contains(got[0], "empty: vendor/a. ") || !strings.Contains(got[1], "only: art/logo.psd. ") {
		t.Errorf("got %q, %v", got, err)
	}
	delete(tree, ".gitattributes") // a text about LFS is no pointer
	delete(tree, ".gitmodules")
	if got, err := unfetched(t.Context(), tree); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v, want nothing", got, err)
	}
	many := fstest.MapFS{"data/.gitattributes": text("* filter=lfs\n")}
	for i := range 12 {
		many[fmt.Sprintf("data/%02d\x1b[31m", i)] = text(pointerText)
	}
	if got, err := unfetched(t.Context(), many); err != nil || len(got) != 1 || !strings.Contains(got[0], "data/04?[31m and 7 more") {
		t.Errorf("got %q, %v", got, err)
	}
}
