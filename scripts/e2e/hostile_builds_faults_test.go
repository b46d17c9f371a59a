//go:build e2e && faults

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFaultHostileBuilds builds what is meant to harm, one after the other, beside
// an app that is asked 100 times a second.
func TestFaultHostileBuilds(t *testing.T) {
	e := newHostile(t, 100, 20*time.Second)
	defer e.neighbour.stop(t)
	e.during("network", e.walls)
	e.during("memory hog", e.memoryHog)
	e.during("build that never ends, by deploy", e.endless)
	e.during("build that never ends, by push", e.endlessPush)
	e.during("fork bomb", e.forkBomb)
	e.during("1 GiB of output", e.flood)
	e.during("a million files, by push", e.millionPushed)
	e.during("a million files, in a folder", e.millionInFolder)
	e.during("a million files, in an archive", e.millionInArchive)
	e.during("a million folders, implied by names", e.millionImplied)
	e.during("10 MiB that are 10 GiB", e.bomb)
}

func (e *hostile) endlessPush(*testing.T) {
	dir := e.repoOf(map[string]string{"Dockerfile": fmt.Sprintf("FROM busybox\nRUN sleep %d\n", time.Now().UnixNano()%1_000_000+3600)})
	out, code := e.git(dir, "push", "paas", "main")
	e.t.Logf("exit %d\n%s", code, tail(out, 8))
	if code != 1 {
		e.t.Errorf("git push: exit %d, want 1", code)
	}
	contains(e.t, "what the pusher sees", out, "build took longer than 20s")
}

// repoOf is a repository whose remote is the app "evil".
func (e *hostile) repoOf(files map[string]string) string {
	dir := filepath.Join(e.t.TempDir(), "repo")
	if err := os.Mkdir(dir, 0o755); err != nil {
		e.t.Fatal(err)
	}
	for name, text := range files {
		e.write(dir, name, text)
	}
	if out, code := e.git(dir, "init", "-q", "-b", "main"); code != 0 {
		e.t.Fatal(out)
	}
	e.must(dir, "git", "remote", "-a", "evil")
	if len(files) > 0 {
		e.commit(dir, "First")
	}
	return dir
}

func (e *hostile) forkBomb(t *testing.T) {
	const v1, v2 = "/sys/fs/cgroup/pids/docker/buildkit/pids.current", "/sys/fs/cgroup/docker/buildkit/pids.current"
	stop, peak := make(chan struct{}), make(chan int, 1)
	go func() {
		highest := 0
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				peak <- highest
				return
			case <-tick.C:
				for _, file := range []string{v1, v2} {
					var n int
					data, _ := os.ReadFile(file) // one of them is there; without any the peak is 0
					_, _ = fmt.Sscan(string(data), &n)
					highest = max(highest, n)
				}
			}
		}
	}()
	e.fails("FROM busybox\nRUN bomb() { bomb | bomb & }; bomb; sleep 1000\n", "build")
	close(stop)
	n := <-peak
	t.Logf("at most %d processes", n)
	if n == 0 || n > 4096 {
		t.Errorf("%d processes, want a bomb's, and at most 4096", n)
	}
}

