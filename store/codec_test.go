package store

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"paas/cluster"
)

// everyCommand is one filled command of each type.
func everyCommand() []Command {
	branch := "main"
	return []Command{
		bootstrapCommand(), CreateApp{By: by(1), Name: "blog", DeployBranch: "main"}, UpdateApp{By: by(1), Name: "blog", DeployBranch: &branch},
		DestroyApp{By: by(1), Name: "blog"}, ChangeConfig{By: by(1), App: "blog", Set: set("A", "1", "B", "2"), Unset: []string{"C"}},
		Scale{By: by(1), App: "blog", Quantities: map[cluster.ProcessType]int{"web": 1, "worker": 2}}, Restart{By: by(1), App: "blog", Types: []cluster.ProcessType{"web"}},
		release(1), Rollback{By: by(1), App: "blog", To: 3}, StartBuild{By: by(1), App: "blog"}, FinishBuild{By: by(1), ID: "b-1", State: cluster.BuildFailed},
		ApplyPlan{By: by(1), Plan: cluster.Plan{Index: 3, Place: []cluster.Placement{web(1, 1)}, Deployments: []cluster.DeploymentUpdate{{ID: "d-1", Failure: &cluster.Failure{Code: "x"}}}}},
		observe(1, "a-1", cluster.Observation{State: cluster.AllocationHealthy, StartedAt: epoch}),
		RegisterNode{By: by(1), Node: cluster.Node{ID: nodeA, Labels: map[string]string{"a": "b"}}}, SetNodeState{By: by(1), ID: nodeA, State: cluster.NodeUp},
		AddDomain{By: by(1), Host: "a.example.org", App: "blog"}, RemoveDomain{By: by(1), Host: "a.example.org", App: "blog"},
		CreateToken{By: by(1), Token: token("000000000001", cluster.ScopeRead)}, ExchangeToken{By: by(1), Once: "000000000001"}, RevokeToken{By: by(1), ID: "000000000001"},
		PutFile{By: by(1), Key: "a", Value: sealed("v")}, DeleteFile{By: by(1), Key: "a"}, AcquireLock{By: by(1), Name: "a", Holder: "x", TTL: time.Second},
		ReleaseLock{By: by(1), Name: "a", Holder: "x"}, Audit{By: by(1), Action: "a.b"},
		CreateVolume{By: by(1), App: "blog", Name: "data", Node: nodeA}, AttachVolume{By: by(1), App: "blog", Name: "data", Process: "web", Path: "/data"},
		DetachVolume{By: by(1), App: "blog", Name: "data"}, DestroyVolume{By: by(1), App: "blog", Name: "data"},
		ForgetVolumes{By: by(1), Node: nodeA, Volumes: []cluster.VolumeID{"vol-1"}},
		CreateJoin{By: by(1), Join: join("000000000001", 60)}, redeem(1, "000000000001", 1, nodeB), RevokeJoin{By: by(1), ID: "000000000001"},
		RemoveNode{By: by(1), ID: nodeB, Until: epoch, Force: true},
		MoveRefs{By: by(1), App: "blog", Born: epoch, Moves: []cluster.RefMove{{Name: "refs/heads/main", New: testHash(1)}}}, BeginCommand{By: by(1), Deployment: "d-1"}, RaiseFeatureLevel{By: by(1), Level: 2},
		ScheduleNode{By: by(1), ID: nodeA, Schedule: cluster.ScheduleDraining}, LabelNode{By: by(1), ID: nodeA, Set: map[string]string{"disk": "ssd"}, Unset: []string{"rack"}},
	}
}

// What was committed and cannot be decoded stops every server at every start, so
// it must be refused before it is in the log.
func TestTextThatCannotBeReadBackIsRefused(t *testing.T) {
	for _, c := range []Command{RevokeToken{By: by(1), ID: "\xff\xfe"}, CreateApp{By: by(1), Name: "b\xff"}, Audit{By: by(1), Action: "a.b", Text: "\x80"}} {
		if data, err := logEntry(c); cluster.KindOf(err) != cluster.KindInvalid {
			t.Errorf("%T: got %d bytes, %v, want it refused", c, len(data), err)
		}
	}
	for _, c := range everyCommand() {
		if _, err := logEntry(c); err != nil {
			t.Errorf("%T: %v", c, err)
		}
	}
}

func TestEveryCommandTypeIsKnownAndRoundTrips(t *testing.T) {
	seen := map[CommandType]bool{}
	for _, c := range everyCommand() {
		seen[c.Type()] = true
		data, err := encodeCommand(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeCommand(data)
		if err != nil {
			t.Fatalf("%T: %v", c, err)
		}
		if !reflect.DeepEqual(got, c) {
			t.Errorf("%T came back as\n%+v, want\n%+v", c, got, c)
		}
		again, err := encodeCommand(got)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%T: encoding is not canonical: %v", c, err)
		}
	}
	for i := typeUnknown + 1; i < typesEnd; i++ {
		if !seen[i] {
			t.Errorf("command type %d is not in everyCommand", i)
		}
		if c := newCommand(i); c == nil || c.Type() != i {
			t.Errorf("newCommand(%d) gives %T", i, c)
		}
	}
	if newCommand(typeUnknown) != nil || newCommand(typesEnd) != nil {
		t.Error("newCommand makes commands of unknown types")
	}
}

