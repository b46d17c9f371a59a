package store

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"paas/cluster"
)

// fsm turns committed log entries into states. It has no side effects but the
// publication of the newest state. Raft calls everything but Persist from one
// goroutine.
type fsm struct{ view *view }

// result is what Raft hands back to the proposer of a command.
type result struct {
	outcome Outcome
	err     error
}

// errUnchanged is returned by a command's apply that has nothing to change. The
// proposer sees success; the state and its index stay as they were, so that
// nobody wakes up for it.
var errUnchanged = errors.New("nothing to change")

// Apply implements raft.FSM.
func (f *fsm) Apply(log *raft.Log) any { return f.ApplyBatch([]*raft.Log{log})[0] }

// ApplyBatch implements raft.BatchingFSM: one publication for many commands.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	s := f.view.state()
	results := make([]any, len(logs))
	for i, log := range logs {
		if log.Type != raft.LogCommand {
			continue
		}
		var r result
		s, r = applyEntry(s, log.Index, log.Data)
		results[i] = r
	}
	f.view.publish(s)
	return results
}

// applyEntry applies one log entry to s. An entry that cannot be decoded is the
// one place to panic: it is committed, the other servers may know it, and going
// on without it would make this server differ from them for ever.
func applyEntry(s *cluster.State, index uint64, data []byte) (*cluster.State, result) {
	c, err := decodeCommand(data)
	if err != nil {
		panic(fmt.Sprintf("store: log entry %d was written by a newer or damaged server; run the version that wrote it: %v", index, err))
	}
	return applyCommand(s, index, c)
}

// applyCommand is pure: the same state, index and command give the same result.
func applyCommand(s *cluster.State, index uint64, c Command) (*cluster.State, result) {
	if err := admit(s, c); err != nil {
		return s, result{err: err}
	}
	d := s.Draft(index)
	out, err := c.apply(d)
	switch {
	case errors.Is(err, errUnchanged):
		out.Index = s.Index()
		return s, result{outcome: out}
	case err != nil:
		return s, result{err: err}
	}
	out.Index = index
	return d.State(), result{outcome: out}
}

// admit checks what holds for every command.
func admit(s *cluster.State, c Command) error {
	if at := c.by().At; at.IsZero() || at.Year() > 9999 {
		return cluster.Invalid("at", "the change has no valid time")
	}
	if _, first := c.(Bootstrap); !first && !s.Bootstrapped() {
		return cluster.Conflict("no_cluster", "there is no cluster yet").WithHint("start one with: paas server")
	}
	return nil
}

// by returns the command's author: every command embeds one.
func (b By) by() By { return b }

// event records in the audit that b did action.
func (b By) event(d *cluster.Draft, e cluster.Event) {
	e.Actor = b.Actor
	e.Text = oneLine(e.Text)
	d.Event(b.At, e)
}

// Snapshot implements raft.FSM: a state is immutable, so its pointer will do.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return fsmSnapshot{f.view.state()}, nil }

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	start := time.Now()
	s, err := readSnapshot(r)
	if err != nil {
		return err
	}
	f.view.publish(s)
	f.view.logger.Debug("snapshot restored", "index", s.Index(), "took", time.Since(start))
	return nil
}
