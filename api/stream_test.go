package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/cluster"
)

func TestDeployStreamsProgressWhileItHappens(t *testing.T) {
	s := newServer(t)
	next := make(chan struct{})
	s.fake.deploy = func(_ context.Context, in DeploySource, report func(Progress)) (*DeployResult, error) {
		report(Progress{Kind: ProgressStep, Text: "Receiving"})
		body, err := io.ReadAll(in.Archive)
		report(Progress{Kind: ProgressLine, Text: fmt.Sprintf("%s %s %s", body, in.Commit, in.Description)})
		<-next
		report(Progress{Kind: ProgressDone, Text: "Released v4", Phase: map[string]int64{"build": 12}})
		return &DeployResult{App: "blog", Release: 4}, err
	}
	seen := make(chan Progress, 10)
	done := make(chan error, 1)
	var got *DeployResult
	go func() {
		var err error
		got, err = s.client(t, "deploy").DeploySource(context.Background(), "blog",
			DeploySource{Archive: strings.NewReader("tar"), Commit: "4f2c9e1", Description: "zwölf\n% monkeys"}, func(p Progress) { seen <- p })
		done <- err
	}()
	if p := await(t, "the step", seen); p.Kind != ProgressStep || p.At.IsZero() {
		t.Errorf("got %+v", p)
	}
	if p := await(t, "the line", seen); p.Text != "tar 4f2c9e1 zwölf\n% monkeys" {
		t.Errorf("got %q", p.Text)
	}
	close(next)
	if err := await(t, "the end", done); err != nil || got.Release != 4 {
		t.Errorf("got %+v, %v", got, err)
	}
	last := await(t, "the last word", seen)
	if last.Kind != ProgressDone || last.Text != "Released v4" || last.Result.Release != 4 || last.Phase["build"] != 12 || len(seen) != 0 {
		t.Errorf("last word: got %+v and %d more", last, len(seen))
	}
}

func TestStreamsEndWithTheirError(t *testing.T) {
	want := &cluster.Error{Kind: cluster.KindRolloutFailed, Code: "rollout.crashed", Message: "release v4 was reverted", Reason: "web.1 exited with code 1", Hint: "paas logs"}
	s := newServer(t)
	for _, early := range []bool{true, false} {
		s.fake.deploy = func(_ context.Context, in DeploySource, report func(Progress)) (*DeployResult, error) {
			if !early {
				report(Progress{Kind: ProgressStep, Text: "Building"})
				report(Progress{Kind: ProgressFailed, Log: []string{"boom"}})
			}
			return nil, want
		}
		var last Progress
		_, err := s.client(t, "deploy").DeploySource(context.Background(), "blog", DeploySource{Archive: strings.NewReader("")}, func(p Progress) { last = p })
		var got *cluster.Error
		if !errors.As(err, &got) {
			t.Fatalf("early %v: got %v", early, err)
		}
		got.Err = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("early %v: -want +got\n%s", early, diff)
		}
		if !early && (last.Kind != ProgressFailed || last.Log[0] != "boom" || last.Error == nil) {
			t.Errorf("last word: got %+v", last)
		}
	}
	s.fake.logs = func(_ context.Context, _ LogsRequest, send func(LogLine) error) error {
		return errors.Join(send(LogLine{Text: "one"}), errors.New("secret-path"))
	}
	lines := 0
	err := s.client(t, "deploy").Logs(context.Background(), LogsRequest{App: "blog"}, func(LogLine) error { lines++; return nil })
	if cluster.KindOf(err) != cluster.KindInternal || lines != 1 || strings.Contains(fmt.Sprint(err), "secret-path") {
		t.Errorf("got %d lines and %v, want one and an internal error", lines, err)
	}
	s.log.await(t, "secret-path")
}

