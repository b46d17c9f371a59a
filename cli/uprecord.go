package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"paas/cluster"
)

// upRecord is up.json in the data directory: what runs there and what it made,
// for "paas down" and for the next "paas up".
type upRecord struct {
	Cluster cluster.ClusterID `json:"cluster"`
	Version string            `json:"version"`
	HTTP    string            `json:"http"`
	HTTPS   string            `json:"https"`
	Listen  string            `json:"listen"`
	Domain  cluster.Hostname  `json:"domain"`
	Context string            `json:"context"`
	Data    string            `json:"data"`
	// PID and Began name one process for ever: numbers come again, start times do not.
	PID   int    `json:"pid,omitempty"`
	Began string `json:"began,omitempty"`
	Ready bool   `json:"ready,omitempty"`

	// Before is the context that was the current one until this one was, and Notes
	// are what a person must know of this start: ports that are not the usual ones.
	Before string   `json:"context_before,omitempty"`
	Notes  []string `json:"notes,omitempty"`

	Docker string        `json:"docker,omitempty"`
	Took   time.Duration `json:"took_ns,omitempty"` // to ready
}

func recordFile(dir string) string { return filepath.Join(dir, "up.json") }

func readRecord(dir string) (*upRecord, error) {
	data, err := os.ReadFile(recordFile(dir))
	if err != nil {
		return nil, err
	}
	r := &upRecord{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", recordFile(dir), err)
	}
	if r.Data != "" && !sameDir(r.Data, dir) {
		r.PID, r.Began, r.Ready, r.Context = 0, "", false, "" // a copy: they are the original's
	}
	return r, nil
}

// sameDir reports whether two paths name one directory that is there.
func sameDir(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

func (r *upRecord) write(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	err = replaceFile(recordFile(dir), data, 0o600)
	if errors.Is(err, syscall.ENOSPC) {
		return overwrite(recordFile(dir), data, err)
	}
	return err
}

// overwrite changes a file where it is, which takes no more room than it has: a
// full disk must keep nobody from starting, stopping or removing. Without the
// file there is only full.
func overwrite(path string, data []byte, full error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return full
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Truncate(int64(len(data))), f.Close())
}

// alive reports whether the recorded process still is the same one.
func (r *upRecord) alive() bool {
	return r.PID > 0 && r.Began != "" && beginOf(r.PID) == r.Began
}

// beginOf is a process's start time in clock ticks since boot, with the boot's
// ID; "" when there is none. Field 22 of stat; the name in field 2 may hold
// anything, so fields are counted from its closing parenthesis.
func beginOf(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, ok := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), ")")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[19]
}

// dataLock keeps two processes off one data directory. It ends with the process,
// however that ends.
type dataLock struct{ file *os.File }

// lockData takes dir. KindConflict says who has it.
func lockData(dir string) (*dataLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, cluster.Invalid("data", "the data directory cannot be made").Because("%v", err).WithHint("choose another one: --data DIR")
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, cluster.Invalid("data", "the data directory cannot be used").Because("%v", err).WithHint("choose another one: --data DIR")
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return &dataLock{f}, nil
	}
	_ = f.Close() // nothing was written
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	who := "another process"
	if r, err := readRecord(dir); err == nil && r.alive() {
		who = fmt.Sprintf("process %d", r.PID)
	}
	return nil, cluster.Conflict("running", "%s is in use", dir).Because("%s runs there", who).
		WithHint("stop it: paas down --data " + shellWord(dir) + "\nor use another directory: --data DIR")
}

func (l *dataLock) release() { _ = l.file.Close() } // the kernel drops the lock in any case

// isData reports whether dir is a data directory that this program made.
func isData(dir string) bool {
	for _, name := range []string{"up.json", "cluster.cbor"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return false
}
