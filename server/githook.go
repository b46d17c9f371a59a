package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"paas/api"
)

// The hook and the server speak JSON lines over a unix socket: one hookRequest,
// then hookReplies until one of them has an Exit code. Either side's end of the
// connection ends the push.
const (
	envSocket = "PAAS_HOOK_SOCKET"
	envPush   = "PAAS_HOOK_PUSH"
	// maxHookRefs bounds the refs of one push, maxRefName one of their names.
	maxHookRefs = 10_000
	maxRefName  = 4096
	hookGreets  = 10 * time.Second
	// maxSocketPath is sun_path of unix(7), less its end.
	maxSocketPath = 107
)

type hookRequest struct {
	Push       string      `json:"push"`
	Updates    []refUpdate `json:"updates"`
	Quarantine string      `json:"quarantine"`
	Objects    string      `json:"objects"`
	Alternates string      `json:"alternates"`
}

type hookReply struct {
	Text string `json:"text,omitempty"`
	Exit *int   `json:"exit,omitempty"`
}

// GitHook is `paas git-hook pre-receive`, which git also calls by the name of the
// hook alone: it tells the server of a push what git is about to accept, copies
// the answer to stdout, and returns the exit code: 1 refuses the push.
func GitHook(args []string, stdin io.Reader, stdout io.Writer) int {
	if len(args) == 0 || filepath.Base(args[0]) != "pre-receive" {
		_, _ = fmt.Fprintln(stdout, " !     this git hook is not known") // git shows it
		return 1
	}
	code, err := runHook(stdin, stdout)
	if err != nil {
		_, _ = fmt.Fprintf(stdout, " !     the push was not deployed: %s\n", plain(err.Error()))
		return 1
	}
	return code
}

func runHook(stdin io.Reader, stdout io.Writer) (int, error) {
	socket := os.Getenv(envSocket)
	if socket == "" {
		return 1, errors.New("this repository is pushed to through paas only")
	}
	updates, err := readUpdates(stdin)
	if err != nil {
		return 1, err
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return 1, errors.New("the server does not answer")
	}
	defer conn.Close()
	err = json.NewEncoder(conn).Encode(hookRequest{Push: os.Getenv(envPush), Updates: updates,
		Quarantine: os.Getenv("GIT_QUARANTINE_PATH"), Objects: os.Getenv("GIT_OBJECT_DIRECTORY"),
		Alternates: os.Getenv("GIT_ALTERNATE_OBJECT_DIRECTORIES")})
	if err != nil {
		return 1, errors.New("the server went away")
	}
	replies := json.NewDecoder(conn)
	for {
		var r hookReply
		if err := replies.Decode(&r); err != nil {
			return 1, errors.New("the server went away")
		}
		if r.Exit != nil {
			return *r.Exit, nil
		}
		if _, err := io.WriteString(stdout, r.Text); err != nil {
			return 1, err
		}
	}
}

// readUpdates reads git's lines "OLD NEW REF".
func readUpdates(r io.Reader) ([]refUpdate, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxRefName+256)
	var out []refUpdate
	for lines.Scan() {
		part := strings.SplitN(lines.Text(), " ", 3)
		if len(part) != 3 || len(out) == maxHookRefs {
			return nil, errors.New("the push has too many refs, or one that cannot be read")
		}
		out = append(out, refUpdate{Old: part[0], New: part[1], Name: part[2]})
	}
	return out, lines.Err()
}

// hookServer answers the hooks of this server's git children.
type hookServer struct {
	git    *gitServer
	listen *net.UnixListener
	remove string // directory to remove at the end; "" if the socket lies in the data directory
}

// listenHooks makes the socket, for the owner only.
func listenHooks(l layout) (listener *net.UnixListener, path, remove string, err error) {
	path = l.socket()
	if len(path) > maxSocketPath { // the kernel's limit; the data directory's depth is the operator's
		if remove, err = os.MkdirTemp("", "paas-"); err != nil { // 0700
			return nil, "", "", fmt.Errorf("make hook socket: %w", err)
		}
		path = filepath.Join(remove, "hook.sock")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", "", fmt.Errorf("remove old hook socket: %w", err)
	}
	listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, "", "", fmt.Errorf("make hook socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, "", "", errors.Join(fmt.Errorf("protect hook socket: %w", err), listener.Close())
	}
	return listener, path, remove, nil
}

// Run answers hooks until ctx ends. The pushes that they belong to are requests
// of the API, which end before this does.
func (h *hookServer) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	var conns sync.WaitGroup
	g.Go(func() error {
		<-ctx.Done()
		return h.Close()
	})
	g.Go(func() error {
		defer conns.Wait()
		for {
			conn, err := h.listen.Accept()
			if ctx.Err() != nil {
				if err == nil {
					_ = conn.Close() // too late; its push is over
				}
				return nil
			}
			if err != nil { // out of file descriptors: the hook refuses its push
				h.git.log.Warn("git hook was not accepted", "err", err)
				_ = pause(ctx, 100*time.Millisecond) // the next Accept sees the end
				continue
			}
			conns.Go(func() { h.answer(ctx, conn) })
		}
	})
	return g.Wait()
}

// Close removes the socket.
func (h *hookServer) Close() error {
	err := h.listen.Close()
	if h.remove != "" {
		err = errors.Join(err, os.RemoveAll(h.remove))
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// answer serves one hook. The push ends with the hook, and when its pusher hangs
// up before there is a release.
func (h *hookServer) answer(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // frees the reads and writes below
	defer stop()
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(hookGreets)) // unix sockets have deadlines
	req, err := readRequest(conn)
	if err != nil {
		return
	}
	p, done := h.git.expected(req.Push)
	if p == nil {
		h.git.log.Warn("git hook of an unknown push was refused")
		return
	}
	defer done()
	_ = conn.SetReadDeadline(time.Time{})
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() { // the hook says nothing more: its silence ends when it does
		_, _ = conn.Read(make([]byte, 1))
		cancel()
	})
	watch.Go(func() {
		select {
		case <-p.gone:
			cancel()
		case <-ctx.Done():
		}
	})
	h.reply(api.WithActor(ctx, p.actor), p, req, json.NewEncoder(conn), cancel)
	_ = conn.Close() // ends the reader
}

// readRequest reads what a hook says, which is one line, to its end: a decoder is
// content without the line feed, which would then be the first sign that it hung up.
func readRequest(conn io.Reader) (req hookRequest, err error) {
	line, err := bufio.NewReader(io.LimitReader(conn, maxHookRefs*(maxRefName+256))).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &req)
	}
	return req, err
}

// reply streams what happens, and the exit code at the end.
func (h *hookServer) reply(ctx context.Context, p *push, req hookRequest, out *json.Encoder, gone func()) {
	code := 0
	news := api.NewPlainNews(hookWriter{out, gone})
	p.ask(req.Updates)
	err := h.git.handle(ctx, p, req, news.Show)
	if err == nil {
		p.accept(req.Updates)
	}
	news.Close()
	if err != nil {
		code = 1
	}
	_ = out.Encode(hookReply{Exit: &code}) // without it the hook refuses the push
}

// hookWriter sends text to a hook, and tells when there is none any more.
type hookWriter struct {
	out  *json.Encoder
	gone func()
}

// Write implements io.Writer; it cannot fail.
func (w hookWriter) Write(text []byte) (int, error) {
	if w.out.Encode(hookReply{Text: string(text)}) != nil {
		w.gone()
	}
	return len(text), nil
}
