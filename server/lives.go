package server

import (
	"slices"
	"sync"

	"paas/cluster"
)

// keptLives is how many earlier processes of a node are remembered.
const keptLives = 8

// lives tells the processes of one node apart. A process that is started anew takes
// the place of the one before, which never comes back: if it does, both run, on two
// hosts with copies of one data directory. It is the leader's memory.
type lives struct {
	mu   sync.Mutex
	now  map[cluster.NodeID]string   // guarded by mu
	over map[cluster.NodeID][]string // those before, oldest first; guarded by mu
}

func newLives() *lives {
	return &lives{now: map[cluster.NodeID]string{}, over: map[cluster.NodeID][]string{}}
}

// enter notes that a process speaks for a node; KindConflict if another one took its
// place. A process without a name is one of an earlier version.
func (l *lives) enter(node cluster.NodeID, process string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if process == "" {
		return nil
	}
	if slices.Contains(l.over[node], process) {
		return cluster.Conflict("two_processes", "this process may not work as node %s", node).
			Because("another process does, which was started later, from a copy of the same data directory").
			WithHint("stop one of the two; a host of its own needs an empty data directory and a join string: paas join create")
	}
	if before := l.now[node]; before != "" && before != process {
		l.over[node] = append(l.over[node], before)
		if n := len(l.over[node]); n > keptLives {
			l.over[node] = l.over[node][n-keptLives:]
		}
	}
	l.now[node] = process
	return nil
}
