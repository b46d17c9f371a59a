package cli

import (
	"context"
	"time"

	"paas/cluster"
)

func buildsVerb() *verb {
	return &verb{name: "builds", group: groupLook, summary: "builds and their logs", needs: needsApp, run: listBuilds,
		examples: []string{"paas builds", "paas builds log"},
		verbs: []*verb{
			{name: "list", aliases: []string{"ls"}, summary: "list builds, newest first", needs: needsApp, examples: []string{"paas builds list"}, run: listBuilds},
			{name: "log", aliases: []string{"logs"}, summary: "print a build's log, following it while it runs", args: "[BUILD]", takes: upToOne, needs: needsApp,
				about: "Without BUILD it is the newest one.", examples: []string{"paas builds log", "paas builds log b-12"}, run: buildLog},
			{name: "cancel", summary: "stop a build", args: "[BUILD]", takes: upToOne, needs: needsApp, changes: true,
				examples: []string{"paas builds cancel b-12"}, run: cancelBuild},
		}}
}

func listBuilds(ctx context.Context, in *invocation) error {
	list, err := in.client.Builds(ctx, in.app)
	if err != nil {
		return err
	}
	return in.print(list, func(o *output) {
		var rows [][]string
		for _, b := range list {
			took := time.Since(b.CreatedAt)
			if !b.FinishedAt.IsZero() {
				took = b.FinishedAt.Sub(b.CreatedAt)
			}
			note := b.Reason
			if b.Failure != "" {
				note = b.Failure
			}
			rows = append(rows, []string{string(b.ID), o.state(buildState(b.State)), b.Method, shortHash(b.Commit), short(took), ago(b.CreatedAt), oneLine(note)})
		}
		if len(rows) == 0 {
			o.notef("No builds yet.\n")
			return
		}
		o.table([]string{"BUILD", "STATE", "METHOD", "COMMIT", "TOOK", "WHEN", "NOTE"}, rows)
	})
}

func buildState(s cluster.BuildState) (glyph, string) {
	switch s {
	case cluster.BuildSucceeded:
		return good, s.String()
	case cluster.BuildFailed:
		return bad, s.String()
	case cluster.BuildCancelled:
		return idle, s.String()
	}
	return busy, s.String()
}

func shortHash(commit string) string {
	if commit == "" {
		return "-"
	}
	return commit[:min(7, len(commit))]
}

// build is the argument, or the app's newest build.
func (in *invocation) build(ctx context.Context) (cluster.BuildID, error) {
	if id := in.arg(0); id != "" {
		return cluster.BuildID(id), nil
	}
	list, err := in.client.Builds(ctx, in.app)
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", cluster.NotFound("build", "app %s has no build yet", in.app).WithHint("deploy it: git push paas main")
	}
	return list[0].ID, nil
}

func buildLog(ctx context.Context, in *invocation) error {
	id, err := in.build(ctx)
	if err != nil {
		return err
	}
	err = in.client.BuildLog(ctx, in.app, id, in.out.out)
	if ctx.Err() != nil && isDone(ctx, err) {
		return status(exitInterrupted)
	}
	return err
}

func cancelBuild(ctx context.Context, in *invocation) error {
	id, err := in.build(ctx)
	if err != nil {
		return err
	}
	if err := in.client.CancelBuild(ctx, in.app, id); err != nil {
		return err
	}
	b, err := in.client.Build(ctx, in.app, id)
	if err != nil {
		return err
	}
	return in.print(b, func(o *output) { o.done("build %s is stopped", id) })
}
