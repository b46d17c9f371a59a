//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watched collects what a program says and tells when it said want.
type watched struct {
	want string
	seen chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
	told bool
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	if !w.told && strings.Contains(w.text.String(), w.want) {
		w.told = true
		close(w.seen)
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// typist is a person at a pseudo terminal.
type typist struct {
	t      testing.TB
	master *os.File
	said   *watched
	cmd    *exec.Cmd
}

// newTypist starts paas on a terminal of its own, 100 by 30.
func newTypist(t testing.TB, h *host, dir, want string, args ...string) *typist {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close() // the program has its own
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 100, Row: 30}); err != nil {
		t.Fatal(err)
	}
	p := &typist{t: t, master: master, said: &watched{want: want, seen: make(chan struct{})}}
	p.cmd = h.command(context.Background(), h.bin, args...)
	p.cmd.Dir, p.cmd.Env = dir, h.env()
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go func() { // ends with the terminal
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			_, _ = p.said.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	return p
}

// sees waits for the words that the typist was told to look for.
func (p *typist) sees() {
	p.t.Helper()
	select {
	case <-p.said.seen:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("%v never said %q:\n%s", p.cmd.Args, p.said.want, p.said)
	}
}

func (p *typist) types(keys string) {
	p.t.Helper()
	if _, err := p.master.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

// ends waits for the program's end and returns its exit code.
func (p *typist) ends() int {
	p.t.Helper()
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("%v does not end:\n%s", p.cmd.Args, p.said)
	}
	return p.cmd.ProcessState.ExitCode()
}

// terminals are passed through by run and exec: the app's side is a terminal of
// the person's size, Ctrl-C goes there and not to paas, the exit code comes back.
func terminals(t *testing.T, h *host, dir string) {
	for _, where := range [][]string{{"run"}, {"exec", "web.1"}} {
		t.Run(where[0], func(t *testing.T) {
			p := newTypist(t, h, dir, "terminal 100x30", append(where, "--", "/probe", "tty")...)
			p.sees()
			p.types("\x03")
			if code := p.ends(); code != 5 {
				t.Fatalf("Ctrl-C in the app: exit %d, want its 5\n%s", code, p.said)
			}
		})
	}
}
