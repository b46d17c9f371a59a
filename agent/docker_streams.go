package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	dockercontainer "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"paas/api"
)

// dockerStream is a hijacked connection with what differs between a container
// and a command inside one.
type dockerStream struct {
	conn   types.HijackedResponse
	tty    bool
	resize func(ctx context.Context, o dockercontainer.ResizeOptions) error
	signal func(ctx context.Context, name string) error
	exit   func(ctx context.Context) (int, error)
}

// newStream closes conn when ctx ends: that is how whoever reads it wakes.
func newStream(ctx context.Context, conn types.HijackedResponse, tty bool) *dockerStream {
	context.AfterFunc(ctx, conn.Close)
	return &dockerStream{conn: conn, tty: tty}
}

func (s *dockerStream) Write(p []byte) (int, error) { return s.conn.Conn.Write(p) }
func (s *dockerStream) Close() error                { return s.conn.CloseWrite() }

// Output implements stream.
func (s *dockerStream) Output(stdout, stderr io.Writer) error {
	var err error
	if s.tty {
		_, err = io.Copy(stdout, s.conn.Reader)
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, s.conn.Reader)
	}
	return err
}

func (s *dockerStream) Resize(ctx context.Context, rows, cols uint16) error {
	return engineError(s.resize(ctx, dockercontainer.ResizeOptions{Height: uint(rows), Width: uint(cols)}))
}

func (s *dockerStream) Signal(ctx context.Context, name string) error { return s.signal(ctx, name) }
func (s *dockerStream) Exit(ctx context.Context) (int, error)         { return s.exit(ctx) }

// Attach implements terminals.
func (d *docker) Attach(ctx context.Context, id string, in spec) (stream, error) {
	if _, err := d.inspect(ctx, id); err != nil {
		return nil, err
	}
	conn, err := d.client.ContainerAttach(ctx, id, dockercontainer.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return nil, engineError(err)
	}
	s := newStream(ctx, conn, in.OneOff != nil && in.OneOff.TTY)
	s.resize = func(ctx context.Context, o dockercontainer.ResizeOptions) error {
		return d.client.ContainerResize(ctx, id, o)
	}
	s.signal = func(ctx context.Context, name string) error {
		return engineError(d.client.ContainerKill(ctx, id, "SIG"+name))
	}
	s.exit = func(ctx context.Context) (int, error) {
		done, errs := d.client.ContainerWait(ctx, id, dockercontainer.WaitConditionNotRunning)
		select {
		case r := <-done:
			return int(r.StatusCode), nil
		case err := <-errs:
			return 0, engineError(err)
		}
	}
	return s, nil
}

// Exec implements terminals.
func (d *docker) Exec(ctx context.Context, id string, in api.ExecRequest) (stream, error) {
	if _, err := d.inspect(ctx, id); err != nil {
		return nil, err
	}
	o := dockercontainer.ExecOptions{Tty: in.TTY, AttachStdin: true, AttachStdout: true, AttachStderr: true, Cmd: in.Command}
	if in.TTY {
		o.Env = []string{defaultTerm}
	}
	e, err := d.client.ContainerExecCreate(ctx, id, o)
	if err != nil {
		return nil, engineError(err)
	}
	conn, err := d.client.ContainerExecAttach(ctx, e.ID, dockercontainer.ExecAttachOptions{Tty: in.TTY})
	if err != nil {
		return nil, engineError(err)
	}
	s := newStream(ctx, conn, in.TTY)
	s.resize = func(ctx context.Context, o dockercontainer.ResizeOptions) error {
		return d.client.ContainerExecResize(ctx, e.ID, o)
	}
	s.signal = func(ctx context.Context, name string) error { return d.signalExec(ctx, e.ID, name) }
	s.exit = func(ctx context.Context) (int, error) { return d.execExit(ctx, e.ID) }
	return s, nil
}

// execWait bounds the time from the end of a command's output to its end.
const execWait = 5 * time.Second

// execExit waits for a command's exit code: its output may end a moment before it.
func (d *docker) execExit(ctx context.Context, exec string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, execWait)
	defer cancel()
	for {
		e, err := d.client.ContainerExecInspect(ctx, exec)
		if err != nil {
			return 0, engineError(err)
		}
		if !e.Running {
			return e.ExitCode, nil
		}
		if !pause(ctx, 10*time.Millisecond) {
			return 0, fmt.Errorf("wait for command: %w", ctx.Err())
		}
	}
}

// signals that may be sent to a command.
var signals = map[string]syscall.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT,
	"KILL": syscall.SIGKILL, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "TERM": syscall.SIGTERM}

// signalExec signals a command inside a container. Docker has no call for that,
// so it takes a root agent on the engine's own host: the process ID that the
// engine names is used only if it belongs to that very container.
func (d *docker) signalExec(ctx context.Context, exec, name string) error {
	e, err := d.client.ContainerExecInspect(ctx, exec)
	if err != nil {
		return engineError(err)
	}
	if !e.Running || e.Pid <= 1 {
		return nil
	}
	cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", e.Pid))
	if err != nil || !strings.Contains(string(cgroup), e.ContainerID) {
		return errors.New("the command's process cannot be seen from here")
	}
	return syscall.Kill(e.Pid, signals[name])
}

// Logs implements logSource.
func (d *docker) Logs(ctx context.Context, id string, q logQuery, line func(logEntry) error) error {
	in, err := d.inspect(ctx, id)
	if err != nil {
		return err
	}
	o := dockercontainer.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: q.Follow, Tail: "all"}
	if q.Tail >= 0 {
		o.Tail = fmt.Sprint(q.Tail)
	}
	if !q.Since.IsZero() {
		o.Since = fmt.Sprintf("%d.%09d", q.Since.Unix(), q.Since.Nanosecond())
	}
	body, err := d.client.ContainerLogs(ctx, id, o)
	if cerrdefs.IsNotFound(err) {
		return errNoContainer
	}
	if err != nil {
		return engineError(err)
	}
	defer func() { _ = body.Close() }() // read to its end, or given up
	out, errs := &entryWriter{since: q.Since, line: line}, &entryWriter{since: q.Since, stderr: true, line: line}
	if in.Config.Tty {
		_, err = io.Copy(out, body)
	} else {
		_, err = stdcopy.StdCopy(out, errs, body)
	}
	return engineError(err)
}

// entryWriter gets one whole entry per Write: the engine sends each as a frame
// of its own.
type entryWriter struct {
	since  time.Time
	stderr bool
	line   func(logEntry) error
}

func (w *entryWriter) Write(p []byte) (int, error) {
	e, err := parseLogEntry(string(p), logEntry{Stderr: w.stderr})
	if err != nil {
		return 0, err
	}
	if !e.At.After(w.since) { // the engine's own bound is inclusive
		return len(p), nil
	}
	return len(p), w.line(e)
}
