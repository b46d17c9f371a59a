package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"paas/cluster"
)

// console is a caller's terminal in memory: input from in, output to out.
type console struct {
	in  chan Frame // closed: the caller went away
	out bytes.Buffer
	err bytes.Buffer
}

func (c *console) Recv(ctx context.Context) (Frame, error) {
	select {
	case f, ok := <-c.in:
		if !ok {
			return Frame{}, io.EOF
		}
		return f, nil
	case <-ctx.Done():
		return Frame{}, ctx.Err()
	}
}

func (c *console) Send(_ context.Context, f Frame) error {
	if f.Kind == FrameStderr {
		c.err.Write(f.Data)
	} else {
		c.out.Write(f.Data)
	}
	return nil
}

// echoCommand copies input to output until its end, and then exits with 7.
func echoCommand(ctx context.Context, t Terminal) (int, error) {
	for {
		f, err := t.Recv(ctx)
		switch {
		case err != nil:
			return 0, err
		case f.Kind == FrameEOF:
			return 7, t.Send(ctx, Frame{Kind: FrameStderr, Data: []byte("bye")})
		case f.Kind == FrameStdin:
			if err := t.Send(ctx, Frame{Kind: FrameStdout, Data: f.Data}); err != nil {
				return 0, err
			}
		}
	}
}

func TestRunPassesStreamsAndExitCode(t *testing.T) {
	s := newServer(t)
	var got RunRequest
	s.fake.run = func(ctx context.Context, in RunRequest, t Terminal) (int, error) {
		got = in
		return echoCommand(ctx, t)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 3*maxFrameData/16) // more than a frame holds
	term := &console{in: make(chan Frame, 3)}
	term.in <- Frame{Kind: FrameResize, Rows: 24, Cols: 80}
	term.in <- Frame{Kind: FrameStdin, Data: big}
	term.in <- Frame{Kind: FrameEOF}
	code, err := s.client(t, "blog").Run(context.Background(), RunRequest{App: "blog", Command: []string{"sh", "-c", "x"}, TTY: true,
		Env: map[string]cluster.Redacted{"A": planted}, Assignment: &Assignment{App: "shop"}}, term)
	if err != nil || code != 7 || !bytes.Equal(term.out.Bytes(), big) || term.err.String() != "bye" {
		t.Errorf("got %d, %v, %d bytes, %q", code, err, term.out.Len(), term.err.String())
	}
	if got.App != "blog" || got.Command[2] != "x" || !got.TTY || got.Env["A"].Reveal() != planted || got.Assignment != nil {
		t.Errorf("the service got %+v, want the request without an assignment", got)
	}
}

func TestExecIsHeldToTheAuthorisedApp(t *testing.T) {
	s := newServer(t)
	var got ExecRequest
	s.fake.exec = func(_ context.Context, in ExecRequest, _ Terminal) (int, error) {
		got = in
		return 0, nil
	}
	c := s.client(t, "blog")
	code, err := c.attach(context.Background(), appPath("blog", "exec"), ExecRequest{App: "shop", Instance: "web.1", Allocation: "a-1"}, &console{})
	if err != nil || code != 0 || got.App != "blog" || got.Allocation != "" || got.Instance != "web.1" {
		t.Errorf("got %+v, %d, %v", got, code, err)
	}
	if _, err := c.Exec(context.Background(), ExecRequest{App: "shop"}, &console{}); cluster.KindOf(err) != cluster.KindForbidden {
		t.Errorf("another app: got %v, want forbidden", err)
	}
}