// The numbers are in logs on disks: this test fails when one changes.
func TestCommandNumbersAreForEver(t *testing.T) {
	for want, got := range map[CommandType]CommandType{
		1: typeBootstrap, 2: typeCreateApp, 5: typeChangeConfig, 8: typeCreateRelease, 12: typeApplyPlan,
		13: typeObserve, 17: typeRemoveDomain, 20: typeRevokeToken, 24: typeReleaseLock, 25: typeAudit,
		31: typeCreateJoin, 34: typeRemoveNode,
	} {
		if got != want {
			t.Errorf("a command has number %d in place of %d", got, want)
		}
	}
}

func TestTimesKeepTheirNanosecondsAndBecomeUTC(t *testing.T) {
	at := time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.FixedZone("x", 3600))
	data, err := encodeCommand(DestroyApp{By: By{Actor: "ann", At: at}, Name: "blog"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := decodeCommand(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.by().At; !got.Equal(at) || got.Location() != time.UTC {
		t.Errorf("got %v, want %v in UTC", got, at)
	}
}

func TestUnknownEntryStopsTheServerWithAClearMessage(t *testing.T) {
	unknown, err := encoding.Marshal(entry{Version: entryVersion, Type: 999, Body: []byte{0xa0}})
	if err != nil {
		t.Fatal(err)
	}
	newer, err := encoding.Marshal(entry{Version: 9, Type: typeCreateApp, Body: []byte{0xa0}})
	if err != nil {
		t.Fatal(err)
	}
	field, err := encoding.Marshal(map[string]any{"actor": "ann", "at": epoch, "Name": "blog", "NewField": true})
	if err != nil {
		t.Fatal(err)
	}
	newField, err := encoding.Marshal(entry{Version: entryVersion, Type: typeCreateApp, Body: field})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"unknown type": unknown, "newer version": newer, "new field": newField, "garbage": []byte("garbage")} {
		t.Run(name, func(t *testing.T) {
			f := &fsm{view: newView(quiet())}
			defer func() {
				text, ok := recover().(string)
				if !ok || !strings.Contains(text, "log entry 7") || !strings.Contains(text, "newer or damaged") {
					t.Errorf("panic says %q", text)
				}
			}()
			f.Apply(&raft.Log{Index: 7, Type: raft.LogCommand, Data: data})
			t.Error("applied")
		})
	}
}

// TestBatchesAreTheSameAsSingles: how Raft groups entries must not matter.
func TestBatchesAreTheSameAsSingles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := &commands{t: rt}
		list := []Command{bootstrapCommand()}
		for range rapid.IntRange(0, 30).Draw(rt, "commands") {
			list = append(list, g.draw())
		}
		one, many := &fsm{view: newView(quiet())}, &fsm{view: newView(quiet())}
		var logs []*raft.Log
		for i, c := range list {
			data, err := encodeCommand(c)
			if err != nil {
				rt.Fatal(err)
			}
			logs = append(logs, &raft.Log{Index: uint64(i + 1), Type: raft.LogCommand, Data: data})
			one.Apply(logs[i])
		}
		for len(logs) > 0 {
			n := rapid.IntRange(1, len(logs)).Draw(rt, "batch")
			many.ApplyBatch(logs[:n])
			logs = logs[n:]
		}
		if !bytes.Equal(stateBytes(t, one.view.state()), stateBytes(t, many.view.state())) {
			rt.Fatal("batches give another state")
		}
	})
}

func FuzzDecodeCommand(f *testing.F) {
	for _, c := range everyCommand() {
		data, err := encodeCommand(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeCommand(data)
		if err != nil {
			return
		}
		// What decodes can be applied to any state without a panic, encodes again, and
		// means the same then.
		r := begin(t)
		before := r.state
		s, res := applyCommand(before, 100, c)
		if res.err != nil && s != before {
			t.Fatalf("%T was refused and changed the state", c)
		}
		again, err := encodeCommand(c)
		if err != nil {
			t.Fatalf("%T does not encode again: %v", c, err)
		}
		twin, err := decodeCommand(again)
		if err != nil {
			t.Fatalf("%T does not decode again: %v", c, err)
		}
		other, _ := applyCommand(before, 100, twin)
		if !bytes.Equal(stateBytes(t, s), stateBytes(t, other)) {
			t.Fatalf("%T means something else after a round trip", c)
		}
	})
}

func FuzzReadBackup(f *testing.F) {
	var b bytes.Buffer
	if err := writeBackup(&b, withApp(f).state); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		_, s, err := ReadBackup(bytes.NewReader(data))
		if err == nil && !s.Bootstrapped() && s.Settings().ID != "" {
			t.Error("a backup without a cluster was read")
		}
	})
}
