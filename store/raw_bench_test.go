package store

import (
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// nothing is a state machine that does nothing.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nothing{}, nil }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }
func (nothing) Persist(s raft.SnapshotSink) error   { return s.Close() }
func (nothing) Release()                            {}

// BenchmarkRaw is what Raft and bbolt alone do with commands as large as those
// of BenchmarkPropose: the yardstick beside it.
func BenchmarkRaw(b *testing.B) {
	payload, err := encodeCommand(PutFile{By: by(1), Key: "a", Value: sealed("v")})
	if err != nil {
		b.Fatal(err)
	}
	for name, parallel := range map[string]int{"proposers-per-cpu=1": 1, "proposers-per-cpu=64": 64} {
		b.Run(name, func(b *testing.B) {
			c := Config{Dir: b.TempDir(), Node: nodeA}.withDefaults()
			s, err := openStores(c)
			if err != nil {
				b.Fatal(err)
			}
			defer s.close()
			if err := raft.BootstrapCluster(c.raftConfig(), s.disk, s.disk, s.snapshots, s.transport, c.alone()); err != nil {
				b.Fatal(err)
			}
			r, err := raft.NewRaft(c.raftConfig(), nothing{}, s.disk, s.disk, s.snapshots, s.transport)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = r.Shutdown().Error() }()
			<-r.LeaderCh()
			b.SetParallelism(parallel)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := r.Apply(payload, 10*time.Second).Error(); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
