package server

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestASmallPackCannotTakeTheHostsMemory sends git a delta of some 48,000 equal bytes
// that stands for 3 GiB.
func TestASmallPackCannotTakeTheHostsMemory(t *testing.T) {
	g := &gitServer{control: &control{layout: layout{dir: t.TempDir()}}}
	for _, dir := range []string{g.layout.git(), g.layout.hooks()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	repo := filepath.Join(g.layout.git(), "blog.git")
	if out, err := g.command(t.Context(), nil, "init", "--quiet", "--bare", "--", repo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	index := func(pack []byte) (string, error) {
		cmd := g.command(t.Context(), []string{"GIT_DIR=" + repo}, "index-pack", "--stdin", "--strict")
		var said bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(pack), &said, &said
		err := runGit(t.Context(), cmd)
		return said.String(), err
	}
	if said, err := index(deltaPack(2)); err != nil {
		t.Fatalf("a pack of its kind is refused: %v: %s", err, said)
	}
	if said, err := index(deltaPack(48_000)); err == nil || !strings.Contains(said, "emory") {
		t.Errorf("a pack that stands for 3 GiB: %v: %s", err, said)
	}
}

// deltaPack is a pack of 64 KiB of zeros and a delta that copies them n times.
func deltaPack(n int) []byte {
	const most = 1 << 16
	number := func(n int) (out []byte) {
		for ; n > 0x7f; n >>= 7 {
			out = append(out, byte(n)|0x80)
		}
		return append(out, byte(n))
	}
	head := func(kind, n int) []byte {
		if n < 16 {
			return []byte{byte(kind<<4 | n)}
		}
		return append([]byte{byte(kind<<4|n&15) | 0x80}, number(n>>4)...)
	}
	packed := func(data []byte) []byte {
		var out bytes.Buffer
		z := zlib.NewWriter(&out)
		_, _ = z.Write(data) // a buffer takes everything
		_ = z.Close()
		return out.Bytes()
	}
	base := make([]byte, most)
	name := sha1.Sum(append([]byte("blob 65536\x00"), base...))
	delta := append(number(most), number(n*most)...)
	delta = append(delta, bytes.Repeat([]byte{0x80}, n)...) // copy 64 KiB from the beginning
	pack := binary.BigEndian.AppendUint32([]byte("PACK"), 2)
	pack = binary.BigEndian.AppendUint32(pack, 2)
	pack = append(append(pack, head(3, len(base))...), packed(base)...)
	pack = append(append(append(pack, head(7, len(delta))...), name[:]...), packed(delta)...)
	sum := sha1.Sum(pack)
	return append(pack, sum[:]...)
}
