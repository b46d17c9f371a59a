package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"

	"paas/cluster"
)

// book knows where the cluster's hosts are: what the state says, what the last run of
// this server wrote down, and who was met at an address since. It is how servers find
// each other before there is a leader, with addresses that may have changed. It is
// safe for concurrent use.
type book struct {
	path string
	self cluster.NodeID
	log  *slog.Logger

	unsaved bool // what is at path is older than roster; for update alone

	mu     sync.Mutex
	roster *cluster.Roster           // guarded by mu, as is the rest
	met    map[cluster.NodeID]string // where a node answered that was listed elsewhere
}

// openBook reads what is at path; without it nobody is known.
func openBook(path string, self cluster.NodeID, log *slog.Logger) (*book, error) {
	b := &book{path: path, self: self, log: log, roster: &cluster.Roster{}, met: map[cluster.NodeID]string{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err == nil {
		err = json.Unmarshal(data, b.roster)
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of hosts: %w", err)
	}
	return b, nil
}

// update takes what the state says, and writes it down if it is news or was not saved
// before; saved says that nothing is left to write. One at a time may call it. Nobody
// waits for the disk meanwhile: each new connection asks the book.
func (b *book) update(r *cluster.Roster) (saved bool) {
	if !b.take(r) && !b.unsaved {
		return true
	}
	data, err := json.Marshal(r)
	if err == nil {
		err = writeOnce(b.path, data)
	}
	if err != nil && !b.unsaved { // said once: it is repeated until it succeeds
		b.log.Warn("list of hosts was not saved; after a restart hosts that moved meanwhile are searched at their old addresses", "err", err)
	}
	b.unsaved = err != nil
	return !b.unsaved
}

// take reports whether r is news. A server that has just started has the state of its
// last snapshot until somebody leads, and that may know nobody who joined since: what
// is older than the list is not news, or nobody would find anybody, and lead.
func (b *book) take(r *cluster.Roster) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(r.Members) == 0 || r.Index < b.roster.Index || b.roster.Same(r) {
		return false
	}
	for id := range b.met {
		old, _ := b.roster.Member(id)
		if m, ok := r.Member(id); !ok || old.Address != m.Address {
			delete(b.met, id) // it is gone, or said itself where it is after it was met elsewhere
		}
	}
	b.roster = r
	return true
}

// addresses returns where a node may be, likeliest first.
func (b *book) addresses(id cluster.NodeID) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	if at := b.met[id]; at != "" {
		all = append(all, at)
	}
	if m, ok := b.roster.Member(id); ok && m.Address != "" && !slices.Contains(all, m.Address) {
		all = append(all, m.Address)
	}
	return all
}

// meet notes that a node answers at an address.
func (b *book) meet(id cluster.NodeID, address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, known := b.roster.Member(id)
	if !known || id == b.self {
		return
	}
	if m.Address == address {
		delete(b.met, id)
		return
	}
	b.met[id] = address
}

// called notes that a node called from a host: it is likely to answer there, at the
// port that it had before.
func (b *book) called(id cluster.NodeID, from net.Addr) {
	host, _, err := net.SplitHostPort(from.String())
	if err != nil {
		return
	}
	b.mu.Lock()
	m, known := b.roster.Member(id)
	b.mu.Unlock()
	if _, port, err := net.SplitHostPort(m.Address); known && err == nil {
		b.meet(id, net.JoinHostPort(host, port))
	}
}

// refuses reports whether a node was removed from the cluster.
func (b *book) refuses(id cluster.NodeID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.roster.Refuses(id)
}

// servers are the other servers.
func (b *book) servers() []cluster.NodeID {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []cluster.NodeID
	for _, m := range b.roster.Servers() {
		if m.ID != b.self {
			all = append(all, m.ID)
		}
	}
	return all
}

// serverAddresses are where all servers are, this one too.
func (b *book) serverAddresses() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for _, m := range b.roster.Servers() {
		if m.Address != "" {
			all = append(all, m.Address)
		}
	}
	return all
}
