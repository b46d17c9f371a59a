package server

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"paas/identity"
)

func TestGitMemory(t *testing.T) {
	for host, want := range map[uint64]uint64{512 << 20: 256 << 20, 2 << 30: 512 << 20, 24 << 30: 1 << 30} {
		if got := gitMemory(host); got != want {
			t.Errorf("of %d MiB: %d MiB, want %d", host>>20, got>>20, want>>20)
		}
	}
}

// deltaBomb is a pack of 16 kB whose second object is the first one repeated to
// more than 2 GiB.
func deltaBomb(t *testing.T) []byte {
	t.Helper()
	const size, times = 15 << 20, 140
	var pack bytes.Buffer
	object := func(kind byte, n int, between, data []byte) {
		head := kind<<4 | byte(n&15)
		for n >>= 4; n > 0; n >>= 7 {
			pack.WriteByte(head | 0x80)
			head = byte(n & 0x7f)
		}
		pack.WriteByte(head)
		pack.Write(between)
		z := zlib.NewWriter(&pack)
		_, _ = z.Write(data) // to memory
		_ = z.Close()
	}
	pack.WriteString("PACK\x00\x00\x00\x02\x00\x00\x00\x02")
	object(3, size, nil, make([]byte, size)) // a blob
	whole := append([]byte{0xff}, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 0), size)[:7]...)
	delta := append(binary.AppendUvarint(binary.AppendUvarint(nil, size), size*times), bytes.Repeat(whole, times)...)
	object(6, len(delta), offset(pack.Len()-12), delta) // against the one at 12
	sum := sha1.Sum(pack.Bytes())
	return append(pack.Bytes(), sum[:]...)
}

// offset is a pack's coding of how far before an object the other one begins.
func offset(n int) []byte {
	out := []byte{byte(n & 0x7f)}
	for n >>= 7; n > 0; n >>= 7 {
		n--
		out = append([]byte{0x80 | byte(n&0x7f)}, out...)
	}
	return out
}

// TestGitDeltaBomb: what stands for more memory than git may have is refused, and
// takes less.
func TestGitDeltaBomb(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	body := packet(strings.Repeat("0", 40)+" "+strings.Repeat("1", 40)+" refs/heads/main\x00report-status side-band-64k") + "0000" + string(deltaBomb(t))
	req, err := http.NewRequest("POST", "https://"+h.server.Addr().String()+"/git/blog.git/git-receive-pack", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("paas", h.token)
	req.Header.Set("Content-Type", "application/x-git-receive-pack-request")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: identity.PinnedConfig(h.server.CAPEM()), DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(answer), "ut of memory", "unpack index-pack abnormal exit")
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &used); err != nil {
		t.Fatal(err)
	}
	if used.Maxrss > 1<<20 { // KiB
		t.Errorf("a git child took %d MiB", used.Maxrss>>10)
	}
}
