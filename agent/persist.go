package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/fxamacker/cbor/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

// memory is what the agent must know without any server: what it was last told,
// and what it last saw. Everything in it is sealed, for assignments hold
// environments; its key lies beside it, 0600, as the node's own key does.
type memory struct {
	db     *bbolt.DB
	sealer *identity.Sealer
	encode cbor.EncMode
}

var (
	bucketTold     = []byte("told")     // what a server said last: the keys below
	bucketObserved = []byte("observed") // by allocation
	keyAssignments = []byte("assignments")
	keyRegistry    = []byte("registry")
	keyRoster      = []byte("roster")
	keySpares      = []byte("spares")
)

const (
	memoryFile = "agent.db"
	memoryKey  = "agent.key"
	// memoryLock is how long to wait for another agent on the same directory.
	memoryLock = 2 * time.Second
)

// openMemory opens or makes the files in dir. A database that is not one is put
// aside: all that is in it can be learned again.
func openMemory(dir string) (*memory, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make agent directory: %w", err)
	}
	key, err := identity.LoadOrCreateSealKey(filepath.Join(dir, memoryKey))
	if err != nil {
		return nil, err
	}
	sealer, err := identity.NewSealer(key)
	if err != nil {
		return nil, err
	}
	// The default encoding of times drops what is below a second.
	encode, err := cbor.EncOptions{Time: cbor.TimeRFC3339NanoUTC}.EncMode()
	if err != nil {
		return nil, fmt.Errorf("configure agent memory: %w", err)
	}
	path := filepath.Join(dir, memoryFile)
	db, err := openIntact(path)
	if err != nil && !errors.Is(err, bbolterrors.ErrTimeout) && !errors.Is(err, fs.ErrPermission) {
		if err := os.Rename(path, path+".broken"); err != nil {
			return nil, fmt.Errorf("put broken agent memory aside: %w", err)
		}
		db, err = openIntact(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open agent memory %s: %w", path, err)
	}
	return &memory{db: db, sealer: sealer, encode: encode}, nil
}

// openIntact opens the database and reads all of it: bbolt panics at a damaged page
// whenever it comes to one, and that must be here. After such a panic the file stays
// open, which costs a descriptor until the process ends.
func openIntact(path string) (db *bbolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a page may say that it goes on outside of the file
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("damaged: %v", p)
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: memoryLock})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketTold, bucketObserved} {
			b, err := tx.CreateBucketIfNotExists(name)
			if err != nil {
				return err
			}
			if err := b.ForEach(func(_, v []byte) error { _ = bytes.Clone(v); return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare agent memory: %w", err), db.Close())
	}
	return db, nil
}

func (m *memory) close() error { return m.db.Close() }

// assignments is the set last saved; nil if none ever was.
func (m *memory) assignments() (*api.AssignmentSet, error) {
	set := new(api.AssignmentSet)
	ok, err := m.told(keyAssignments, set)
	if !ok {
		return nil, err
	}
	return set, nil
}

func (m *memory) saveAssignments(set *api.AssignmentSet) error {
	return m.put(bucketTold, keyAssignments, set)
}

// registry is where the host's mirror of images listens; nil if it has none yet.
// Images in the engine are named after it.
func (m *memory) registry() (*cluster.RegistryEndpoint, error) {
	e := new(cluster.RegistryEndpoint)
	ok, err := m.told(keyRegistry, e)
	if !ok {
		return nil, err
	}
	return e, nil
}

func (m *memory) saveRegistry(e cluster.RegistryEndpoint) error {
	return m.put(bucketTold, keyRegistry, e)
}

// roster is who belonged to the cluster last; nil if that was never said.
func (m *memory) roster() (*cluster.Roster, error) {
	r := new(cluster.Roster)
	ok, err := m.told(keyRoster, r)
	if !ok {
		return nil, err
	}
	return r, nil
}

func (m *memory) saveRoster(r *cluster.Roster) error { return m.put(bucketTold, keyRoster, r) }

// spared is what was known of images that nothing uses; nothing if none ever was.
func (m *memory) spared() (s spares, err error) {
	_, err = m.told(keySpares, &s)
	return s, err
}

func (m *memory) saveSpares(s spares) error { return m.put(bucketTold, keySpares, s) }

// told reads back what a server said; false if it never did, or with an error.
func (m *memory) told(key []byte, v any) (ok bool, err error) {
	err = m.db.View(func(tx *bbolt.Tx) error {
		data := tx.Bucket(bucketTold).Get(key)
		ok = data != nil
		if !ok {
			return nil
		}
		return m.open(data, purpose(bucketTold), v)
	})
	if err != nil {
		return false, fmt.Errorf("read last %s: %w", key, err)
	}
	return ok, nil
}

// observed is everything last saved of allocations. What cannot be read is left
// out: the engine knows it better.
func (m *memory) observed() ([]api.Observed, error) {
	var out []api.Observed
	err := m.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketObserved).ForEach(func(_, data []byte) error {
			var o api.Observed
			if m.open(data, purpose(bucketObserved), &o) == nil {
				out = append(out, o)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read last observations: %w", err)
	}
	return out, nil
}

func (m *memory) saveObserved(o api.Observed) error {
	return m.put(bucketObserved, []byte(o.ID), o)
}

func (m *memory) forget(id cluster.AllocationID) error {
	return m.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketObserved).Delete([]byte(id)) })
}

// put seals v into a bucket.
func (m *memory) put(bucket, key []byte, v any) error {
	plain, err := m.encode.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode agent memory: %w", err)
	}
	sealed, err := m.sealer.Seal(plain, purpose(bucket))
	if err != nil {
		return err
	}
	data, err := m.encode.Marshal(sealed)
	if err != nil {
		return fmt.Errorf("encode agent memory: %w", err)
	}
	// Many replicas write at once when a node starts: they share a sync of the disk.
	return m.db.Batch(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, data) })
}

// purpose binds what is sealed to its bucket.
func purpose(bucket []byte) string { return "agent/" + string(bucket) }

// open reads back what put wrote.
func (m *memory) open(data []byte, purpose string, v any) error {
	var sealed cluster.Secret
	if err := cbor.Unmarshal(data, &sealed); err != nil {
		return err
	}
	plain, err := m.sealer.Open(sealed, purpose)
	if err != nil {
		return err
	}
	return cbor.Unmarshal(plain, v)
}