func TestTerminalErrorsCrossTheWire(t *testing.T) {
	s := newServer(t)
	for _, want := range []error{
		cluster.Errorf(cluster.KindUnplaceable, "memory", "no node fits").Because("too big").WithHint("paas nodes"),
		errors.New("secret-path"),
	} {
		s.fake.run = func(context.Context, RunRequest, Terminal) (int, error) { return 0, want }
		_, err := s.client(t, "deploy").Run(context.Background(), RunRequest{App: "blog"}, &console{})
		if cluster.KindOf(err) != cluster.KindOf(want) || strings.Contains(err.Error(), "secret-path") {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	s.log.await(t, "secret-path")
}

func TestLeavingEndsTheCommand(t *testing.T) {
	s := newServer(t)
	running, ended := make(chan struct{}, 1), make(chan error, 1)
	s.fake.run = func(ctx context.Context, _ RunRequest, _ Terminal) (int, error) {
		running <- struct{}{}
		<-ctx.Done() // reads no input at all
		ended <- ctx.Err()
		return 0, ctx.Err()
	}
	for name, leave := range map[string]func(cancel func(), term *console){
		"ctx":      func(cancel func(), _ *console) { cancel() },
		"terminal": func(_ func(), term *console) { close(term.in) },
	} {
		ctx, cancel := context.WithCancel(context.Background())
		term := &console{in: make(chan Frame)}
		done := make(chan error, 1)
		go func() {
			_, err := s.client(t, "deploy").Run(ctx, RunRequest{App: "blog"}, term)
			done <- err
		}()
		await(t, name+": the command", running)
		leave(cancel, term)
		if err := await(t, name+": the caller", done); !errors.Is(err, context.Canceled) && !errors.Is(err, io.EOF) {
			t.Errorf("%s: the caller got %v", name, err)
		}
		if err := await(t, name+": the command's end", ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the command got %v", name, err)
		}
		cancel()
	}
}

func TestExitArrivesWhileInputIsStillSent(t *testing.T) {
	s := newServer(t)
	s.fake.run = func(context.Context, RunRequest, Terminal) (int, error) { return 3, nil }
	for range 20 {
		term := &console{in: make(chan Frame, 100)}
		for range cap(term.in) {
			term.in <- Frame{Kind: FrameStdin, Data: make([]byte, maxFrameData)}
		}
		if code, err := s.client(t, "deploy").Run(context.Background(), RunRequest{App: "blog"}, term); err != nil || code != 3 {
			t.Fatalf("got %d, %v, want 3", code, err)
		}
	}
}

func TestTerminalsRefuseWhatIsNoRequest(t *testing.T) {
	s := newServer(t)
	s.fake.run = func(context.Context, RunRequest, Terminal) (int, error) { t.Error("the command ran"); return 0, nil }
	if res, _ := s.ask(t, "GET", "/v1/apps/blog/run", "admin", "", ""); res.StatusCode != 426 {
		t.Errorf("plain GET: got %d, want 426", res.StatusCode)
	}
	c := s.client(t, "admin")
	for name, send := range map[string]struct {
		kind websocket.MessageType
		body string
	}{"text": {websocket.MessageText, "{}"}, "garbage": {websocket.MessageBinary, "\xff\xff"}, "too long": {websocket.MessageBinary, strings.Repeat("x", maxRequestFrame+1)}} {
		h := make(map[string][]string)
		c.identify(h)
		conn, _, err := websocket.Dial(t.Context(), c.base.String()+"/v1/apps/blog/run", &websocket.DialOptions{HTTPClient: c.upgrade, HTTPHeader: h})
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Write(t.Context(), send.kind, []byte(send.body))
		if _, _, err := conn.Read(t.Context()); err == nil {
			t.Errorf("%s: got an answer, want the end", name)
		}
		_ = conn.CloseNow()
	}
}

// deafWire is a wire whose other side reads no pings.
type deafWire struct{ *streamWire }

func (deafWire) ping(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// pagedConsole is a caller who has yet to read the first page.
type pagedConsole struct{ console }

func (c *pagedConsole) Send(context.Context, Frame) error {
	time.Sleep(10 * time.Minute) // fake time
	return nil
}

func TestSlowReadersKeepTheirCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() {
			defer theirs.Close()
			say := func(err error) *cluster.Error { return cluster.Errorf(cluster.KindInternal, "", "%s", err) }
			_ = serveTerminal(t.Context(), deafWire{&streamWire{conn: theirs}}, say, func(ctx context.Context, term Terminal) (int, error) {
				if err := term.Send(ctx, Frame{Kind: FrameStdout, Data: []byte("page 1")}); err != nil {
					return 0, err
				}
				select {
				case <-time.After(5 * time.Minute):
					return 7, nil
				case <-ctx.Done():
					return 0, errors.New("the command was cut off")
				}
			})
		}()
		code, err := relayTerminal(t.Context(), &streamWire{conn: ours}, &pagedConsole{console{in: make(chan Frame)}})
		if err != nil || code != 7 {
			t.Errorf("got %d, %v, want the command's own 7", code, err)
		}
	})
}

// beatingWire is a caller that reads for a while after the last frame, or is silent.
type beatingWire struct{ beats int }

func (b *beatingWire) read(ctx context.Context, v any) error {
	if b.beats--; b.beats < 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	time.Sleep(terminalBeat) // fake time
	*v.(*Frame) = Frame{}
	return nil
}

func (b *beatingWire) write(context.Context, any) error { return nil }

func TestTheLastFrameIsLeftToSlowReaders(t *testing.T) {
	for beats, want := range map[int]time.Duration{0: terminalLinger, 12: 12*terminalBeat + terminalLinger} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			_ = serveTerminal(t.Context(), &beatingWire{beats: beats}, nil, func(context.Context, Terminal) (int, error) { return 0, nil })
			if took := time.Since(begun); took != want {
				t.Errorf("%d beats: hung up after %s, want %s", beats, took, want)
			}
		})
	}
}
