package router

import (
	"context"
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// zapCore sends certmagic's log to slog. What it tells of normal work is detail
// to us; its errors are warnings, because this package or certmagic tries again.
type zapCore struct {
	handler slog.Handler
	fields  []zapcore.Field
}

var _ zapcore.Core = zapCore{}

func slogLevel(l zapcore.Level) slog.Level {
	if l >= zapcore.WarnLevel {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// Enabled is asked before a line is built.
func (c zapCore) Enabled(l zapcore.Level) bool {
	return l > zapcore.DebugLevel && c.handler.Enabled(context.Background(), slogLevel(l))
}

// With returns a core that adds fields to every line.
func (c zapCore) With(fields []zapcore.Field) zapcore.Core {
	return zapCore{c.handler, append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check is zap's protocol for Enabled.
func (c zapCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write logs one line.
func (c zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range c.fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	rec := slog.NewRecord(e.Time, slogLevel(e.Level), "certificates: "+e.Message, 0)
	for k, v := range enc.Fields {
		rec.AddAttrs(slog.Any(k, v))
	}
	return c.handler.Handle(context.Background(), rec)
}

// Sync has nothing to do.
func (zapCore) Sync() error { return nil }
