package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"paas/cluster"
)

// intact reads all of the log at path, if there is one, and says so when it cannot:
// bbolt panics at a damaged page, whenever it comes to one. What else is wrong is for
// whoever opens the log after this.
func intact(path string) (err error) {
	damaged := func(why any) error {
		return cluster.Errorf(cluster.KindUnavailable, "store_damaged", "the state cannot be read").
			Because("%s is damaged: %v", path, why).
			WithHint("keep a copy of it, and fill a new directory from the newest backup: paas backup restore FILE --data DIR")
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a page may say that it goes on outside of the file
	defer func() {
		if p := recover(); p != nil {
			err = damaged(p)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait / 2})
	if errors.Is(err, bbolterrors.ErrTimeout) || errors.Is(err, fs.ErrPermission) {
		return nil //nolint:nilerr // the next to open it has the words for that
	}
	if err != nil {
		return damaged(err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			sum := byte(0)
			return b.ForEach(func(_, v []byte) error {
				for i := 0; i < len(v); i += 4096 { // each page of it
					sum ^= v[i]
				}
				return nil
			})
		})
	})
	if err != nil {
		err = damaged(err)
	}
	if closed := db.Close(); closed != nil {
		err = errors.Join(err, fmt.Errorf("close raft log: %w", closed))
	}
	return err
}
