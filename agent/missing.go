package agent

import (
	"context"
	"fmt"
	"io"
	"strings"

	"paas/api"
)

// What shells end with for commands that are not there, or that may not be run.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// refusedCommand reads what the engine says of a command that it could not start;
// 0 means that this is about something else. The engine has no code for it. Seen:
//
//	OCI runtime exec failed: exec failed: container_linux.go:380: starting container process caused: exec: "nope": executable file not found in $PATH: unknown
//	OCI runtime exec failed: exec failed: … exec: "/nope": stat /nope: no such file or directory: unknown
//	failed to create shim: OCI runtime create failed: … exec: "/etc/passwd": permission denied: unknown
func refusedCommand(said string) (exit int, why string) {
	if !strings.Contains(said, "OCI runtime ") || !strings.Contains(said, "exec: ") {
		return 0, ""
	}
	switch {
	case strings.Contains(said, "executable file not found"), strings.Contains(said, "no such file or directory"):
		return exitNotFound, "not found in the image"
	case strings.Contains(said, "permission denied"):
		return exitNotExecutable, "not executable"
	}
	return 0, ""
}

// tellRefused tells a caller why the command did not start, as a shell would.
func tellRefused(ctx context.Context, t api.Terminal, command []string, exit int, why string) (int, error) {
	text := fmt.Sprintf("paas: %s: command %s\r\n", oneLine(command[0]), why)
	return exit, t.Send(ctx, api.Frame{Kind: api.FrameStderr, Data: []byte(text)})
}

// refusalHead is how an engine begins to say, in a command's own output, that it
// could not start the command.
const refusalHead = "OCI runtime exec failed: "

// watched holds back the engine's words about a command that did not start. All
// other output passes at once, as soon as it cannot be the engine's.
type watched struct {
	stream
	said string
}

// Output implements stream.
func (w *watched) Output(stdout, stderr io.Writer) error {
	first := &heldWriter{w: stdout}
	err := w.stream.Output(first, stderr)
	w.said = string(first.held)
	return err
}

// flush sends what was held back after all.
func (w *watched) flush(ctx context.Context, t api.Terminal) error {
	if w.said == "" {
		return nil
	}
	_, err := (&frameWriter{ctx, t, api.FrameStdout}).Write([]byte(w.said))
	return err
}

type heldWriter struct {
	w      io.Writer
	held   []byte
	passes bool
}

// Write implements io.Writer.
func (h *heldWriter) Write(p []byte) (int, error) {
	if h.passes {
		return h.w.Write(p)
	}
	h.held = append(h.held, p...)
	n := min(len(h.held), len(refusalHead))
	if string(h.held[:n]) == refusalHead[:n] && len(h.held) <= maxFrame {
		return len(p), nil
	}
	held := h.held
	h.held, h.passes = nil, true
	if _, err := h.w.Write(held); err != nil {
		return 0, err
	}
	return len(p), nil
}
