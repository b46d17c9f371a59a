package agent

import (
	"context"
	"errors"

	"paas/api"
	"paas/cluster"
)

// calls is what the agent does for its server: api.NodeCalls.
type calls struct {
	cluster    cluster.ClusterID
	life       string
	runtime    runtime
	board      *board
	archive    *archive
	assignment func(cluster.AllocationID) (api.Assignment, bool)
	registry   func() cluster.RegistryEndpoint
	pins       *pins
}

var _ api.NodeCalls = (*calls)(nil)

// errNoApps answers calls on a node that runs nothing.
var errNoApps = cluster.Errorf(cluster.KindUnavailable, "node", "this node runs no apps")

// Exec runs a command in a replica's container. When the caller goes the command
// is killed as well as possible: Docker has no call for that, so it takes an
// agent that runs as root on the engine's own host, and what the command itself
// started may survive it until the replica ends.
func (c *calls) Exec(ctx context.Context, in api.ExecRequest, t api.Terminal) (int, error) {
	if c.runtime.terminals == nil {
		return 0, errNoApps
	}
	if len(in.Command) == 0 {
		return 0, cluster.Invalid("command", "no command was given")
	}
	o, ok := c.board.get(in.Allocation)
	if !ok || !shouldRun(o.Observation.State) {
		return 0, cluster.Conflict("instance", "%s does not run now", in.Instance).WithHint("see what runs with: paas ps -a " + string(in.App))
	}
	attached, hangup := context.WithCancel(ctx)
	defer hangup()
	opened, err := c.runtime.terminals.Exec(attached, o.Observation.ContainerID, in)
	if err != nil {
		return 0, terminalError("exec in "+in.Instance, err)
	}
	s := &watched{stream: opened}
	if in.TTY && in.Rows > 0 {
		_ = s.Resize(ctx, in.Rows, in.Cols) // a wrong size is no reason to refuse
	}
	if err := connect(ctx, t, s, hangup); err != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		_ = s.Signal(late, "KILL") // as well as possible
		return 0, err
	}
	if exit, why := refusedCommand(s.said); exit != 0 {
		return tellRefused(ctx, t, in.Command, exit, why)
	}
	if err := s.flush(ctx, t); err != nil {
		return 0, err
	}
	return s.Exit(ctx)
}

// terminalError says to people why a command could not be attached to.
func terminalError(what string, err error) error {
	switch {
	case errors.Is(err, errEngineDown):
		return cluster.Errorf(cluster.KindUnavailable, "engine", "cannot %s", what).Because("the node's container engine is not running").Wrap(err)
	case errors.Is(err, errNoContainer):
		return cluster.Errorf(cluster.KindConflict, "instance", "cannot %s", what).Because("its container is gone").Wrap(err)
	case errors.Is(err, errNoImage):
		return cluster.Errorf(cluster.KindUnavailable, "image", "cannot %s", what).Because("its image is neither on the node nor in the registry").Wrap(err)
	}
	return cluster.Errorf(cluster.KindInvalid, "command", "cannot %s", what).Because("%s", oneLine(err.Error())).Wrap(err)
}
