package server

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestBuildLogIsFollowedByMany(t *testing.T) {
	logs := newBuildLogs(t.TempDir())
	ended := make(chan struct{}) // closed when the build has ended
	over := func() (bool, <-chan struct{}) {
		select {
		case <-ended:
			return true, nil
		default:
			return false, ended
		}
	}
	const readers = 5
	got := make(chan string, readers)
	for range readers { // before the log, while it grows, after it ended: no difference
		go func() {
			var b bytes.Buffer
			if err := logs.follow(t.Context(), "b-1.log", &b, over); err != nil {
				b.WriteString(err.Error())
			}
			got <- b.String()
		}()
	}
	w, err := logs.create("b-1.log")
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, s := range []string{"one\n", strings.Repeat("x", 100_000), "\nlast\n"} {
		if _, err := w.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
		want += s
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	close(ended)
	for range readers {
		if s := <-got; s != want {
			t.Errorf("a reader saw %d bytes, want %d", len(s), len(want))
		}
	}
	if len(logs.live) > 0 {
		t.Errorf("held: %v", logs.live)
	}
	if _, err := logs.create("b-1.log"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second writer: %v", err)
	}
	if lines := logs.lastLines("b-1.log"); lines[len(lines)-1] != "last" {
		t.Errorf("last lines: %q", lines)
	}
}

func TestNestEndsInside(t *testing.T) {
	var order []string
	part := func(name string) layer {
		return layer{name, func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name) // layers end one after the other
			return nil
		}}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := nest(ctx, part("store"), part("loops"), part("front")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, " "); got != "front loops store" {
		t.Errorf("order: %s", got)
	}
	broken := errors.New("disk gone")
	order = nil
	err := nest(t.Context(), part("store"), layer{"loops", func(context.Context) error { return broken }}, part("front"))
	if !errors.Is(err, broken) || strings.Join(order, " ") != "front store" {
		t.Errorf("%v, order %v", err, order)
	}
}
