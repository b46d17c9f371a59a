package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"

	"paas/api"
	"paas/cluster"
)

// Run runs a command in a container of its own, which is removed when the
// command ends or the caller goes. The command dies with its caller.
func (c *calls) Run(ctx context.Context, in api.RunRequest, t api.Terminal) (int, error) {
	if c.runtime.terminals == nil {
		return 0, errNoApps
	}
	s, err := c.oneOff(in)
	if err != nil {
		return 0, err
	}
	release, err := c.pins.hold(ctx, s.Image)
	if err != nil {
		return 0, terminalError("run the command", err)
	}
	defer release()
	if err := c.ensureImage(ctx, s.Image); err != nil {
		return 0, terminalError("run the command", err)
	}
	id, err := c.runtime.containers.Create(ctx, s)
	if err != nil {
		return 0, terminalError("run the command", err)
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		_ = c.runtime.containers.Remove(late, id) // if it stays, the agent's next start removes it
	}()
	attached, hangup := context.WithCancel(ctx)
	defer hangup()
	st, err := c.runtime.terminals.Attach(attached, id, s) // before the start: nothing printed is lost
	if err != nil {
		return 0, terminalError("run the command", err)
	}
	if err := c.runtime.containers.Start(ctx, id); err != nil {
		if exit, why := refusedCommand(err.Error()); exit != 0 && len(in.Command) > 0 {
			return tellRefused(ctx, t, in.Command, exit, why)
		}
		return 0, terminalError("run the command", err)
	}
	if in.TTY && in.Rows > 0 {
		_ = st.Resize(ctx, in.Rows, in.Cols) // a wrong size is no reason to refuse
	}
	if err := connect(ctx, t, st, hangup); err != nil {
		return 0, err
	}
	return st.Exit(ctx)
}

// oneOff is what the command's container is made from.
func (c *calls) oneOff(in api.RunRequest) (spec, error) {
	if in.Assignment == nil {
		return spec{}, errors.New("run: the request names no assignment")
	}
	a := *in.Assignment
	a.Env = maps.Clone(a.Env)
	if a.Env == nil {
		a.Env = map[string]cluster.Redacted{}
	}
	maps.Copy(a.Env, in.Env)
	if _, ok := a.Env["TERM"]; in.TTY && !ok {
		a.Env["TERM"] = cluster.Redacted(strings.TrimPrefix(defaultTerm, "TERM="))
	}
	if len(in.Command) > 0 {
		a.Process.Command = in.Command
	}
	return spec{Cluster: c.cluster, Assignment: a, Image: imageRef{Registry: c.registry(), Image: a.Image},
		OneOff: &oneOff{Name: randomName(), Life: c.life, TTY: in.TTY}}, nil
}

// randomName is 8 hex digits.
func randomName() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the process instead
	return hex.EncodeToString(b)
}

// ensureImage fetches an image that the engine lacks.
func (c *calls) ensureImage(ctx context.Context, ref imageRef) error {
	if has, err := c.runtime.images.Has(ctx, ref); has || err != nil {
		return err
	}
	if err := c.runtime.images.Fetch(ctx, ref); err != nil {
		return fmt.Errorf("fetch image: %w", err)
	}
	return nil
}
