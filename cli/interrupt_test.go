package cli

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// started is the program as a process of its own, with pipes.
type started struct {
	t     *testing.T
	cmd   *exec.Cmd
	ended chan struct{} // closed when it is over
	mu    sync.Mutex
	said  bytes.Buffer // stdout and stderr; guarded by mu
}

func (s *started) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(p)
}

func (s *started) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

func startProgram(t *testing.T, server string, args ...string) *started {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &started{t: t, cmd: exec.Command(exe, args...), ended: make(chan struct{})}
	s.cmd.Args[0] = "paas" // the test binary is the program when it is called so
	s.cmd.Env = append(os.Environ(), "PAAS_SERVER="+server, "PAAS_TOKEN="+fakeToken, "PAAS_HOME="+t.TempDir())
	s.cmd.Stdout, s.cmd.Stderr = s, s
	stdin, err := s.cmd.StdinPipe() // open, and silent
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait() // its code is looked at
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
		_ = stdin.Close()
	})
	return s
}

func (s *started) expect(want string) {
	s.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(s.text(), want) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for %q in:\n%s", want, s.text())
		}
		select {
		case <-s.t.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *started) interrupt() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		s.t.Fatal(err)
	}
}

// interrupted is the end by Ctrl-C, by the program's own doing.
func (s *started) interrupted() {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		s.t.Fatalf("it goes on; it said:\n%s", s.text())
	}
	if code := s.cmd.ProcessState.ExitCode(); code != exitInterrupted {
		s.t.Errorf("exit %d (%s), want %d; it said:\n%s", code, s.cmd.ProcessState, exitInterrupted, s.text())
	}
}

// mute is a server that takes connections and never says anything.
func mute(t *testing.T) (url string, asked <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan struct{}, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			first <- struct{}{}
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return "http://" + l.Addr().String(), first
}

// TestCtrlCEndsTheWaitWithAWord: whoever waits gets the prompt back, and hears what
// goes on without them.
func TestCtrlCEndsTheWaitWithAWord(t *testing.T) {
	srv, err := newFake()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	for _, c := range []struct{ line, begun, says string }{
		{"logs -f -a blog", "listening", "Not followed any more; blog runs on."},
		{"deploy --image migrates -a blog", "Running the release command", "Deployment d-7 of blog goes on"},
		{"config set SLOW=1 -a blog", "context", "Deployment d-slow of blog goes on"},
	} {
		t.Run(strings.Fields(c.line)[0], func(t *testing.T) {
			t.Parallel()
			s := startProgram(t, srv.URL, strings.Fields(c.line)...)
			s.expect(c.begun)
			if c.begun == "context" {
				s.expect("Setting SLOW")
			}
			s.interrupt()
			s.interrupted()
			s.expect(c.says)
		})
	}
}

// TestSecondCtrlCEndsAtOnce: a graceful end that does not come says how to have
// another one. A read of a pipe cannot be cancelled.
func TestSecondCtrlCEndsAtOnce(t *testing.T) {
	srv, err := newFake()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	s := startProgram(t, srv.URL, "config", "set", "KEY=-", "-a", "blog")
	s.expect("app blog (--app)")
	s.interrupt()
	s.expect("Still ending; Ctrl-C again ends it at once.")
	s.interrupt()
	s.interrupted()
}

// TestCtrlCReachesTheCommandAndASecondOneNobody: a one-off command may be deaf to
// it, and its server gone.
func TestCtrlCReachesTheCommandAndASecondOneNobody(t *testing.T) {
	srv, err := newFake()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	s := startProgram(t, srv.URL, "run", "-a", "blog", "sh")
	s.expect("sh\n") // it has begun
	s.interrupt()
	s.expect("signal INT")
	s.expect("once more ends the wait for it")
	s.interrupt()
	s.interrupted()
}

func TestCtrlCBeforeTheCommandBeganEndsTheWait(t *testing.T) {
	url, asked := mute(t)
	await := func() {
		t.Helper()
		select {
		case <-asked:
		case <-time.After(30 * time.Second):
			t.Fatal("the server is not asked")
		}
	}
	s := startProgram(t, url, "run", "-a", "blog", "echo", "two words")
	await()
	s.interrupt()
	s.interrupted()
	s.expect("Interrupted before the command began")
	s.expect("paas run -a blog echo 'two words'")

	master, slave := openPTY(t)
	cmd := startOn(t, slave, url, "run", "-a", "blog", "sh")
	await()
	if _, err := master.Write([]byte{keyCtrlC}); err != nil {
		t.Fatal(err)
	}
	go func() { // somebody has to read what it says
		buf := make([]byte, 4096)
		for {
			if _, err := master.Read(buf); err != nil {
				return
			}
		}
	}()
	_ = cmd.Wait() // its code is looked at
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("on a terminal: exit %d, want %d", code, exitInterrupted)
	}
}
