//go:build e2e && faults

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	page    = "<p>as small as ever</p>"
	bigFile = 128 << 20
)

// TestFaultBigPushes pushes as much as may be pushed and what is more, beside an app
// that is asked 50 times a second. What may be pushed deploys; what may not is refused
// with the limit and what to do about it.
func TestFaultBigPushes(t *testing.T) {
	e := newHostile(t, 50, 5*time.Minute)
	defer e.neighbour.stop(t)
	dir := e.repoOf(nil)
	e.pushing("a pack of 1 GiB", dir, "", func(w io.Writer) { file(w, "public/index.html", page); bigFiles(w, "first", 8) }, e.deploysBig)
	e.pushing("a context of more than 1 GiB", dir, "paas/main", func(w io.Writer) { file(w, "Dockerfile", "FROM busybox\n") },
		e.refusesBig("the source tree is larger than 1.0 GiB", "hint: ", ".dockerignore"))
	e.pushing("a tree of more than 2 GiB", dir, "paas/main", func(w io.Writer) { bigFiles(w, "second", 9) },
		e.refusesBig("unpacked it is larger than 2.0 GiB", "hint: ", ".gitignore"))
	e.pushing("a pack of more than 2 GiB", dir, "paas/main", func(w io.Writer) { bigFiles(w, "third", 17) },
		e.refusesBig("pack exceeds maximum allowed size (2.00 GiB)", "remote rejected"))
}

// TestFaultManyFiles is the same with the number of files.
func TestFaultManyFiles(t *testing.T) {
	e := newHostile(t, 50, 5*time.Minute)
	defer e.neighbour.stop(t)
	dir := e.repoOf(nil)
	e.pushing("100,000 files and folders", dir, "", func(w io.Writer) {
		file(w, "public/index.html", page)
		smallFiles(w, 100_000-2-100) // "public", "index.html", and 100 folders
	}, e.deploysBig)
	e.pushing("one more", dir, "paas/main", func(w io.Writer) { file(w, "public/more", "x") },
		e.refusesBig("more than 100000 files and folders", "hint: ", ".gitignore"))
}

// pushing makes a commit and pushes it. Only the push is measured: the pusher's own
// work is another machine's.
func (e *hostile) pushing(name, dir, onto string, files func(io.Writer), push func(dir string)) {
	e.imports(dir, onto, files)
	e.during(name, func(*testing.T) { push(dir) })
}

// imports puts a commit with more files on top of another, or in the place of all; no
// work tree has to hold them.
func (e *hostile) imports(dir, onto string, files func(io.Writer)) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "-c", "core.compression=0", "-c", "core.bigFileThreshold=1m", "fast-import", "--quiet", "--force")
	var said bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, e.env(), &said, &said
	in, err := cmd.StdinPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	fmt.Fprint(in, "commit refs/heads/main\ncommitter Test <test@example.com> 1700000000 +0000\ndata 4\nMore\n")
	if onto != "" {
		fmt.Fprintf(in, "from refs/remotes/%s^0\n", onto)
	}
	files(in) // git says what it could not read
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		e.t.Fatalf("%v\n%s", err, said.String())
	}
}

func file(w io.Writer, name, text string) {
	fmt.Fprintf(w, "M 100644 inline %s\ndata %d\n%s\n", name, len(text), text)
}

// bigFiles writes n files that no compression makes smaller, below data/.
func bigFiles(w io.Writer, name string, n int) {
	for i := range n {
		fmt.Fprintf(w, "M 100644 inline data/%s-%d\ndata %d\n", name, i, bigFile)
		_, _ = io.CopyN(w, rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", fmt.Sprint(name, i))))), bigFile) // git says it
		fmt.Fprintln(w)
	}
}

// smallFiles writes n different files in 100 folders of the site.
func smallFiles(w io.Writer, n int) {
	for i := range n {
		file(w, fmt.Sprintf("public/d%d/f%d", i%100, i), fmt.Sprintln("file", i))
	}
}

// pushBig has as long as it takes to send gigabytes.
func (e *hostile) pushBig(dir string) (string, int) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "-c", "core.compression=0", "-c", "pack.window=0", "push", "--force", "--no-progress", "paas", "main")
	var said bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, e.env(), &said, &said
	began := time.Now()
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		e.t.Fatal(err)
	}
	e.t.Logf("git push: exit %d after %v\n%s", cmd.ProcessState.ExitCode(), time.Since(began).Round(10*time.Millisecond), tail(said.String(), 9))
	return said.String(), cmd.ProcessState.ExitCode()
}

func (e *hostile) deploysBig(dir string) {
	e.t.Helper()
	if out, code := e.pushBig(dir); code != 0 {
		e.t.Fatalf("git push: exit %d\n%s", code, out)
	}
	e.serves("https://evil.localhost/", page)
	e.before = e.containers("evil")
}

// refusesBig demands that a push is refused and says why; what served serves.
func (e *hostile) refusesBig(wants ...string) func(dir string) {
	return func(dir string) {
		out, code := e.pushBig(dir)
		if code != 1 {
			e.t.Errorf("git push: exit %d, want 1", code)
		}
		contains(e.t, "what the pusher sees", out, append(wants, "remote: ")...)
		if strings.Contains(out, "hung up") || strings.Contains(out, "RPC failed") {
			e.t.Error("the pusher is cut off")
		}
		e.serves("https://evil.localhost/", page)
	}
}
