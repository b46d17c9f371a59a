package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"paas/cluster"
)

// errSilent ends a stream that does not even beat any more.
var errSilent = errors.New("no heartbeat")

// maxLine bounds one line of a stream: a log line is at most 16 KiB of text.
const maxLine = 1 << 20

// alive is a stream's body that ends its context when nothing comes.
type alive struct {
	r     io.Reader
	timer *time.Timer
}

func (a *alive) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	a.timer.Reset(streamSilence)
	return n, err
}

// lines makes a request and calls each for every line of its answer until each
// returns an error.
func (c *Client) lines(ctx context.Context, q request, each func([]byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	res, err := c.open(ctx, q)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if q.opened != nil {
		q.opened()
	}
	timer := time.AfterFunc(streamSilence, func() { cancel(errSilent) })
	defer timer.Stop()

	s := bufio.NewScanner(&alive{r: res.Body, timer: timer})
	s.Buffer(make([]byte, 0, 4096), maxLine)
	for s.Scan() {
		if err := each(s.Bytes()); err != nil {
			return err
		}
	}
	err = s.Err()
	if context.Cause(ctx) == errSilent {
		err = errSilent
	}
	if err != nil {
		return c.broken(ctx, err)
	}
	return nil
}

// ndjson reads a stream of T. A line of kind "failed" carries the error that
// ended it.
func ndjson[T any](ctx context.Context, c *Client, q request, each func(T) error) error {
	return c.lines(ctx, q, func(line []byte) error {
		if len(line) == 0 {
			return nil // heartbeat
		}
		var failed failedLine
		if err := json.Unmarshal(line, &failed); err != nil {
			return c.broken(ctx, fmt.Errorf("read a line: %w", err))
		}
		if failed.Kind == ProgressFailed && failed.Error != nil {
			return failed.Error
		}
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return c.broken(ctx, fmt.Errorf("read a line: %w", err))
		}
		return each(v)
	})
}

// progress follows long work: every piece of news goes to report, the last one
// too, and becomes the result.
func (c *Client) progress(ctx context.Context, q request, report func(Progress)) (*DeployResult, error) {
	var last *Progress
	err := c.lines(ctx, q, func(line []byte) error {
		if len(line) == 0 {
			return nil
		}
		var p Progress
		if err := json.Unmarshal(line, &p); err != nil {
			return c.broken(ctx, fmt.Errorf("read a line: %w", err))
		}
		if p.Kind == ProgressDone || p.Kind == ProgressFailed {
			last = &p
		}
		if report != nil {
			report(p)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case last == nil:
		return nil, c.broken(ctx, io.ErrUnexpectedEOF)
	case last.Kind == ProgressFailed && last.Error != nil:
		return last.Result, last.Error
	case last.Kind == ProgressFailed:
		return last.Result, cluster.Errorf(cluster.KindInternal, "failed", "%s", last.Text)
	}
	return last.Result, nil
}
