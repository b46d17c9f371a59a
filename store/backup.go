package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/raft"

	"paas/cluster"
)

// A backup is a line of magic, a header in CBOR and the snapshot.
const (
	backupMagic   = "paas-backup\n"
	backupVersion = 1
	// maxBackupBytes bounds what a damaged header can make us allocate.
	maxBackupBytes = 4 << 30
)

// BackupHeader says what a backup holds.
type BackupHeader struct {
	Version uint8             `json:"version"`
	Cluster cluster.ClusterID `json:"cluster"`
	Index   uint64            `json:"index"` // Raft index of the state
	Bytes   int64             `json:"bytes"` // of the snapshot that follows
	SHA256  []byte            `json:"sha256"`
}

// backupFile is header and snapshot as they stand in the file.
type backupFile struct {
	_        struct{} `cbor:",toarray"`
	Header   BackupHeader
	Snapshot []byte
}

// Backup writes the newest applied state with a header and a checksum. Secrets
// in it stay sealed with the cluster's key.
func (s *Store) Backup(w io.Writer) error { return writeBackup(w, s.State()) }

func writeBackup(w io.Writer, s *cluster.State) error {
	if !s.Bootstrapped() {
		return cluster.Conflict("no_cluster", "there is no cluster to back up")
	}
	var body bytes.Buffer
	if err := writeSnapshot(&body, s); err != nil {
		return err
	}
	sum := sha256.Sum256(body.Bytes())
	f := backupFile{
		Header:   BackupHeader{Version: backupVersion, Cluster: s.Settings().ID, Index: s.Index(), Bytes: int64(body.Len()), SHA256: sum[:]},
		Snapshot: body.Bytes(),
	}
	if _, err := io.WriteString(w, backupMagic); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	if err := encoding.NewEncoder(w).Encode(f); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// ReadBackup reads and checks a whole backup: its checksum, its state, and that
// header and state agree. KindInvalid says what is wrong with it.
func ReadBackup(r io.Reader) (*BackupHeader, *cluster.State, error) {
	damaged := cluster.Invalid("backup", "this is not a usable backup")
	magic := make([]byte, len(backupMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != backupMagic {
		return nil, nil, damaged.Because("it does not begin like one").Wrap(err)
	}
	var f backupFile
	if err := decodeStream(io.LimitReader(r, maxBackupBytes), &f); err != nil {
		return nil, nil, damaged.Because("it is damaged or cut off").Wrap(err)
	}
	if f.Header.Version != backupVersion {
		return nil, nil, damaged.Because("it has version %d; this program reads version %d", f.Header.Version, backupVersion)
	}
	if sum := sha256.Sum256(f.Snapshot); !bytes.Equal(sum[:], f.Header.SHA256) || f.Header.Bytes != int64(len(f.Snapshot)) {
		return nil, nil, damaged.Because("its checksum does not match")
	}
	s, err := readSnapshot(bytes.NewReader(f.Snapshot))
	if err != nil {
		return nil, nil, damaged.Because("its state cannot be read").Wrap(err)
	}
	if s.Settings().ID != f.Header.Cluster || s.Index() != f.Header.Index {
		return nil, nil, damaged.Because("its header belongs to another state")
	}
	return &f.Header, s, nil
}

// RestoreBackup fills the empty directory dir with the state of a backup, less the
// servers that are gone, for node as the only voter. Open and Run then serve that
// state and take writes after it. KindConflict when dir holds something.
func RestoreBackup(dir string, node cluster.NodeID, r io.Reader) error {
	_, s, err := ReadBackup(r)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("restore backup: %w", err)
	}
	if len(entries) > 0 {
		return cluster.Conflict("not_empty", "the directory is not empty").
			Because("a restore replaces everything").WithHint("choose a new data directory")
	}
	c := Config{Dir: dir, Node: node}.withDefaults()
	st, err := openStores(c)
	if err != nil {
		return err
	}
	if err := errors.Join(seed(st, c, withoutServers(s, node)), st.close()); err != nil {
		return fmt.Errorf("restore backup: %w", err)
	}
	return nil
}

// withoutServers drops the servers of the cluster that a backup is of, and ends the
// builds that they had under way: a restore is for the day on which they are gone,
// and none of them but node may come back as who it was. What ran on them is
// replaced and forgotten. Hosts that are agents only stay.
func withoutServers(s *cluster.State, node cluster.NodeID) *cluster.State {
	d := s.Draft(s.Index())
	for n := range s.Nodes() {
		if n.Server {
			d.RemoveNode(n.ID)
			if n.ID != node {
				d.PutRemoved(cluster.Removed{Node: n.ID, Name: n.Name}) // its certificate is as good as ever
			}
		}
	}
	for app := range s.Apps() {
		for b := range s.Builds(app.Name) {
			if !b.State.Ended() {
				lost := *b
				lost.State, lost.FinishedAt, lost.Failure = cluster.BuildFailed, b.CreatedAt, "lost with the server that it ran on"
				d.PutBuild(lost)
			}
		}
	}
	return d.State()
}

// seed makes s the beginning of a new log: a snapshot at its index, in the
// first term, with c's server as the only voter.
func seed(st *stores, c Config, s *cluster.State) error {
	const term = 1
	if err := st.disk.SetUint64(keyCurrentTerm, term); err != nil {
		return err
	}
	if err := st.disk.err(); err != nil {
		return err
	}
	sink, err := st.snapshots.Create(raft.SnapshotVersionMax, s.Index(), term, c.alone(), s.Index(), st.transport)
	if err != nil {
		return err
	}
	return fsmSnapshot{s}.Persist(sink)
}
