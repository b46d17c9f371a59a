package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"paas/api"
	"paas/cluster"
)

const (
	// defaultLogLines is LogsRequest's default.
	defaultLogLines = 100
	// maxLogText is LogLine's bound on text. The engine cuts longer lines into
	// several of this size.
	maxLogText = 16 << 10
	// nextContainer is how often a follower looks whether a replica that ended was
	// started again.
	nextContainer = 250 * time.Millisecond
)

// Logs sends the asked allocations' last lines in time order, then, with Follow,
// what they print until ctx ends. A replica that restarts is followed into its
// next container; one that is gone for good is followed no more.
func (c *calls) Logs(ctx context.Context, in api.LogsRequest, send func(api.LogLine) error) error {
	if c.runtime.logs == nil {
		return errNoApps
	}
	l := &logReader{calls: c, lines: in.Lines, send: send, last: map[cluster.AllocationID]time.Time{}}
	if l.lines == 0 {
		l.lines = defaultLogLines
	}
	if err := l.backlog(ctx, in.Allocations); err != nil || !in.Follow {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, id := range in.Allocations {
		g.Go(func() error { return l.follow(ctx, id) })
	}
	return g.Wait()
}

// logReader is one Logs call.
type logReader struct {
	calls *calls
	lines int

	mu   sync.Mutex // guards send: one line at a time
	send func(api.LogLine) error

	last map[cluster.AllocationID]time.Time // newest line sent; written by backlog only
}

// backlog sends the last lines of every allocation, merged by time.
func (l *logReader) backlog(ctx context.Context, ids []cluster.AllocationID) error {
	begun := time.Now()
	var all []api.LogLine
	for _, id := range ids {
		l.last[id] = begun
		entries, err := l.recent(ctx, id)
		if err != nil {
			all = append(all, notice(l.instance(id), begun, "the log of this replica cannot be read: "+oneLine(err.Error())))
		}
		for _, e := range entries {
			all = append(all, l.line(id, e))
			l.last[id] = e.At
		}
	}
	slices.SortStableFunc(all, func(x, y api.LogLine) int { return x.At.Compare(y.At) })
	for _, line := range all {
		if err := l.send(line); err != nil {
			return err
		}
	}
	return nil
}

// recent is an allocation's last lines: of containers that are gone, then of the
// one it has.
func (l *logReader) recent(ctx context.Context, id cluster.AllocationID) ([]logEntry, error) {
	if l.lines < 0 {
		return nil, nil
	}
	out := l.calls.archive.get(id)
	var err error
	if c := l.container(id); c != "" && !l.calls.archive.holds(id, c) {
		err = l.calls.runtime.logs.Logs(ctx, c, logQuery{Tail: l.lines}, func(e logEntry) error {
			out = append(out, e)
			return nil
		})
		if errors.Is(err, errNoContainer) {
			err = nil
		}
	}
	return out[max(0, len(out)-l.lines):], err
}

// follow sends what an allocation prints from now on, and says what of it is left
// out because it is more than the follower can take.
func (l *logReader) follow(ctx context.Context, id cluster.AllocationID) error {
	g, ctx := errgroup.WithContext(ctx)
	limit := newLogLimiter()
	g.Go(func() error {
		for p := range limit.queue {
			if err := l.one(l.passage(id, p)); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		defer limit.close()
		return l.listen(ctx, id, limit)
	})
	return g.Wait()
}

// listen reads what an allocation prints from now on, until it is gone or ctx ends.
func (l *logReader) listen(ctx context.Context, id cluster.AllocationID, limit *logLimiter) error {
	last := l.last[id]
	for {
		if c := l.container(id); c != "" {
			_ = l.calls.runtime.logs.Logs(ctx, c, logQuery{Tail: -1, Since: last, Follow: true}, func(e logEntry) error {
				last = e.At
				limit.line(e)
				return ctx.Err()
			}) // an end is an end, whatever its reason: the loop looks for the next container
		}
		o, ok := l.calls.board.get(id)
		if !ok || o.Observation.State.Terminal() || !pause(ctx, nextContainer) {
			return ctx.Err()
		}
	}
}

func (l *logReader) passage(id cluster.AllocationID, p passage) api.LogLine {
	if p.left == 0 {
		return l.line(id, p.logEntry)
	}
	return notice(l.instance(id), p.At, fmt.Sprintf("… %s lines left out: more than can be read, or than %s lines or %d MiB in a second",
		thousands(p.left), thousands(followLines), followBytes>>20))
}

func (l *logReader) one(line api.LogLine) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.send(line)
}

// container is the one that an allocation has now, "" if none.
func (l *logReader) container(id cluster.AllocationID) string {
	o, _ := l.calls.board.get(id)
	return o.Observation.ContainerID
}

// instance is an allocation's name for people.
func (l *logReader) instance(id cluster.AllocationID) string {
	if a, ok := l.calls.assignment(id); ok {
		return a.Instance()
	}
	return string(id)
}

func (l *logReader) line(id cluster.AllocationID, e logEntry) api.LogLine {
	return api.LogLine{At: e.At, Instance: l.instance(id), Source: "app", Stderr: e.Stderr, Text: e.Text}
}

// notice is a line of the platform's own.
func notice(instance string, at time.Time, text string) api.LogLine {
	return api.LogLine{At: at, Instance: instance, Source: "paas", Text: text}
}

// thousands is n with commas: "12,345".
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// parseLogEntry reads what the engine sends of one line: a timestamp, a space
// and the text.
func parseLogEntry(raw string, e logEntry) (logEntry, error) {
	stamp, text, _ := strings.Cut(raw, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return e, fmt.Errorf("read log line: %w", err)
	}
	text = strings.TrimRight(text, "\r\n")
	if len(text) > maxLogText {
		text = text[:maxLogText]
	}
	e.At, e.Text = at, strings.ToValidUTF8(text, "\uFFFD")
	return e, nil
}
