package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/builder"
	"paas/cluster"
)

func deployVerb() *verb {
	return &verb{name: "deploy", group: groupStart, summary: "build and roll out a folder or an image (git push does the same)", args: "[DIR]", takes: upToOne,
		needs: needsApp, changes: true, run: deploy,
		about: "DIR, or the current folder, is sent as it lies there, committed or not, without .git and what\n" +
			".gitignore and .paasignore name. Ctrl-C before the rollout cancels everything; after that the\n" +
			"rollout goes on.",
		flags: waitFlags(&cli.StringFlag{Name: "image", Usage: "deploy the prebuilt image `REF` instead"},
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "what the release's description says: `TEXT`"}),
		examples: []string{"paas deploy", "paas deploy ./site -a blog", "paas deploy --image registry.example.com/blog:1.2"}}
}

func deploy(ctx context.Context, in *invocation) error {
	image := in.String("image")
	if image != "" && len(in.args) > 0 {
		return cluster.Invalid("arguments", "a folder and an image cannot be deployed at once").WithHint("give one of them")
	}
	if text := in.String("message"); text != "" {
		if err := cluster.ValidateLine("message", text); err != nil {
			return err
		}
	}
	d := &rollout{invocation: in}
	send := func(ctx context.Context, report func(api.Progress)) (*api.DeployResult, error) {
		return in.client.DeployImage(ctx, in.app, api.DeployImage{Image: image}, report)
	}
	if image == "" {
		dir, err := sourceDir(in.arg(0))
		if err != nil {
			return err
		}
		send = func(ctx context.Context, report func(api.Progress)) (*api.DeployResult, error) {
			return d.upload(ctx, dir, report)
		}
	}
	began := time.Now()
	if err := in.follow(ctx, d.leave, func(ctx context.Context, report func(api.Progress)) error { return d.run(ctx, report, send) }); err != nil {
		return err
	}
	return in.report(d.result, time.Since(began))
}

// rollout is one deploy and how far it came.
type rollout struct {
	*invocation
	result *api.DeployResult
	begun  *api.DeployResult // the deployment, once there is one: it no longer depends on us
}

// run deploys, or with --detach only until the rollout is under way.
func (d *rollout) run(ctx context.Context, report func(api.Progress), send func(context.Context, func(api.Progress)) (*api.DeployResult, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	res, err := send(ctx, func(p api.Progress) {
		report(p)
		if p.Result != nil && p.Result.Deployment != "" {
			d.begun = p.Result
			if d.Bool("detach") {
				cancel(errWaited)
			}
		}
	})
	d.result = res
	if context.Cause(ctx) == errWaited {
		d.result, err = d.begun, nil
	}
	return err
}

func (d *rollout) leave() leaving {
	if d.begun == nil {
		return leaving{"the deploy was cancelled before anything was rolled out", "deploy again: paas deploy -a " + string(d.app)}
	}
	return d.leaveDeployment(d.begun)
}

// sourceDir is the folder to deploy.
func sourceDir(arg string) (string, error) {
	if arg == "" {
		arg = "."
	}
	dir, err := filepath.Abs(arg)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", arg, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", cluster.NotFound("folder", "no folder %s", arg).Because("%v", err)
	}
	if !info.IsDir() {
		return "", cluster.Invalid("folder", "%s is no folder", arg).WithHint("deploy the folder that it lies in")
	}
	return dir, nil
}

// upload sends the folder while it is read.
func (d *rollout) upload(ctx context.Context, dir string, report func(api.Progress)) (*api.DeployResult, error) {
	source := api.DeploySource{Description: d.String("message")}
	if hash, dirty := gitHead(ctx, dir); hash != "" && !dirty {
		source.Commit = hash
	}
	r, w := io.Pipe()
	archived := make(chan error, 1) // sent once
	go func() {
		err := builder.Archive(ctx, dir, w)
		w.CloseWithError(err)
		archived <- err
	}()
	source.Archive = r
	res, err := d.client.DeploySource(ctx, d.app, source, report)
	_ = r.Close() // an upload that was refused is not read to its end
	if bad := <-archived; bad != nil && cluster.KindOf(bad) == cluster.KindBuildFailed {
		return res, bad // why the server saw the upload break off
	}
	return res, err
}