// Bytes without a form of their own cannot carry an error: a broken connection
// must tell that what came is not the whole.
func TestHalfABackupIsAnError(t *testing.T) {
	s := newServer(t)
	s.fake.err = errors.New("disk gone")
	var got bytes.Buffer
	err := s.client(t, "admin").Backup(context.Background(), "pass", &got)
	if cluster.KindOf(err) != cluster.KindUnavailable || got.String() != "backup with pass" {
		t.Errorf("got %q and %v, want half of it and an error", got.String(), err)
	}
	s.fake.err = nil
	got.Reset()
	if err := s.client(t, "admin").Backup(context.Background(), "pass", &got); err != nil || got.String() != "backup with pass" {
		t.Errorf("got %q and %v", got.String(), err)
	}
}

func TestLogsRequestIsTheServersToFill(t *testing.T) {
	s := newServer(t)
	var got LogsRequest
	s.fake.logs = func(_ context.Context, in LogsRequest, _ func(LogLine) error) error { got = in; return nil }
	in := LogsRequest{App: "blog", Type: "web", Instance: "web.1", Lines: 7, Follow: true, Allocations: []cluster.AllocationID{"a-1"}}
	if err := s.client(t, "deploy").Logs(context.Background(), in, nil); err != nil {
		t.Fatal(err)
	}
	in.Allocations = nil
	if diff := cmp.Diff(in, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestDisconnectEndsTheWork(t *testing.T) {
	s := newServer(t)
	ended := make(chan error, 1)
	s.fake.logs = func(ctx context.Context, _ LogsRequest, send func(LogLine) error) error {
		_ = send(LogLine{Text: "first"})
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	s.fake.deploy = func(ctx context.Context, in DeploySource, report func(Progress)) (*DeployResult, error) {
		_, _ = io.Copy(io.Discard, in.Archive)
		report(Progress{Kind: ProgressStep, Text: "Building"})
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}
	for name, follow := range map[string]func(context.Context, func()) error{
		"logs": func(ctx context.Context, leave func()) error {
			return s.client(t, "deploy").Logs(ctx, LogsRequest{App: "blog", Follow: true}, func(LogLine) error { leave(); return nil })
		},
		"deploy": func(ctx context.Context, leave func()) error {
			_, err := s.client(t, "deploy").DeploySource(ctx, "blog", DeploySource{Archive: strings.NewReader("x")}, func(Progress) { leave() })
			return err
		},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		if err := follow(ctx, cancel); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the client got %v", name, err)
		}
		if err := await(t, name+" to end", ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the service got %v", name, err)
		}
	}
	sendErr := errors.New("the terminal is gone")
	s.fake.logs = func(ctx context.Context, _ LogsRequest, send func(LogLine) error) error {
		for ctx.Err() == nil {
			_ = send(LogLine{Text: "again"})
		}
		ended <- ctx.Err()
		return ctx.Err()
	}
	if err := s.client(t, "deploy").Logs(context.Background(), LogsRequest{App: "blog"}, func(LogLine) error { return sendErr }); err != sendErr {
		t.Errorf("got %v, want the receiver's own error", err)
	}
	await(t, "the service to notice", ended)
}

// events serves a history, cutting the connection after every few events.
func cuttingEvents(history []cluster.Event, piece int) func(context.Context, uint64, func(cluster.Event) error) error {
	return func(ctx context.Context, since uint64, send func(cluster.Event) error) error {
		sent := 0
		for _, e := range history {
			if e.Index <= since {
				continue
			}
			if sent == piece {
				panic(http.ErrAbortHandler)
			}
			sent++
			if err := send(e); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

func TestFollowEventsResumesExactly(t *testing.T) {
	s := newServer(t)
	var history []cluster.Event
	for i := range 12 {
		history = append(history, cluster.Event{Index: uint64(5 + i/3), Text: fmt.Sprint("event ", i)}) // three of each index
	}
	s.fake.follow = cuttingEvents(history, 4)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var got []cluster.Event
	err := s.client(t, "read").FollowEvents(ctx, "", 2, func(e cluster.Event) error {
		if got = append(got, e); len(got) == len(history) {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(history, got); diff != "" {
		t.Errorf("events were lost or doubled: -want +got\n%s", diff)
	}
}

func TestFollowEventsGivesUpOnRefusal(t *testing.T) {
	s := newServer(t)
	if err := s.client(t, "shop").FollowEvents(context.Background(), "blog", 0, nil); cluster.KindOf(err) != cluster.KindForbidden {
		t.Errorf("another app's events: got %v", err)
	}
	s.fake.follow = func(ctx context.Context, _ uint64, send func(cluster.Event) error) error {
		_ = send(cluster.Event{Index: 1})
		return cluster.Errorf(cluster.KindForbidden, "token", "the token was revoked")
	}
	err := s.client(t, "read").FollowEvents(context.Background(), "", 0, func(cluster.Event) error { return nil })
	if cluster.KindOf(err) != cluster.KindForbidden || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("got %v, want the stream's own error", err)
	}
}

func TestEventStreamIsPlainSSE(t *testing.T) {
	s := newServer(t)
	s.fake.follow = func(_ context.Context, since uint64, send func(cluster.Event) error) error {
		return send(cluster.Event{Index: since + 1, Action: "app.created"})
	}
	res, body := s.ask(t, "GET", "/v1/events/stream?since=3", "read", "", "", func(r *http.Request) { r.Header.Set("Last-Event-ID", "41") })
	want := "id: 42\ndata: {\"index\":42,"
	if res.Header.Get("Content-Type") != "text/event-stream" || !strings.HasPrefix(body, want) || !strings.HasSuffix(body, "}\n\n") {
		t.Errorf("got %s %q, want %q…", res.Header.Get("Content-Type"), body, want)
	}
}

// pipeListener is a listener of in-memory connections, for fake time.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestQuietStreamsBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{follow: func(ctx context.Context, _ uint64, _ func(cluster.Event) error) error { <-ctx.Done(); return nil }}
		f.logs = func(ctx context.Context, _ LogsRequest, _ func(LogLine) error) error { <-ctx.Done(); return nil }
		h, _, err := NewHandler(HandlerConfig{Services: servicesOf(f), Authenticate: testAuthenticate, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		l := newPipeListener()
		srv := &http.Server{Handler: h}
		go srv.Serve(l)
		defer srv.Close()
		for path, want := range map[string]string{"/v1/events/stream": ": heartbeat\n\n", "/v1/apps/blog/logs": "\n"} {
			conn, err := l.dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			go fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer admin\r\n\r\n", path)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("%s: got %v, %v", path, res, err)
			}
			if d := time.Since(began); d > streamGrace {
				t.Errorf("%s: the header took %s", path, d)
			}
			got := make([]byte, len(want))
			for range 3 {
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
					t.Fatalf("%s: got %q, %v, want %q", path, got, err, want)
				}
			}
			if d := time.Since(began); d != 3*streamHeartbeat {
				t.Errorf("%s: three heartbeats took %s", path, d)
			}
			_ = conn.Close()
		}
	})
}

// A client that leaves its stream unread must not hold up the work for ever.
func TestStalledReadersAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		f := &fake{}
		f.logs = func(ctx context.Context, _ LogsRequest, send func(LogLine) error) error {
			began := time.Now()
			for send(LogLine{Text: strings.Repeat("x", 4096)}) == nil {
			}
			ended <- time.Since(began)
			return ctx.Err()
		}
		h, _, err := NewHandler(HandlerConfig{Services: servicesOf(f), Authenticate: testAuthenticate, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		l := newPipeListener()
		srv := &http.Server{Handler: h}
		go srv.Serve(l)
		defer srv.Close()
		conn, err := l.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go fmt.Fprintf(conn, "GET /v1/apps/blog/logs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer admin\r\n\r\n")
		if d := <-ended; d > streamStall+time.Second {
			t.Errorf("cut off after %s, want %s", d, streamStall)
		}
	})
}

func TestPanicsBecomeInternalErrors(t *testing.T) {
	s := newServer(t)
	s.fake.logs = func(context.Context, LogsRequest, func(LogLine) error) error { panic("secret-path") }
	err := s.client(t, "deploy").Logs(context.Background(), LogsRequest{App: "blog"}, nil)
	if cluster.KindOf(err) != cluster.KindInternal || strings.Contains(fmt.Sprint(err), "secret-path") {
		t.Errorf("got %v", err)
	}
	s.log.await(t, "secret-path")
}
