package server

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
	// mergeDelay is how long a followed line may wait for an older one of another replica.
	mergeDelay = 150 * time.Millisecond
	logsAgain  = time.Second // before a node that could not be asked is asked again
	logsLines  = 100
	// maxHeld is how many lines wait for a reader who does not keep up; the replicas'
	// streams wait then too.
	maxHeld = 4096
)

// logService implements api.LogService: it asks the nodes of the app's replicas
// and merges what they say.
type logService struct {
	*control
	node func(cluster.NodeID) (api.NodeCalls, error)
}

// Logs implements api.LogService.
func (s *logService) Logs(ctx context.Context, in api.LogsRequest, send func(api.LogLine) error) error {
	st, app, err := s.app(ctx, in.App)
	if err != nil {
		return err
	}
	if err := known(st, app, in); err != nil {
		return err
	}
	if in.Lines == 0 {
		in.Lines = logsLines
	}
	if in.Follow {
		return s.follow(ctx, in, send)
	}
	var all lineHeap
	var g errgroup.Group
	for _, a := range chosen(st, in) {
		g.Go(func() error {
			one := in
			one.Allocations = []cluster.AllocationID{a.ID}
			if err := s.ask(ctx, a.Node, one, all.keep); err != nil && ctx.Err() == nil {
				return all.keep(s.absent(st, a, err))
			}
			return nil
		})
	}
	_ = g.Wait() // they report as lines
	for _, l := range all.take() {
		if err := send(l); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// known refuses a process type or a replica that is a slip of the pen: its output
// would be awaited for ever. With Follow a replica may come later, of a type that
// the app has.
func known(st *cluster.State, app *cluster.App, in api.LogsRequest) error {
	t := in.Type
	if in.Instance != "" {
		name, _, _ := strings.Cut(in.Instance, ".")
		t = cluster.ProcessType(name)
	}
	var here bool
	for a := range st.AllocationsOf(app.Name) {
		if a.Type == t && (in.Instance == "" || a.Instance() == in.Instance) {
			return nil
		}
		here = here || a.Type == t
	}
	if t != "" && t != cluster.ProcessRelease && !here {
		if err := scalable(st, app, t); err != nil {
			var e *cluster.Error
			if errors.As(err, &e) && e.Code == "process_type" && e.Kind == cluster.KindNotFound {
				return e.WithHint("see what runs: paas ps -a " + string(app.Name))
			}
			return err
		}
	}
	if in.Instance != "" && !in.Follow {
		return cluster.NotFound("instance", "app %s has no instance %.60q", app.Name, in.Instance).
			WithHint("see what there is with: paas ps -a " + string(app.Name))
	}
	return nil
}

// chosen are the allocations whose output is asked for and that have some: before
// its node has started a replica there is nothing to ask it.
func chosen(st *cluster.State, in api.LogsRequest) []*cluster.Allocation {
	var out []*cluster.Allocation
	for a := range st.AllocationsOf(in.App) {
		begun := a.Observed.State != cluster.AllocationPending && a.Observed.State != cluster.AllocationPulling
		if begun && (in.Type == "" || a.Type == in.Type) && (in.Instance == "" || a.Instance() == in.Instance) {
			out = append(out, a)
		}
	}
	return out
}

func (s *logService) ask(ctx context.Context, node cluster.NodeID, in api.LogsRequest, add func(api.LogLine) error) error {
	calls, err := s.node(node)
	if err != nil {
		return err
	}
	return calls.Logs(ctx, in, add)
}

// absent announces a replica that could not be asked.
func (s *logService) absent(st *cluster.State, a *cluster.Allocation, err error) api.LogLine {
	return api.LogLine{At: time.Now().UTC(), Instance: a.Instance(), Source: "paas",
		Text: fmt.Sprintf("the output of %s on %s cannot be read now: %s", a.Instance(), nodeName(st, a.Node), oneLine(err))}
}

// follow sends the lines of all chosen replicas, new ones included, until ctx
// ends or the app is gone.
func (s *logService) follow(ctx context.Context, in api.LogsRequest, send func(api.LogLine) error) error {
	g, ctx := errgroup.WithContext(ctx)
	lines := &lineHeap{news: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	g.Go(func() error { return pump(ctx, lines, send) })
	g.Go(func() error {
		known := map[cluster.AllocationID]context.CancelFunc{}
		for {
			st := s.store.State()
			if _, err := st.App(in.App); err != nil {
				return err
			}
			here := map[cluster.AllocationID]bool{}
			for _, a := range chosen(st, in) {
				here[a.ID] = true
				if known[a.ID] != nil || !a.Live() {
					continue
				}
				one, cancel := context.WithCancel(ctx)
				known[a.ID] = cancel
				ask := in
				g.Go(func() error {
					s.followOne(one, ask, a, lines)
					return nil
				})
			}
			for id, cancel := range known {
				if !here[id] {
					cancel()
					delete(known, id)
				}
			}
			in.Lines = max(in.Lines, logsLines) // of replicas that come later nothing is old
			select {
			case <-s.store.Changed(st.Index()):
			case <-ctx.Done():
				for _, cancel := range known {
					cancel()
				}
				return context.Cause(ctx)
			}
		}
	})
	return g.Wait()
}

// followOne follows one replica while it lives. After a broken session it asks
// again and leaves out what it has sent already.
func (s *logService) followOne(ctx context.Context, in api.LogsRequest, a *cluster.Allocation, lines *lineHeap) {
	in.Allocations = []cluster.AllocationID{a.ID}
	var last time.Time
	told := false
	for ctx.Err() == nil {
		sent := last
		err := s.ask(ctx, a.Node, in, func(l api.LogLine) error {
			if !sent.IsZero() && !l.At.After(sent) {
				return nil
			}
			last, told = l.At, false
			in.Lines = max(in.Lines, logsLines) // what is printed while a session is broken
			return lines.add(ctx, l)
		})
		st := s.store.State()
		if now, gone := st.Allocation(a.ID); gone != nil || !now.Live() || ctx.Err() != nil {
			return
		}
		if err != nil && !told {
			told = true
			_ = lines.add(ctx, s.absent(st, a, err)) // the loop's condition sees the end
		}
		_ = pause(ctx, logsAgain) // the loop's condition sees the end
	}
}

// lineHeap collects lines of several replicas. It is safe for concurrent use.
type lineHeap struct {
	mu    sync.Mutex
	lines []api.LogLine // guarded by mu
	// news and room have capacity 1: there is a line, sent by add; there is room for
	// more, sent by take. Both are nil if nobody follows.
	news, room chan struct{}
}

// keep adds a line of what ends by itself. It never fails.
func (h *lineHeap) keep(l api.LogLine) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, l)
	return nil
}

// add adds a line for who follows. It waits while maxHeld are there, until ctx ends.
func (h *lineHeap) add(ctx context.Context, l api.LogLine) error {
	for !h.tryAdd(l) {
		select {
		case <-h.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	nudge(h.news)
	return nil
}

func (h *lineHeap) tryAdd(l api.LogLine) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.lines) >= maxHeld {
		return false
	}
	h.lines = append(h.lines, l)
	if len(h.lines) < maxHeld && h.room != nil {
		nudge(h.room) // whoever else waits may come too
	}
	return true
}

// take empties the heap, oldest line first.
func (h *lineHeap) take() []api.LogLine {
	h.mu.Lock()
	out := h.lines
	h.lines = nil
	h.mu.Unlock()
	if h.room != nil {
		nudge(h.room)
	}
	slices.SortStableFunc(out, func(a, b api.LogLine) int { return a.At.Compare(b.At) })
	return out
}

// pump sends lines a moment after they came, so that those of several replicas
// come in order.
func pump(ctx context.Context, lines *lineHeap, send func(api.LogLine) error) error {
	for {
		select {
		case <-lines.news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := pause(ctx, mergeDelay); err != nil {
			return err
		}
		for _, l := range lines.take() {
			if err := send(l); err != nil {
				return err
			}
		}
	}
}
