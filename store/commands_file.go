package store

import (
	"time"

	"paas/cluster"
)

const (
	// maxFileBytes bounds an entry of the certificate storage: chains and keys have
	// a few KiB.
	maxFileBytes = 1 << 20
	// maxLockTTL keeps a holder that died from locking others out for long.
	maxLockTTL = 10 * time.Minute
)

// The certificate storage makes no audit events: its owner is the router, and
// its locks change every few seconds while a certificate is ordered.

func (c PutFile) apply(d *cluster.Draft) (Outcome, error) {
	if err := cluster.ValidateFileKey(c.Key); err != nil {
		return Outcome{}, err
	}
	if len(c.Value.Box) == 0 || len(c.Value.Box) > maxFileBytes {
		return Outcome{}, cluster.Invalid("file", "file %s cannot have %d bytes", c.Key, len(c.Value.Box)).Because("the limit is %d", maxFileBytes)
	}
	d.PutFile(cluster.File{Key: c.Key, Value: c.Value, ModifiedAt: c.At})
	return Outcome{}, nil
}

func (c DeleteFile) apply(d *cluster.Draft) (Outcome, error) {
	if err := cluster.ValidateFileKey(c.Key); err != nil {
		return Outcome{}, err
	}
	s, found := d.State(), false
	if _, ok := s.File(c.Key); ok {
		d.RemoveFile(c.Key)
		found = true
	}
	for f := range s.Files(c.Key + "/") {
		d.RemoveFile(f.Key)
		found = true
	}
	if !found {
		return Outcome{}, errUnchanged
	}
	return Outcome{}, nil
}

func (c AcquireLock) apply(d *cluster.Draft) (Outcome, error) {
	if err := cluster.ValidateFileKey(c.Name); err != nil {
		return Outcome{}, err
	}
	if err := cluster.ValidateLine("holder", c.Holder); err != nil {
		return Outcome{}, err
	}
	if c.TTL <= 0 || c.TTL > maxLockTTL {
		return Outcome{}, cluster.Invalid("ttl", "lock %s cannot be held for %s", c.Name, c.TTL).Because("the limit is %s", maxLockTTL)
	}
	s := d.State()
	if l, ok := s.Lock(c.Name); ok && l.Holder != c.Holder && l.ExpiresAt.After(c.At) {
		return Outcome{}, cluster.Conflict("lock_held", "lock %s is held", c.Name).Because("%s holds it until %s", l.Holder, l.ExpiresAt.Format(time.RFC3339))
	}
	for l := range s.Locks() { // nobody else removes the leases of the dead
		if !l.ExpiresAt.After(c.At) {
			d.RemoveLock(l.Name)
		}
	}
	d.PutLock(cluster.Lock{Name: c.Name, Holder: c.Holder, ExpiresAt: c.At.Add(c.TTL)})
	return Outcome{}, nil
}

func (c ReleaseLock) apply(d *cluster.Draft) (Outcome, error) {
	l, ok := d.State().Lock(c.Name)
	if !ok || l.Holder != c.Holder {
		return Outcome{}, errUnchanged
	}
	d.RemoveLock(c.Name)
	return Outcome{}, nil
}
