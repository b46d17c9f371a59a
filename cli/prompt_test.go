package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
)

// TestUnansweredPromptsEndTheirLine: what is said after Ctrl-C or Ctrl-D begins
// a line of its own.
func TestUnansweredPromptsEndTheirLine(t *testing.T) {
	none := func(string) string { return "" }
	var errs bytes.Buffer
	waits, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx   context.Context
		stdin io.Reader
	}{{ctx, waits}, {t.Context(), strings.NewReader("")}} {
		errs.Reset()
		in := &invocation{program: &program{env: none, stdin: c.stdin, out: newOutput(io.Discard, &errs, none)}}
		if answer, _ := in.readLine(c.ctx); answer != "" || errs.String() != "\n" {
			t.Errorf("answer %q, said %q", answer, errs.String())
		}
	}
}
