package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"paas/api"
	"paas/cluster"
	"paas/store"
)

const (
	codeReleaseFailed      = "release.failed"
	codeReleaseInterrupted = "release.interrupted"
	// releaseTime bounds a release command; a migration that needs longer is not
	// one to block deploys with.
	releaseTime = time.Hour
	// reachTime is how long an agent may need to come back: its lease and a reconnect.
	reachTime = 2 * api.NodeLease
	// placeTries is how many nodes may be lost one after the other.
	placeTries = 3
)

// releaser runs release commands: once per deployment, on any node. It looks at
// the state alone; that a command is about to be begun is a command of the store's,
// so that no server begins it a second time.
type releaser struct {
	*deployer
	assign *assigner
	node   func(cluster.NodeID) (api.NodeCalls, error)
}

// Run runs the commands of releasing deployments while this server leads.
func (r *releaser) Run(ctx context.Context) error {
	var g errgroup.Group
	running := map[cluster.DeploymentID]context.CancelFunc{}
	ended := make(chan cluster.DeploymentID) // sent by each command's goroutine, once
	defer func() { _ = g.Wait() }()          // the commands report to the state, not here
	for {
		st := r.store.State()
		want := releasing(st)
		for id, cancel := range running {
			if want[id] == nil {
				cancel() // the deployment was cancelled or its app destroyed
			}
		}
		for id, x := range want {
			if running[id] != nil {
				continue
			}
			job, cancel := context.WithTimeout(ctx, releaseTime)
			running[id] = cancel
			g.Go(func() error {
				defer cancel()
				r.conduct(job, x)
				select {
				case ended <- id:
				case <-ctx.Done():
				}
				return nil
			})
		}
		select {
		case <-r.store.Changed(st.Index()):
		case id := <-ended:
			delete(running, id)
			// If its end was not recorded the next look tries again, without hurry.
			if releasing(r.store.State())[id] != nil && pause(ctx, time.Second) != nil {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// releasing returns the deployments whose release command has to run.
func releasing(st *cluster.State) map[cluster.DeploymentID]*cluster.Deployment {
	out := map[cluster.DeploymentID]*cluster.Deployment{}
	for app := range st.Apps() {
		if app.Destroying {
			continue
		}
		if x := st.ActiveDeployment(app.Name); x != nil && x.State == cluster.DeploymentReleasing {
			out[x.ID] = x
		}
	}
	return out
}

// conduct runs one command and records what became of it.
func (r *releaser) conduct(ctx context.Context, x *cluster.Deployment) {
	begun, failure := r.begin(ctx, x)
	if begun {
		failure = r.attempt(ctx, x)
	} else if failure == nil {
		return // the deployment ended meanwhile, or who leads next begins it
	}
	if ctx.Err() != nil && failure != nil && failure.Code != codeReleaseInterrupted {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return // cancelled: the state knows; shutting down: the next start sees the log
		}
		failure.Message = fmt.Sprintf("the release command ran longer than %s", releaseTime)
	}
	update := cluster.DeploymentUpdate{ID: x.ID, State: cluster.DeploymentRolling}
	if failure != nil {
		update.State, update.Failure = cluster.DeploymentFailed, failure
	}
	ctx, cancel := aside(ctx)
	defer cancel()
	st := r.store.State()
	_, err := r.store.Propose(ctx, store.ApplyPlan{By: platform(), Plan: cluster.Plan{Index: st.Index(), Deployments: []cluster.DeploymentUpdate{update}}})
	if err != nil {
		r.log.Warn("end of a release command was not recorded", "app", string(x.App), "deployment", string(x.ID), "err", err)
	}
}

// begin says in the state that the command is about to be run. It is not begun, without
// a failure, if that could not be said: the state tells whether it was after all.
func (r *releaser) begin(ctx context.Context, x *cluster.Deployment) (begun bool, failure *cluster.Failure) {
	interrupted := &cluster.Failure{Code: codeReleaseInterrupted, Instance: "release.1",
		Message: "the release command was interrupted: the server that ran it stopped or lost the lead"}
	if !x.CommandAt.IsZero() {
		return false, interrupted
	}
	_, err := r.store.Propose(ctx, store.BeginCommand{By: platform(), Deployment: x.ID})
	var e *cluster.Error
	if errors.As(err, &e) && e.Code == store.CodeCommandBegun {
		return false, interrupted
	}
	return err == nil, nil
}

// attempt runs the command, which was begun; nil means that it succeeded.
func (r *releaser) attempt(ctx context.Context, x *cluster.Deployment) *cluster.Failure {
	fail := func(code, format string, args ...any) *cluster.Failure {
		return &cluster.Failure{Code: code, Message: fmt.Sprintf(format, args...), Instance: "release.1"}
	}
	log, err := r.logs.create(releaseLogName(x.ID))
	if errors.Is(err, fs.ErrExist) { // begun by a program that did not yet record it
		return fail(codeReleaseInterrupted, "the release command was interrupted by a restart of the server")
	}
	if err != nil {
		r.log.Error("log of a release command cannot be written", "app", string(x.App), "err", err)
		return fail(codeReleaseFailed, "the release command was not run: the server cannot write its log")
	}
	defer log.Close()
	in, node, calls, end, err := r.place(ctx, x)
	if err != nil {
		return fail(codeReleaseFailed, "the release command was not run: %s", oneLine(err))
	}
	defer end()
	code, err := calls.Run(ctx, *in, &outputTerminal{out: log})
	f := fail(codeReleaseFailed, "the release command exited with code %d", code)
	f.Node, f.ExitCode = node, code
	switch {
	case cluster.KindOf(err) == cluster.KindUnavailable: // it may go on, or be done
		f.Code, f.Message = codeReleaseInterrupted, "it is not known how the release command ended: "+oneLine(err)
	case err != nil:
		f.Message = "the release command did not run to its end: " + oneLine(err)
	case code == 0:
		return nil
	}
	return f
}

// place finds a node for the command and reaches it. One that does not come back in
// time is down by then: another one is tried, for nothing was sent to it.
func (r *releaser) place(ctx context.Context, x *cluster.Deployment) (in *api.RunRequest, node cluster.NodeID, calls api.NodeCalls, end func(), err error) {
	for range placeTries {
		if in, node, end, err = r.request(x); err != nil {
			return nil, "", nil, nil, err
		}
		if calls, err = r.reach(ctx, node); err == nil {
			return in, node, calls, end, nil
		}
		end()
		if ctx.Err() != nil {
			break
		}
	}
	return nil, "", nil, nil, err
}

// reach waits for a node that is up and not connected: after a start of the server
// or a broken session its agent is on its way.
func (r *releaser) reach(ctx context.Context, node cluster.NodeID) (api.NodeCalls, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	for {
		calls, err := r.node(node)
		if err == nil || pause(ctx, 50*time.Millisecond) != nil {
			return calls, err
		}
	}
}

// request is the release process of the deployment's release, on a node that has
// room for it, which is given back by end.
func (r *releaser) request(x *cluster.Deployment) (in *api.RunRequest, node cluster.NodeID, end func(), err error) {
	st := r.store.State()
	rel, err := st.Release(x.App, x.Release)
	if err != nil {
		return nil, "", nil, err
	}
	process, ok := rel.Processes[cluster.ProcessRelease]
	if !ok {
		return nil, "", nil, cluster.NotFound("process_type", "%s has no release command", x.Release)
	}
	node, end, err = r.oneOffs.place(st, process, rel.Image.Arch)
	if err != nil {
		return nil, "", nil, err
	}
	a, err := r.assign.oneOff(rel, cluster.ProcessRelease, 1, process)
	if err != nil {
		end()
		return nil, "", nil, err
	}
	a.ID = cluster.AllocationID("release-" + string(x.ID))
	return &api.RunRequest{App: x.App, Command: process.Command, Assignment: a}, node, end, nil
}

// outputTerminal is a terminal that nobody sits at: no input, output to a writer.
type outputTerminal struct {
	out io.Writer
	eof sync.Once
}

// Recv implements api.Terminal: the input ends at once.
func (t *outputTerminal) Recv(ctx context.Context) (api.Frame, error) {
	first := false
	t.eof.Do(func() { first = true })
	if first {
		return api.Frame{Kind: api.FrameEOF}, nil
	}
	<-ctx.Done()
	return api.Frame{}, io.EOF
}

// Send implements api.Terminal.
func (t *outputTerminal) Send(_ context.Context, f api.Frame) error {
	if f.Kind == api.FrameStdout || f.Kind == api.FrameStderr {
		_, err := t.out.Write(f.Data)
		return err
	}
	return nil
}
