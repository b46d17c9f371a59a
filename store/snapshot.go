package store

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"paas/cluster"
)

// snapshotFile is what Raft snapshots and backups hold: the whole state.
type snapshotFile struct {
	_        struct{} `cbor:",toarray"`
	Version  uint8
	Snapshot *cluster.Snapshot
}

const snapshotVersion = 1

// fsmSnapshot is a state on its way to disk.
type fsmSnapshot struct{ state *cluster.State }

// Persist implements raft.FSMSnapshot.
func (f fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := writeSnapshot(sink, f.state); err != nil {
		_ = sink.Cancel() // the write's error is the one to tell
		return err
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (f fsmSnapshot) Release() {}

// writeSnapshot writes s; equal states give equal bytes.
func writeSnapshot(w io.Writer, s *cluster.State) error {
	if err := encoding.NewEncoder(w).Encode(snapshotFile{Version: snapshotVersion, Snapshot: s.Snapshot()}); err != nil {
		return fmt.Errorf("write snapshot at index %d: %w", s.Index(), err)
	}
	return nil
}

// readSnapshot is the inverse of writeSnapshot.
func readSnapshot(r io.Reader) (*cluster.State, error) {
	var f snapshotFile
	if err := decodeStream(r, &f); err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	if f.Version != snapshotVersion || f.Snapshot == nil {
		return nil, fmt.Errorf("read snapshot: version %d is not known, this program writes version %d", f.Version, snapshotVersion)
	}
	return f.Snapshot.State(), nil
}
