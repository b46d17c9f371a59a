package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"paas/cluster"
)

// maxLogBytes bounds one log on disk; what comes later is dropped, and said so once.
const maxLogBytes = 16 << 20

// buildLogs keeps one append-only file per build and per release command. A file
// has one writer and any number of readers, who may come before it exists.
type buildLogs struct {
	dir  string
	mu   sync.Mutex
	live map[string]*liveLog // logs being written or waited for; guarded by mu
}

// liveLog is what writer and readers of a log share.
type liveLog struct {
	refs  int           // guarded by buildLogs.mu
	mu    sync.Mutex    //
	grown chan struct{} // closed and replaced at every change; guarded by mu
	ended bool          // guarded by mu
}

func newBuildLogs(dir string) *buildLogs { return &buildLogs{dir: dir, live: map[string]*liveLog{}} }

func buildLogName(id cluster.BuildID) string        { return string(id) + ".log" }
func releaseLogName(id cluster.DeploymentID) string { return string(id) + ".release.log" }

func (b *buildLogs) path(name string) string { return filepath.Join(b.dir, name) }

// state returns when to look again, and whether the writer has left.
func (l *liveLog) state() (<-chan struct{}, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.grown, l.ended
}

func (l *liveLog) wake(ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.grown)
	l.grown, l.ended = make(chan struct{}), ended
}

func (b *buildLogs) hold(name string) *liveLog {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.live[name]
	if l == nil {
		l = &liveLog{grown: make(chan struct{})}
		b.live[name] = l
	}
	l.refs++
	return l
}

func (b *buildLogs) release(name string, l *liveLog) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.refs--; l.refs == 0 && b.live[name] == l {
		delete(b.live, name)
	}
}

// create begins a log; its file must not exist, and is durable when create
// returns: it is also the proof that the work was begun.
func (b *buildLogs) create(name string) (*logWriter, error) {
	f, err := os.OpenFile(b.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin log: %w", err)
	}
	if err := syncDir(b.dir); err != nil {
		return nil, errors.Join(fmt.Errorf("begin log: %w", err), f.Close())
	}
	return &logWriter{logs: b, name: name, file: f, live: b.hold(name)}, nil
}

// logWriter appends to a log. It is safe for concurrent use.
type logWriter struct {
	logs *buildLogs
	name string
	live *liveLog
	mu   sync.Mutex
	file *os.File // guarded by mu
	size int      // guarded by mu
	full bool     // guarded by mu
}

// Write appends p. A full or broken log never stops what writes it.
func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.full {
		return len(p), nil
	}
	if w.size += len(p); w.size > maxLogBytes {
		w.full = true
		_, _ = w.file.WriteString("\n !     the log is full, the rest is not kept\n") // best effort: a full disk
	} else {
		_, _ = w.file.Write(p) // a full disk must not fail the build; readers see what is there
	}
	w.live.wake(false)
	return len(p), nil
}

// Close ends the log; readers then come to its end.
func (w *logWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.file.Close()
	w.live.wake(true)
	w.logs.release(w.name, w.live)
	return err
}

// open returns a reader of a log from its beginning. The log need not exist yet.
func (b *buildLogs) open(name string) *logReader {
	return &logReader{logs: b, name: name, live: b.hold(name)}
}

// logReader follows a log. It is not safe for concurrent use.
type logReader struct {
	logs *buildLogs
	name string
	live *liveLog
	file *os.File // nil while there is none
}

// next returns what came since the last call, at most 32 KiB, and a channel that
// is closed when there is more to see; ended reports that nothing more will come
// from the writer that the reader knows.
func (r *logReader) next() (data []byte, grown <-chan struct{}, ended bool, err error) {
	grown, ended = r.live.state() // before reading: what comes after it closes grown
	if r.file == nil {
		f, err := os.Open(r.logs.path(r.name))
		if errors.Is(err, os.ErrNotExist) {
			return nil, grown, ended, nil
		}
		if err != nil {
			return nil, grown, ended, fmt.Errorf("read log: %w", err)
		}
		r.file = f
	}
	buf := make([]byte, 32<<10)
	n, err := r.file.Read(buf)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, grown, ended, fmt.Errorf("read log: %w", err)
	}
	return buf[:n], grown, ended && n == 0, nil
}

// Close gives the reader back.
func (r *logReader) Close() error {
	r.logs.release(r.name, r.live)
	if r.file != nil {
		return r.file.Close()
	}
	return nil
}

// follow copies a log to w until it ends. over reports whether the work that it
// tells of has ended, so that the log is copied as far as it goes, and when to ask
// again.
func (b *buildLogs) follow(ctx context.Context, name string, w io.Writer, over func() (bool, <-chan struct{})) error {
	r := b.open(name)
	defer r.Close()
	for {
		finished, changed := over() // before reading: what was written before it is read
		data, grown, ended, err := r.next()
		if err != nil {
			return err
		}
		if len(data) > 0 {
			if _, err := w.Write(data); err != nil {
				return err
			}
			continue
		}
		if ended || finished {
			return nil
		}
		select {
		case <-grown:
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lastLines returns the end of a log.
func (b *buildLogs) lastLines(name string) []string {
	f, err := os.Open(b.path(name))
	if err != nil {
		return nil // it is evidence at best
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > evidenceBytes {
		_, _ = f.Seek(-evidenceBytes, io.SeekEnd) // else from the beginning, which is right too
	}
	data, err := io.ReadAll(io.LimitReader(f, evidenceBytes))
	if err != nil {
		return nil
	}
	var lines []string
	split := lineWriter{line: func(s string) { lines = append(lines, s) }}
	_, _ = split.Write(data) // cannot fail
	split.flush()
	return tail(lines, evidenceTold, evidenceBytes)
}
