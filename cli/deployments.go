package cli

import (
	"context"
	"time"

	"paas/api"
	"paas/cluster"
)

func deploymentsVerb() *verb {
	return &verb{name: "deployments", aliases: []string{"deploys"}, group: groupLook, summary: "rollouts: how they went, how one goes", needs: needsApp, run: listDeployments,
		examples: []string{"paas deployments", "paas deployments watch"},
		verbs: []*verb{
			{name: "list", aliases: []string{"ls"}, summary: "list deployments, newest first", needs: needsApp, examples: []string{"paas deployments list"}, run: listDeployments},
			{name: "watch", summary: "follow a deployment to its end", args: "[DEPLOYMENT]", takes: upToOne, needs: needsApp, flags: waitFlags()[1:],
				about: "Without DEPLOYMENT it is the newest one.", examples: []string{"paas deployments watch d-91"}, run: watchDeployment},
			{name: "cancel", summary: "cancel a deployment: everything goes back", args: "[DEPLOYMENT]", takes: upToOne, needs: needsApp, changes: true,
				examples: []string{"paas deployments cancel d-91"}, run: cancelDeployment},
		}}
}

func listDeployments(ctx context.Context, in *invocation) error {
	list, err := in.client.Deployments(ctx, in.app)
	if err != nil {
		return err
	}
	return in.print(list, func(o *output) {
		var rows [][]string
		for _, d := range list {
			took := time.Since(d.CreatedAt)
			if !d.FinishedAt.IsZero() {
				took = d.FinishedAt.Sub(d.CreatedAt)
			}
			why := ""
			if d.Failure != nil {
				why = oneLine(d.Failure.Message)
			}
			rows = append(rows, []string{string(d.ID), o.state(deploymentState(d.State)), release(d.From), release(d.Release), short(took), ago(d.CreatedAt), why})
		}
		if len(rows) == 0 {
			o.notef("No deployments yet.\n")
			return
		}
		o.table([]string{"DEPLOYMENT", "STATE", "FROM", "TO", "TOOK", "WHEN", "WHY"}, rows)
	})
}

func deploymentState(s cluster.DeploymentState) (glyph, string) {
	switch s {
	case cluster.DeploymentSucceeded:
		return good, s.String()
	case cluster.DeploymentFailed:
		return bad, s.String()
	case cluster.DeploymentCancelled:
		return idle, s.String()
	}
	return busy, s.String()
}

// deployment is the argument, or the app's newest deployment.
func (in *invocation) deployment(ctx context.Context) (*cluster.Deployment, error) {
	list, err := in.client.Deployments(ctx, in.app)
	if err != nil {
		return nil, err
	}
	id := cluster.DeploymentID(in.arg(0))
	for _, d := range list {
		if id == "" || d.ID == id {
			return &d, nil
		}
	}
	if id == "" {
		return nil, cluster.NotFound("deployment", "app %s has no deployment yet", in.app).WithHint("deploy it: git push paas main")
	}
	return nil, cluster.NotFound("deployment", "app %s has no deployment %s", in.app, id).WithHint("list them with: paas deployments -a " + string(in.app))
}

func watchDeployment(ctx context.Context, in *invocation) error {
	d, err := in.deployment(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	res := &api.DeployResult{App: in.app, Release: d.Release, Deployment: d.ID}
	if err := in.watch(ctx, res); err != nil {
		return err
	}
	if app, err := in.client.App(ctx, in.app); err == nil {
		res.URL = app.URL
	}
	return in.report(res, time.Since(began))
}

func cancelDeployment(ctx context.Context, in *invocation) error {
	d, err := in.deployment(ctx)
	if err != nil {
		return err
	}
	if err := in.client.CancelDeployment(ctx, in.app, d.ID); err != nil {
		return err
	}
	return in.print(d, func(o *output) {
		o.done("deployment %s is cancelled: everything goes back to %s", d.ID, release(d.From))
	})
}
