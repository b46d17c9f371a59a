package server

import (
	"context"
	"slices"
	"sync"

	"paas/cluster"
)

// queue lets one change of an app's releases happen at a time, first come first
// served.
type queue struct {
	mu    sync.Mutex
	lines map[cluster.AppName][]*ticket // the first of each line has its turn; guarded by mu
}

// ticket is a place in a line.
type ticket struct {
	what string
	// news has capacity 1 and is sent to by the queue whenever the line moved.
	news chan struct{}
}

func newQueue() *queue { return &queue{lines: map[cluster.AppName][]*ticket{}} }

// enter waits for its turn. waiting is told whose turn it is meanwhile, once per
// change. leave must be called when the work is done; an ended ctx leaves the line.
func (q *queue) enter(ctx context.Context, app cluster.AppName, what string, waiting func(ahead string)) (leave func(), err error) {
	t := &ticket{what: what, news: make(chan struct{}, 1)}
	q.mu.Lock()
	q.lines[app] = append(q.lines[app], t)
	q.mu.Unlock()
	told := ""
	for {
		ahead := q.ahead(app, t)
		if ahead == nil {
			return func() { q.leave(app, t) }, nil
		}
		if ahead.what != told {
			told = ahead.what
			waiting(told)
		}
		select {
		case <-t.news:
		case <-ctx.Done():
			q.leave(app, t)
			return nil, context.Cause(ctx)
		}
	}
}

// ahead returns whose turn it is, nil if it is t's.
func (q *queue) ahead(app cluster.AppName, t *ticket) *ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	if first := q.lines[app][0]; first != t {
		return first
	}
	return nil
}

func (q *queue) leave(app cluster.AppName, t *ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	line := slices.DeleteFunc(q.lines[app], func(x *ticket) bool { return x == t })
	if len(line) == 0 {
		delete(q.lines, app)
		return
	}
	q.lines[app] = line
	for _, t := range line {
		select {
		case t.news <- struct{}{}:
		default: // it has not looked since the last news
		}
	}
}
