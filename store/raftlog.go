package store

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// repeatAfter is how long a warning of Raft is kept quiet once it was said:
// Raft says some of them at every heartbeat.
const repeatAfter = 10 * time.Second

// raftLog lets hashicorp/raft log through slog. Raft's view of its elections is
// debug output: the store itself says who leads. What Raft calls an error is a
// warning, because Raft tries again by itself.
type raftLog struct {
	logger *slog.Logger
	name   string
	args   []any
	said   *said
}

// said remembers when warnings were last logged.
type said struct {
	mu   sync.Mutex
	last map[string]time.Time // by message: Raft's messages are constants
}

func newRaftLog(logger *slog.Logger) hclog.Logger {
	return &raftLog{logger: logger.With("component", "raft"), said: &said{last: map[string]time.Time{}}}
}

// routine lists warnings that are the normal course of a start, a join or an election:
// two that stand at once, one that was cut off and has fallen behind, one that has
// nothing yet.
var routine = []string{
	"heartbeat timeout reached, starting election",
	"Election timeout reached, restarting election",
	"no known peers, aborting election",
	"skipping application of old log",
	"failed to get previous log",
	"appendEntries rejected, sending older logs",
	"new leader elected, stepping down",
	"duplicate requestVote from",
	"rejecting vote request since we have a leader",
	"rejecting vote request since our last term is greater",
	"rejecting vote request since our last index is greater",
	"rejecting pre-vote request since we have a leader",
	"rejecting pre-vote request since our last term is greater",
	"rejecting pre-vote request since our last index is greater",
}

func (l *raftLog) Log(level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	if level >= hclog.Warn && !slices.Contains(routine, msg) {
		to = slog.LevelWarn
	}
	if !l.logger.Enabled(context.Background(), to) || to == slog.LevelWarn && !l.said.due(msg, time.Now()) {
		return
	}
	l.logger.Log(context.Background(), to, msg, slogArgs(args)...)
}

// due reports whether msg was not said for repeatAfter, and notes that it is now.
func (s *said) due(msg string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.last[msg]; ok && now.Sub(last) < repeatAfter {
		return false
	}
	maps.DeleteFunc(s.last, func(_ string, at time.Time) bool { return now.Sub(at) >= repeatAfter })
	s.last[msg] = now
	return true
}

// slogArgs gives hclog's pairs our keys and resolves its deferred formats.
func slogArgs(args []any) []any {
	out := slices.Clone(args)
	for i := 0; i+1 < len(out); i += 2 {
		if out[i] == "error" {
			out[i] = "err"
		}
		if f, ok := out[i+1].(hclog.Format); ok && len(f) > 0 {
			out[i+1] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	return out
}

func (l *raftLog) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *raftLog) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLog) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLog) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLog) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLog) IsTrace() bool { return false }
func (l *raftLog) IsDebug() bool { return l.logger.Enabled(context.Background(), slog.LevelDebug) }
func (l *raftLog) IsInfo() bool  { return l.IsDebug() }
func (l *raftLog) IsWarn() bool  { return true }
func (l *raftLog) IsError() bool { return true }

func (l *raftLog) ImpliedArgs() []any { return l.args }
func (l *raftLog) Name() string       { return l.name }

func (l *raftLog) With(args ...any) hclog.Logger {
	return &raftLog{logger: l.logger.With(slogArgs(args)...), name: l.name, args: append(slices.Clone(l.args), args...), said: l.said}
}

func (l *raftLog) Named(name string) hclog.Logger      { return l.ResetNamed(name) }
func (l *raftLog) ResetNamed(name string) hclog.Logger { c := *l; c.name = name; return &c }

// SetLevel is slog's business.
func (l *raftLog) SetLevel(hclog.Level)  {}
func (l *raftLog) GetLevel() hclog.Level { return hclog.Debug }

func (l *raftLog) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(l.logger.Handler(), slog.LevelDebug)
}

func (l *raftLog) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	return l.StandardLogger(o).Writer()
}
