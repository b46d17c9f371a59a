package store

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

const (
	nodeA = cluster.NodeID("aaaaaaaaaaaaaaaa")
	nodeB = cluster.NodeID("bbbbbbbbbbbbbbbb")
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

// by is a moment n seconds after the epoch.
func by(n int) By { return By{Actor: "ann", At: epoch.Add(time.Duration(n) * time.Second)} }

func sealed(s string) cluster.Secret { return cluster.Secret{Key: "k", Box: []byte(s)} }

var testImage = cluster.Image{Repository: "apps/blog", Digest: "sha256:" + strings.Repeat("ab", 32)}

// processes makes a process table of the given types, 100 MiB each.
func processes(types ...cluster.ProcessType) map[cluster.ProcessType]cluster.Process {
	m := map[cluster.ProcessType]cluster.Process{}
	for _, t := range types {
		p := cluster.Process{MemoryBytes: 100 << 20, CPUMilli: 100}
		if t == cluster.ProcessWeb {
			p.Port, p.Check.Kind = 8080, cluster.CheckTCP
		}
		m[t] = p
	}
	return m
}

func bootstrapCommand() Bootstrap {
	return Bootstrap{By: by(0), Settings: cluster.Settings{ID: "0123456789abcdef", Domain: "apps.example.com", CAKey: sealed("ca"), FeatureLevel: cluster.FeatureLevel}}
}

// replica applies commands as a server does, without Raft.
type replica struct {
	tb    testing.TB
	state *cluster.State
	next  uint64
}

func newReplica(tb testing.TB) *replica {
	return &replica{tb: tb, state: &cluster.State{}}
}

// try applies c through its encoding.
func (r *replica) try(c Command) (Outcome, error) {
	r.tb.Helper()
	if p, ok := c.(ApplyPlan); ok && p.Plan.Index == 0 { // a plan is of the newest state if a test says nothing else
		p.Plan.Index = r.state.Index()
		c = p
	}
	data, err := encodeCommand(c)
	if err != nil {
		r.tb.Fatalf("encode %T: %v", c, err)
	}
	r.next++
	s, res := applyEntry(r.state, r.next, data)
	r.state = s
	return res.outcome, res.err
}

// must applies commands that must succeed and returns the last outcome.
func (r *replica) must(commands ...Command) Outcome {
	r.tb.Helper()
	var out Outcome
	for _, c := range commands {
		var err error
		if out, err = r.try(c); err != nil {
			r.tb.Fatalf("apply %T: %v", c, err)
		}
	}
	return out
}

// refuse applies a command that must fail and change nothing.
func (r *replica) refuse(c Command, kind cluster.Kind, code string) *cluster.Error {
	r.tb.Helper()
	before := r.state
	_, err := r.try(c)
	var e *cluster.Error
	if !errors.As(err, &e) {
		r.tb.Fatalf("apply %T: got error %v, want a cluster.Error of kind %s", c, err, kind)
	}
	if e.Kind != kind || e.Code != code {
		r.tb.Fatalf("apply %T: got %s %q (%v), want %s %q", c, e.Kind, e.Code, err, kind, code)
	}
	if r.state != before {
		r.tb.Fatalf("apply %T was refused and changed the state", c)
	}
	return e
}

// same applies a command that must succeed without changing anything.
func (r *replica) same(c Command) Outcome {
	r.tb.Helper()
	before := r.state
	out := r.must(c)
	if r.state != before {
		r.tb.Fatalf("apply %T changed the state", c)
	}
	return out
}

func (r *replica) bytes() []byte {
	r.tb.Helper()
	return stateBytes(r.tb, r.state)
}

func stateBytes(tb testing.TB, s *cluster.State) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := writeSnapshot(&b, s); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func (r *replica) app(name cluster.AppName) *cluster.App {
	r.tb.Helper()
	a, err := r.state.App(name)
	if err != nil {
		r.tb.Fatal(err)
	}
	return a
}

// withApp is a cluster with an empty app "blog".
func withApp(tb testing.TB) *replica {
	tb.Helper()
	r := newReplica(tb)
	r.must(bootstrapCommand(), CreateApp{By: by(1), Name: "blog"})
	return r
}

// withNode adds node A with room for ten replicas of processes.
func (r *replica) withNode(id cluster.NodeID) {
	r.tb.Helper()
	r.must(RegisterNode{By: by(1), Node: cluster.Node{
		ID: id, Name: "host-" + string(id[:1]), Zone: "a", Apps: true, State: cluster.NodeUp,
		MemoryBytes: 1000 << 20, CPUMilli: 4000, Arch: "amd64",
	}})
}

// deploy releases a new version and ends its deployment.
func (r *replica) deploy(n int, end cluster.DeploymentState) Outcome {
	r.tb.Helper()
	out := r.must(CreateRelease{By: by(n), App: "blog", Description: "Deploy", Image: testImage, Processes: processes("web", "worker")})
	r.end(n, out.Deployment, end)
	return out
}

func (r *replica) end(n int, id cluster.DeploymentID, state cluster.DeploymentState) {
	r.tb.Helper()
	r.must(ApplyPlan{By: by(n), Plan: cluster.Plan{Deployments: []cluster.DeploymentUpdate{{ID: id, State: state}}}})
}

// lastEvent is the newest event of the audit.
func (r *replica) lastEvent() cluster.Event {
	r.tb.Helper()
	var last cluster.Event
	for e := range r.state.EventsSince(0) {
		last = *e
	}
	return last
}

// actions lists the audit's actions after index.
func (r *replica) actions(after uint64) []string {
	var out []string
	for e := range r.state.EventsSince(after) {
		out = append(out, e.Action)
	}
	return out
}

// quiet discards logs; loud ones are for debugging a test.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
