package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"paas/agent"
	"paas/builder"
	"paas/cluster"
)

func downVerb() *verb {
	return &verb{name: "down", group: groupRun, summary: "stop what paas up started; the state stays", run: down,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "`DIR` of the state", DefaultText: "~/.local/share/paas/dev"},
			&cli.BoolFlag{Name: "purge", Usage: "remove everything that it made, too: containers, network, images, state, context; volumes stay"},
			yesFlag()},
		examples: []string{"paas down", "paas down --purge --yes"}}
}

func down(ctx context.Context, in *invocation) error {
	dir, err := in.dataDir()
	if err != nil {
		return err
	}
	r, err := readRecord(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if in.Bool("purge") {
		return in.purge(ctx, dir, r)
	}
	if r == nil {
		in.out.notef("Nothing runs in %s.\n", dir)
		in.tellRunning()
		return nil
	}
	ran := r.alive()
	if err := in.stop(ctx, dir, r); err != nil {
		return err
	}
	if ran {
		in.out.done("stopped; the state stays in %s", tilde(dir, in.env("HOME")))
	} else {
		in.out.notef("Nothing runs in %s; its state stays.\n", tilde(dir, in.env("HOME")))
		in.tellRunning()
	}
	if r.Context != "" {
		in.out.next("paas up --detach" + dataFlag(in, dir))
	}
	return nil
}

// stop ends the process that runs in dir, and its containers.
func (in *invocation) stop(ctx context.Context, dir string, r *upRecord) error {
	if r.alive() {
		in.out.notef("Stopping process %d …\n", r.PID)
		if err := syscall.Kill(r.PID, syscall.SIGTERM); err != nil {
			return cluster.Errorf(cluster.KindForbidden, "process", "process %d cannot be stopped", r.PID).Because("%v", err).
				WithHint("run it as the user who started it")
		}
		err := await(ctx, stopTime, func() bool { return !r.alive() })
		if ctx.Err() != nil {
			return interrupted(fmt.Sprintf("process %d goes on stopping", r.PID), "see its end in "+filepath.Join(dir, "up.log"))
		}
		if err != nil {
			return cluster.Errorf(cluster.KindUnavailable, "process", "process %d still runs after %s", r.PID, stopTime).
				WithHint("see " + filepath.Join(dir, "up.log") + ", then: kill -9 " + fmt.Sprint(r.PID))
		}
	}
	lock, err := lockData(dir)
	if err != nil {
		return err
	}
	defer lock.release()
	if r.Cluster == "" {
		return nil // it never came so far as to make something
	}
	return in.stopContainers(dir, r)
}

// purge removes everything that "up" made, and nothing else.
func (in *invocation) purge(ctx context.Context, dir string, r *upRecord) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		in.out.notef("There is nothing in %s.\n", dir)
		return nil
	}
	if !isData(dir) {
		return cluster.Invalid("data", "%s was not made by paas", dir).Because("it holds no state").WithHint("name the right one: --data DIR")
	}
	if err := in.confirm(ctx, "Remove all apps and state in "+dir+" for good?"); err != nil {
		return err
	}
	if r != nil {
		if err := in.stop(ctx, dir, r); err != nil {
			return err
		}
	}
	lock, err := lockData(dir)
	if err != nil {
		return err
	}
	defer lock.release()
	if err := in.wipe(ctx, dir, removeDir); err != nil {
		return err
	}
	gone, current, err := dropContext(in.env, dir)
	if err != nil {
		return err
	}
	in.out.done("everything that was made in %s is gone", tilde(dir, in.env("HOME")))
	if len(gone) > 0 && current != "" {
		in.out.notef("Context %s is forgotten; the current one is %s now.\n", strings.Join(gone, ", "), current)
	}
	return nil
}

// ending says what becomes of the directory itself.
type ending uint8

const (
	keepDir ending = iota
	removeDir
)

// wipe removes containers, network and images of the state in dir, then the
// state. What another process on this host serves stays. The caller holds the lock.
func (in *invocation) wipe(ctx context.Context, dir string, then ending) error {
	r, err := readRecord(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && r.Cluster != "" {
		if err := in.wipeEngine(ctx, dir, r.Cluster); err != nil {
			return err
		}
	}
	for _, name := range ours {
		if name == "lock" || then == keepDir && name == "up.log" {
			continue // we hold the one, and may be writing the other
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove the state: %w", err)
		}
	}
	if then == keepDir {
		return nil
	}
	if err := remove(filepath.Join(dir, "lock")); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("remove the state: %w", err)
	}
	return nil // whatever else lies there is not ours
}

// wipeEngine removes what the state in dir made on the engine.
func (in *invocation) wipeEngine(ctx context.Context, dir string, id cluster.ClusterID) error {
	claim, err := in.claim(dir, id)
	if claim == nil {
		return err
	}
	defer claim.Release()
	if err := claim.Purge(ctx); err != nil {
		return err
	}
	in.tellKept(ctx, claim)
	if err := claim.PurgeImages(ctx, agentDir(dir)); err != nil {
		return err
	}
	return builder.Purge(ctx, id, registryAddress(dir))
}

// tellKept names the volumes that stay when everything else goes.
func (in *invocation) tellKept(ctx context.Context, claim *agent.Claim) {
	kept, err := claim.Kept(ctx)
	if err != nil {
		in.out.warnf("volumes stay; which ones, the engine did not say: %v", err)
		return
	}
	for _, name := range kept {
		in.out.notef("The data of docker volume %s stays; to remove it: docker volume rm %s\n", name, name)
	}
}

// claim takes the sole right to what a cluster has on the engine. It is nil when
// another process has it: the state in dir is a copy, or was copied, and what runs
// belongs to whoever serves it.
func (in *invocation) claim(dir string, id cluster.ClusterID) (*agent.Claim, error) {
	claim, err := agent.NewClaim(id, dir)
	var other *agent.ClaimedError
	if errors.As(err, &other) {
		in.out.warnf("containers, network and images stay: %s serves the same cluster on this host", holder(other))
		return nil, nil
	}
	return claim, err
}

// ours is everything that server, agent and this package keep in a data
// directory. Nothing else is ever removed: somebody may have named a directory
// that holds more.
var ours = []string{"cluster.cbor", "cluster.cbor.new", "seal.key", "node", "raft", "registry", "git", "hooks", "builds", "tmp",
	"hook.sock", "agent", "roster.json", "joined", "join.key", "membership.json", "recovered", "up.access", "up.json", "up.log", "lock"}

// registryAddress is what images of this state are named after; "" if there
// never was a registry. The builder keeps it there.
func registryAddress(dir string) string {
	data, err := os.ReadFile(filepath.Join(dir, "registry", "address"))
	if err != nil {
		return ""
	}
	if _, err := cluster.ParseAddress("registry", strings.TrimSpace(string(data))); err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
