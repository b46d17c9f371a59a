package builder

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	control "github.com/moby/buildkit/api/services/control"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestOutputIsCleanAndBounded(t *testing.T) {
	var b bytes.Buffer
	o := newOutput(&b, 60)
	o.line("\x1b[31mred\x1b[0m \x1b]0;title\x07and\x00 \x9bplain\u202f")
	o.line("10%\r50%\r100%\r\n")
	o.line("tab\tstays \xff")
	want := "red and plain\u202f\n100%\ntab\tstays \ufffd\n"
	if b.String() != strings.ReplaceAll(want, "and plain", "and \ufffdplain") {
		t.Errorf("%q", b.String())
	}
	for range 10 {
		o.line("0123456789")
	}
	if n := strings.Count(b.String(), "log is full"); n != 1 || strings.Count(b.String(), "0123456789") > 2 {
		t.Errorf("%q", b.String())
	}
}

func TestLineBuffer(t *testing.T) {
	var got []string
	l := lineBuffer{emit: func(s string) { got = append(got, s) }}
	for _, s := range []string{"a", "b\nc", "\n\n", "d"} {
		if _, err := l.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	l.flush()
	l.flush()
	if strings.Join(got, "|") != "ab|c||d" {
		t.Errorf("%q", got)
	}
}

func TestTrace(t *testing.T) {
	var b bytes.Buffer
	tr := newTrace(newOutput(&b, 1<<20))
	now := timestamppb.Now()
	send := func(s *control.StatusResponse) {
		t.Helper()
		data, err := s.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.decode(data); err != nil {
			t.Fatal(err)
		}
	}
	send(&control.StatusResponse{Vertexes: []*control.Vertex{
		{Digest: "i", Name: "[internal] load metadata", Started: now},
		{Digest: "1", Name: "[1/3] FROM x", Cached: true, Completed: now},
		{Digest: "2", Name: "[2/3] RUN  make \\\n all", Started: now},
		{Digest: "3", Name: "[3/3] RUN test", Started: now},
	}})
	send(&control.StatusResponse{Logs: []*control.VertexLog{
		{Vertex: "2", Msg: []byte("one\ntw")}, {Vertex: "3", Msg: []byte("other\n")}, {Vertex: "2", Msg: []byte("o\n")}, {Vertex: "unknown", Msg: []byte("x\n")},
	}})
	send(&control.StatusResponse{Vertexes: []*control.Vertex{
		{Digest: "3", Name: "[3/3] RUN test", Started: now, Completed: now, Error: "executor failed running [/bin/sh -c test]: exit code: 1"},
	}, Logs: []*control.VertexLog{{Vertex: "2", Msg: []byte("no newline")}}})
	tr.finish()
	golden(t, "trace.golden", b.String())
	if err := tr.decode([]byte{0xff}); err == nil {
		t.Error("garbage was decoded")
	}
}

func TestReadMessages(t *testing.T) {
	var streams []string
	err := readMessages(strings.NewReader(`{"stream":"a"}{"stream":"b"}{"error":"it broke","errorDetail":{"message":"it really broke"}}`), func(m message) error {
		streams = append(streams, m.Stream)
		return nil
	})
	var ended *engineError
	if !errors.As(err, &ended) || ended.text != "it really broke" || strings.Join(streams, "") != "ab" {
		t.Errorf("%v %v", err, streams)
	}
	if err := readMessages(strings.NewReader(`{"stream":`), func(message) error { return nil }); err == nil || errors.As(err, &ended) {
		t.Errorf("a cut stream: %v", err)
	}
	if _, err := decodeAux(json.RawMessage(`"%%"`)); err == nil {
		t.Error("garbage was decoded")
	}
}
