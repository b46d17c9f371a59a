package server

import (
	"context"
	"math/rand/v2"
	"slices"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/store"
)

// processRun is the process type of one-off commands, for people: "run.4711".
const processRun cluster.ProcessType = "run"

// terminalService implements api.TerminalService.
type terminalService struct {
	*control
	assign *assigner
	node   func(cluster.NodeID) (api.NodeCalls, error)
}

// Run implements api.TerminalService.
func (s *terminalService) Run(ctx context.Context, in api.RunRequest, t api.Terminal) (int, error) {
	if err := commandGiven(in.Command); err != nil {
		return 0, err
	}
	for key, v := range in.Env {
		if err := cluster.ValidateConfigKey(key); err != nil {
			return 0, err
		}
		if err := cluster.ValidateConfigValue(key, v.Reveal()); err != nil {
			return 0, err
		}
	}
	st, app, err := s.app(ctx, in.App)
	if err != nil {
		return 0, err
	}
	rel, err := st.Release(app.Name, app.Current)
	if err != nil {
		return 0, cluster.Conflict("no_release", "app %s has nothing to run a command in", in.App).
			Because("no release serves yet").WithHint("deploy it: git push paas main")
	}
	process := oneOffProcess(rel, in.Command)
	node, end, err := s.oneOffs.place(st, process, rel.Image.Arch)
	if err != nil {
		return 0, err
	}
	defer end()
	calls, err := s.node(node)
	if err != nil {
		return 0, err
	}
	a, err := s.assign.oneOff(rel, processRun, 1000+rand.IntN(9000), process)
	if err != nil {
		return 0, err
	}
	a.ID = cluster.AllocationID("run-" + identity.NewID())
	for key, v := range in.Env {
		a.Env[key] = v
	}
	in.Env, in.Assignment = nil, a
	if err := s.audit(ctx, "run.started", in.App, a.Instance()); err != nil {
		return 0, err
	}
	return calls.Run(ctx, in, t)
}

// audit leaves a trace of who ran something where; the command itself may hold
// secrets and is not part of it.
func (s *terminalService) audit(ctx context.Context, action string, app cluster.AppName, instance string) error {
	_, err := s.store.Propose(ctx, store.Audit{By: s.by(ctx), Action: action, App: app, Target: instance, Text: "a command in " + instance})
	return err
}

// oneOffProcess is a process like the app's web, that listens on nothing.
func oneOffProcess(rel *cluster.Release, command []string) cluster.Process {
	p := rel.Processes[cluster.ProcessWeb]
	p.Command, p.KeepEntrypoint, p.Port, p.Check = command, false, 0, cluster.Check{}
	if p.MemoryBytes == 0 {
		p.MemoryBytes, p.CPUMilli = cluster.DefaultMemoryBytes, cluster.DefaultCPUMilli
	}
	return p
}

func commandGiven(command []string) error {
	if len(command) == 0 || command[0] == "" {
		return cluster.Invalid("command", "no command is given").WithHint("put it behind --, as in: paas run -- ls -l")
	}
	return nil
}

// Exec implements api.TerminalService.
func (s *terminalService) Exec(ctx context.Context, in api.ExecRequest, t api.Terminal) (int, error) {
	if err := commandGiven(in.Command); err != nil {
		return 0, err
	}
	st, _, err := s.app(ctx, in.App)
	if err != nil {
		return 0, err
	}
	a := runningInstance(st, in)
	if a == nil {
		return 0, cluster.NotFound("instance", "app %s has no running instance %.60q", in.App, in.Instance).
			WithHint("see what runs with: paas ps -a " + string(in.App))
	}
	calls, err := s.node(a.Node)
	if err != nil {
		return 0, err
	}
	in.Allocation = a.ID
	if err := s.audit(ctx, "exec.started", in.App, a.Instance()); err != nil {
		return 0, err
	}
	return calls.Exec(ctx, in, t)
}

// runningInstance is the newest attempt of the instance that runs, a healthy one
// if there is one.
func runningInstance(st *cluster.State, in api.ExecRequest) *cluster.Allocation {
	var found []*cluster.Allocation
	for a := range st.AllocationsOf(in.App) {
		runs := a.Observed.State == cluster.AllocationHealthy || a.Observed.State == cluster.AllocationStarting ||
			a.Observed.State == cluster.AllocationUnhealthy
		if a.Instance() == in.Instance && runs && a.Desired != cluster.DesiredStop {
			found = append(found, a)
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.SortFunc(found, func(a, b *cluster.Allocation) int {
		if x, y := rank(a), rank(b); x != y {
			return x - y
		}
		return b.Attempt - a.Attempt
	})
	return found[0]
}

func rank(a *cluster.Allocation) int {
	if a.Observed.State == cluster.AllocationHealthy && a.Desired == cluster.DesiredRun {
		return 0
	}
	return 1
}
