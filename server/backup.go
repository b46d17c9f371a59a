package server

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/fxamacker/cbor/v2"

	"paas/cluster"
	"paas/identity"
	"paas/store"
)

const (
	backupFormat  = 1
	minPassphrase = 8
	maxBackupHead = 1 << 10
)

// backupHead comes before the state in a backup's plaintext: two bytes of length,
// then CBOR.
type backupHead struct {
	Format  int
	SealKey []byte
}

func writeBackupHead(w io.Writer, h backupHead) error {
	data, err := cbor.Marshal(h)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...))
	return err
}

func readBackupHead(r io.Reader) (backupHead, error) {
	var h backupHead
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return h, err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxBackupHead {
		return h, cluster.Invalid("backup", "this is not a backup of paas")
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return h, err
	}
	if err := cbor.Unmarshal(data, &h); err != nil || h.Format != backupFormat {
		return h, cluster.Invalid("backup", "this version cannot read the backup").Wrap(err)
	}
	return h, nil
}

// Restore fills the data directory dir, which must be empty or absent, from a
// backup that `paas backup create` made: state, sealing key, and a new identity
// for this host in the old cluster. Images and git repositories are not part of a
// backup; apps serve again after their next deploy. Server and agents must be
// stopped.
func Restore(dir string, passphrase cluster.Redacted, r io.Reader) error {
	empty, err := emptyOrAbsent(dir)
	if err != nil {
		return err
	}
	if !empty {
		return cluster.Conflict("data", "the backup is not restored to %s", dir).Because("the directory is not empty").
			WithHint("name a new one with: --data DIR")
	}
	plain, err := identity.DecryptBackup(r, passphrase)
	if err != nil {
		return err
	}
	h, err := readBackupHead(plain)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(plain)
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	_, st, err := store.ReadBackup(bytes.NewReader(body))
	if err != nil {
		return err
	}
	l := layout{dir}
	if err := l.make(); err != nil {
		return err
	}
	return l.adopt(h, st, body)
}

// adopt makes l the data directory of a new server of the cluster in a backup.
// The settings come last: without them nothing takes the directory for whole.
func (l layout) adopt(h backupHead, st *cluster.State, body []byte) error {
	sealer, err := identity.NewSealer(h.SealKey)
	if err != nil {
		return err
	}
	t := &trust{settings: *st.Settings(), sealer: sealer}
	if t.authority, err = t.open(t.settings.CACertificate, t.settings.CAKey, purposeCA); err != nil {
		return err
	}
	id := cluster.NodeID(identity.NewID())
	if err := store.RestoreBackup(l.raft(), id, bytes.NewReader(body)); err != nil {
		return err
	}
	if err := writeOnce(l.sealKey(), []byte(hex.EncodeToString(h.SealKey)+"\n")); err != nil {
		return err
	}
	if _, err := t.issueNode(l, id, sans{}, time.Now()); err != nil {
		return err
	}
	return writeSettings(l, t.settings)
}

// Verified is what a backup holds that was read to its end.
type Verified struct {
	store.BackupHeader
	Apps int `json:"apps"`
	// NewestEvent is when the last thing happened that the state tells of; zero if it
	// tells of nothing.
	NewestEvent time.Time `json:"newest_event,omitzero"`
}

// VerifyBackup reads a whole backup and says what it holds, or what is wrong with it.
func VerifyBackup(passphrase cluster.Redacted, r io.Reader) (*Verified, error) {
	plain, err := identity.DecryptBackup(r, passphrase)
	if err != nil {
		return nil, err
	}
	if _, err := readBackupHead(plain); err != nil {
		return nil, err
	}
	h, st, err := store.ReadBackup(plain)
	if err != nil {
		return nil, err
	}
	v := &Verified{BackupHeader: *h}
	for range st.Apps() {
		v.Apps++
	}
	for e := range st.EventsSince(0) {
		v.NewestEvent = e.At
	}
	return v, nil
}
