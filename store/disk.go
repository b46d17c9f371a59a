package store

import (
	"bytes"
	"log/slog"
	"sync"

	"github.com/hashicorp/raft"
)

// keyCurrentTerm is Raft's own key for its term in the stable store.
var keyCurrentTerm = []byte("CurrentTerm")

// disk is Raft's log and stable store, with one repair: Raft panics when it
// cannot save its term, which is what happens after a disk ran full and an
// election follows. disk keeps such a term in memory and refuses every vote and
// log entry until the term is on disk. A term without a vote or an
// acknowledgement in it promises nothing to anybody, so forgetting it in a
// crash is safe; the server just cannot win until its disk works again.
type disk struct {
	raft.LogStore
	stable raft.StableStore
	logger *slog.Logger

	mu      sync.Mutex
	term    uint64 // not on disk yet; 0: none
	failure error  // of the last write; nil when it worked
	told    bool   // the log says that entries cannot be written; elections in between change nothing

	// reserve keeps room for the log, see reserveLog; nil without a file. It is called
	// at every reserveEvery-th write that worked.
	reserve func()
	writes  int
}

// err returns why the last write did not work, nil if it did.
func (d *disk) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failure
}

// write runs op after the pending term is on disk, and notes how it went.
func (d *disk) write(op func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.saveTerm()
	if err == nil {
		err = op()
	}
	if err != nil && !d.told {
		d.told = true
		d.logger.Error("raft log cannot be written; this server will not lead until it can", "err", err)
	}
	if d.writes++; err == nil && d.reserve != nil && d.writes%reserveEvery == 0 {
		d.reserve()
	}
	d.failure = err
	return err
}

// written is write for entries: one that works says that the disk does.
func (d *disk) written(op func() error) error {
	if err := d.write(op); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.told {
		d.told = false
		d.logger.Info("raft log can be written again")
	}
	return nil
}

// saveTerm writes the pending term; d.mu is held.
func (d *disk) saveTerm() error {
	if d.term == 0 {
		return nil
	}
	if err := d.stable.SetUint64(keyCurrentTerm, d.term); err != nil {
		return err
	}
	d.term = 0
	return nil
}

// StoreLog implements raft.LogStore.
func (d *disk) StoreLog(log *raft.Log) error { return d.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (d *disk) StoreLogs(logs []*raft.Log) error {
	return d.written(func() error { return d.LogStore.StoreLogs(logs) })
}

// DeleteRange implements raft.LogStore.
func (d *disk) DeleteRange(first, last uint64) error {
	return d.write(func() error { return d.LogStore.DeleteRange(first, last) })
}

// Set implements raft.StableStore.
func (d *disk) Set(key, value []byte) error {
	return d.write(func() error { return d.stable.Set(key, value) })
}

// SetUint64 implements raft.StableStore. For the current term it never fails.
func (d *disk) SetUint64(key []byte, value uint64) error {
	if !bytes.Equal(key, keyCurrentTerm) {
		return d.write(func() error { return d.stable.SetUint64(key, value) })
	}
	d.mu.Lock()
	d.term = value
	d.mu.Unlock()
	_ = d.write(func() error { return nil }) // noted in failure; the term stays pending
	return nil
}

// Get implements raft.StableStore.
func (d *disk) Get(key []byte) ([]byte, error) { return d.stable.Get(key) }

// GetUint64 implements raft.StableStore.
func (d *disk) GetUint64(key []byte) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.term != 0 && bytes.Equal(key, keyCurrentTerm) {
		return d.term, nil
	}
	return d.stable.GetUint64(key)
}