// flood fails after its output, so that nothing is rolled out. BuildKit itself takes
// 200 KiB a second of a step: a fast host is done before the log is full.
func (e *hostile) flood(t *testing.T) {
	e.fails("FROM busybox\nRUN yes 'all work and no play' | head -c 1073741824; exit 3\n") // at its end, or that of its time
	var size int64
	_ = filepath.WalkDir(filepath.Join(e.data, "builds"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	t.Logf("build logs take %d KiB", size>>10)
	if size > 16<<20 {
		t.Errorf("build logs take %d bytes", size)
	}
}

// A thousand times the same folder of a thousand names for one file: few bytes in
// a pack, a million files in a tree.
func (e *hostile) millionPushed(*testing.T) {
	dir := e.repoOf(nil)
	var in bytes.Buffer
	fmt.Fprint(&in, "blob\nmark :1\ndata 19\nFROM busybox\nRUN x\n\ncommit refs/heads/main\ncommitter Test <test@example.com> 1700000000 +0000\ndata 7\nMillion\nM 100644 :1 Dockerfile\n")
	for i := range 1000 {
		for j := range 1000 {
			fmt.Fprintf(&in, "M 100644 :1 d%d/f%d\n", i, j)
		}
	}
	cmd := exec.Command("git", "fast-import", "--quiet")
	cmd.Dir, cmd.Env, cmd.Stdin = dir, e.env(), &in
	if out, err := cmd.CombinedOutput(); err != nil {
		e.t.Fatalf("%v\n%s", err, out)
	}
	out, code := e.git(dir, "push", "paas", "main")
	e.t.Logf("exit %d\n%s", code, tail(out, 6))
	if code != 1 {
		e.t.Errorf("git push: exit %d, want 1", code)
	}
	contains(e.t, "what the pusher sees", out, "more than 100000 files and folders")
}

func (e *hostile) millionInFolder(t *testing.T) {
	dir := t.TempDir()
	e.write(dir, "Dockerfile", "FROM busybox\n")
	for i := range 1000 {
		sub := filepath.Join(dir, fmt.Sprint("d", i))
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		for j := range 1000 {
			if err := syscall.Mknod(filepath.Join(sub, fmt.Sprint("f", j)), syscall.S_IFREG|0o644, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	began := time.Now()
	_, errs, code := e.paas(dir, "deploy", ".", "-a", "evil")
	t.Logf("exit %d after %v\n%s", code, time.Since(began).Round(10*time.Millisecond), tail(errs, 6))
	if code != 9 {
		t.Errorf("exit %d, want 9", code)
	}
	contains(t, "what the deployer sees", errs, "more than 100000 files")
}

func (e *hostile) millionInArchive(t *testing.T) {
	e.refusesArchive(t, "more than 100000 files and folders", func(w io.Writer) {
		z := gzip.NewWriter(w)
		tw := tar.NewWriter(z)
		for i := range 1_000_000 {
			if tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%d/f%d", i/1000, i), Mode: 0o644, Typeflag: tar.TypeReg}) != nil {
				return // refused
			}
		}
		_, _ = tw.Close(), z.Close() // a refusal is the answer
	})
}

// Each of 20,000 names has 50 folders of its own.
func (e *hostile) millionImplied(t *testing.T) {
	e.refusesArchive(t, "more than 100000 files and folders", func(w io.Writer) {
		z := gzip.NewWriter(w)
		tw := tar.NewWriter(z)
		for i := range 20_000 {
			if tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%d/%sf", i, strings.Repeat("d/", 49)), Mode: 0o644, Typeflag: tar.TypeReg}) != nil {
				return
			}
		}
		_, _ = tw.Close(), z.Close() // as above
	})
}

func (e *hostile) bomb(t *testing.T) {
	var zeros bytes.Buffer // 64 MiB, compressed once
	z := gzip.NewWriter(&zeros)
	_, _ = z.Write(make([]byte, 64<<20)) // to memory
	_ = z.Close()
	free := func() (out uint64) {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(e.data, &fs); err != nil {
			t.Fatal(err)
		}
		return fs.Bavail * uint64(fs.Bsize)
	}
	before, sent := free(), 0
	e.refusesArchive(t, "larger than 2", func(w io.Writer) {
		head := gzip.NewWriter(w) // gzip members may follow one another
		tw := tar.NewWriter(head)
		_ = tw.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: 10 << 30, Typeflag: tar.TypeReg})
		_ = head.Close()
		for range 160 {
			n, err := w.Write(zeros.Bytes())
			if sent += n; err != nil {
				return
			}
		}
	})
	t.Logf("%d KiB of %d sent", sent>>10, 160*zeros.Len()>>10)
	e.await("the disk has its room back", 20*time.Second, func() string {
		if now := free(); now+512<<20 < before {
			return fmt.Sprintf("%d MiB are gone", (before-now)>>20)
		}
		return ""
	})
}

// refusesArchive sends what write writes as a deploy of a client that does not
// look at it first.
func (e *hostile) refusesArchive(t *testing.T, want string, write func(io.Writer)) {
	t.Helper()
	var made struct {
		Token string `json:"text"`
	}
	e.into(&made, e.home, "token", "create", "--name", fmt.Sprint("evil", time.Now().UnixNano()), "--ttl", "1h", "--scope", "admin")
	ca, err := os.ReadFile(filepath.Join(e.home, "ca", "dev.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 5 * time.Minute}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); write(w); _ = w.Close() }()
	req, err := http.NewRequest(http.MethodPost, "https://"+e.listen+"/v1/apps/evil/deploys", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+made.Token)
	req.Header.Set("Content-Type", "application/gzip")
	began := time.Now()
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(res.Body) // it may be cut off after the refusal
	_ = res.Body.Close()
	_ = r.Close()
	<-done
	t.Logf("%s after %v: %s", res.Status, time.Since(began).Round(10*time.Millisecond), tail(string(said), 3))
	contains(t, "the answer", string(said), want)
}
