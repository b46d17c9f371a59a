package builder

import (
	"fmt"
	"strings"

	control "github.com/moby/buildkit/api/services/control"
)

// trace turns BuildKit's progress messages into lines that are only appended:
// each step's name when it begins, its output, and CACHED where nothing ran.
type trace struct {
	out     *output
	steps   map[string]*traceStep // by vertex digest
	current *traceStep            // whose name was printed last
}

type traceStep struct {
	name     string
	hidden   bool
	shown    bool
	finished bool
	buffer   lineBuffer
}

func newTrace(out *output) *trace { return &trace{out: out, steps: map[string]*traceStep{}} }

// decode takes one protobuf message.
func (t *trace) decode(message []byte) error {
	var status control.StatusResponse
	if err := status.UnmarshalVT(message); err != nil {
		return fmt.Errorf("decode build progress: %w", err)
	}
	for _, v := range status.Vertexes {
		t.vertex(v)
	}
	for _, l := range status.Logs {
		if s := t.steps[l.Vertex]; s != nil {
			t.show(s)
			_, _ = s.buffer.Write(l.Msg) // never fails
		}
	}
	for _, w := range status.Warnings {
		t.out.linef("       warning: %s", w.Short)
	}
	return nil
}

func (t *trace) vertex(v *control.Vertex) {
	s := t.steps[v.Digest]
	if s == nil {
		s = &traceStep{name: strings.Join(strings.Fields(v.Name), " "), hidden: internal(v.Name)}
		s.buffer.emit = func(line string) { t.said(s, line) }
		t.steps[v.Digest] = s
	}
	if v.Started != nil && !v.Cached {
		t.show(s)
	}
	if s.finished || v.Completed == nil && !v.Cached {
		return
	}
	s.finished = true
	s.buffer.flush()
	switch {
	case v.Error != "" && !s.hidden:
		t.out.linef("       ERROR %s: %s", s.name, plainBuildError(v.Error))
	case v.Cached && !s.hidden && !s.shown:
		s.shown, t.current = true, s
		t.out.linef("       %s  CACHED", s.name)
	}
}

func (t *trace) show(s *traceStep) {
	if !s.shown && !s.hidden {
		s.shown, t.current = true, s
		t.out.line("       " + s.name)
	}
}

// said writes a line of a step's output. Steps run side by side: where another
// one spoke last, the name comes again.
func (t *trace) said(s *traceStep, line string) {
	if s.hidden && strings.TrimSpace(line) == "" {
		return
	}
	if t.current != s && !s.hidden {
		t.current = s
		t.out.line("       " + s.name)
	}
	t.out.line("         " + line)
}

// finish writes what has no newline yet.
func (t *trace) finish() {
	for _, s := range t.steps {
		s.buffer.flush()
	}
}

// internal reports whether a step is BuildKit's own housekeeping.
func internal(name string) bool {
	return strings.HasPrefix(name, "[internal]") || strings.HasPrefix(name, "exporting ") ||
		strings.HasPrefix(name, "http://buildkit-session") || strings.HasPrefix(name, "upload ") ||
		name == "copy /context /" || strings.HasPrefix(name, "docker-image://")
}

// plainBuildError drops the layers of transport around what went wrong.
func plainBuildError(text string) string {
	for _, prefix := range []string{"failed to solve with frontend dockerfile.v0: ", "failed to solve with frontend gateway.v0: ",
		"failed to solve: ", "failed to build LLB: ", "failed to create LLB definition: ", "rpc error: code = Unknown desc = ",
		"rpc error: code = InvalidArgument desc = ", "rpc error: code = NotFound desc = ", "failed to compute cache key: ",
		"failed to read dockerfile: ", "executor failed "} {
		for strings.HasPrefix(text, prefix) {
			text = strings.TrimPrefix(text, prefix)
		}
	}
	return text
}
