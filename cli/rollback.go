package cli

import (
	"context"

	"paas/api"
	"paas/cluster"
)

func rollbackVerb() *verb {
	return &verb{name: "rollback", group: groupChange, summary: "return to an earlier release, config included", args: "[VERSION]", takes: upToOne,
		needs: needsApp, changes: true, flags: waitFlags(yesFlag()), run: rollback,
		about:    "It makes a new release from an old one; without VERSION, from the one before. Only releases\nthat became healthy once are eligible.",
		examples: []string{"paas rollback", "paas rollback v7 --yes"}}
}

func rollback(ctx context.Context, in *invocation) error {
	var to cluster.ReleaseVersion
	if s := in.arg(0); s != "" {
		var err error
		if to, err = cluster.ParseReleaseVersion(s); err != nil {
			return err
		}
	}
	what := "the release before"
	if !in.Bool("yes") && (to > 0 || in.mayAsk()) { // nobody is to say yes to what there is not
		rel, err := in.rollbackTarget(ctx, to)
		if err != nil {
			return err
		}
		to, what = rel.Version, rel.Version.String()+" ("+oneLine(rel.Description)+")"
	}
	if err := in.confirm(ctx, "Return "+string(in.app)+" to "+what+"? Code and config go back; data is not touched."); err != nil {
		return err
	}
	res, err := in.inTurn(ctx, func(ctx context.Context) (*api.DeployResult, error) {
		return in.client.Rollback(ctx, in.app, api.Rollback{To: to})
	})
	if err != nil {
		return err
	}
	if err := in.finish(ctx, res); err != nil {
		return err
	}
	if !in.out.json && res.Deployment != "" {
		in.out.notef("  config went back, too; undo: paas rollback\n")
	}
	return nil
}

// rollbackTarget is the release that a person is asked about: to, or without one
// the newest before the current one that became healthy, which is the server's
// rule as well.
func (in *invocation) rollbackTarget(ctx context.Context, to cluster.ReleaseVersion) (*cluster.Release, error) {
	if to > 0 {
		return in.client.Release(ctx, in.app, to)
	}
	app, err := in.client.App(ctx, in.app)
	if err != nil {
		return nil, err
	}
	list, err := in.client.Releases(ctx, in.app, 0)
	if err != nil {
		return nil, err
	}
	for _, r := range list { // newest first
		if r.State == cluster.ReleaseSucceeded && r.Version < app.Current {
			return &r, nil
		}
	}
	return nil, cluster.Conflict("no_rollback", "app %s has nothing to roll back to", in.app).Because("no release before %s succeeded", release(app.Current))
}
