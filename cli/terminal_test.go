package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"paas/api"
)

// openPTY makes a pseudo terminal.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func resize(t *testing.T, f *os.File, cols, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows}); err != nil {
		t.Fatal(err)
	}
}

// startOn starts the program with slave as its terminal.
func startOn(t *testing.T, slave *os.File, server string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Args[0] = "paas" // the test binary is the program when it is called so
	cmd.Env = append(os.Environ(), "PAAS_SERVER="+server, "PAAS_TOKEN="+fakeToken, "PAAS_HOME="+t.TempDir())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd
}

// TestRunPassesTheTerminalThrough types at a remote command: every key goes
// there, Ctrl-C too, the size follows, and the terminal is as before at the end.
func TestRunPassesTheTerminalThrough(t *testing.T) {
	srv, err := newFake()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	master, slave := openPTY(t)
	resize(t, master, 90, 30)
	before, err := term.GetState(int(slave.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	cmd := startOn(t, slave, srv.URL, "run", "-a", "blog", "sh")
	if err := master.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Logf("no deadlines on this terminal: %v", err)
	}
	r := bufio.NewReader(master)
	expect := func(want string) {
		t.Helper()
		var seen strings.Builder
		for !strings.Contains(seen.String(), want) {
			c, err := r.ReadByte()
			if err != nil {
				t.Fatalf("after %q: %v; want %q", seen.String(), err, want)
			}
			seen.WriteByte(c)
		}
		if want == "ABC" && strings.Contains(seen.String(), "abc") {
			t.Error("the terminal echoes by itself: it is not raw")
		}
	}
	expect("tty 90x30")
	type typing struct{ keys, want string }
	for _, s := range []typing{{"abc", "ABC"}, {"\x03", "\x03"}, {"\x04", "\x04"}} {
		if _, err := master.WriteString(s.keys); err != nil {
			t.Fatal(err)
		}
		expect(s.want)
	}
	resize(t, master, 100, 40)
	expect("resized 100x40")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expect("signal TERM")
	if _, err := master.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its code is looked at below
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("exit code %d, want the command's own, 3", code)
	}
	after, err := term.GetState(int(slave.Fd()))
	if err != nil || *after != *before {
		t.Errorf("the terminal was left changed: %v", err)
	}
}

// What the engine's init says of a command that it cannot start is ours to say.
func TestACommandThatIsNotThereIsToldInOurWords(t *testing.T) {
	for name, c := range map[string]struct{ said, missing, shown string }{
		"a pipe":         {"[FATAL tini (7)] exec nonsense failed: No such file or directory\n", "No such file or directory", ""},
		"a terminal":     {"[FATAL tini (7)] exec nonsense failed: Permission denied\r\n", "Permission denied", ""},
		"something else": {"[FATAL tini (7)] exec is what I print\n", "", "[FATAL tini (7)] exec is what I print\n"},
	} {
		var out bytes.Buffer
		tm := &terminal{out: &out, err: &out}
		if err := tm.Send(t.Context(), api.Frame{Kind: api.FrameStderr, Data: []byte(c.said)}); err != nil || tm.missing != c.missing || out.String() != c.shown {
			t.Errorf("%s: missing %q, shown %q, %v", name, tm.missing, out.String(), err)
		}
	}
	var out bytes.Buffer
	tm := &terminal{out: &out, err: &out}
	for _, said := range []string{"hello\n", "[FATAL tini (7)] exec x failed: No such file\n"} {
		if err := tm.Send(t.Context(), api.Frame{Kind: api.FrameStdout, Data: []byte(said)}); err != nil {
			t.Fatal(err)
		}
	}
	if tm.missing != "" || !strings.Contains(out.String(), "tini") {
		t.Errorf("a program's own words were taken for the init's: %q", out.String())
	}
}
