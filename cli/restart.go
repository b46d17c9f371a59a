package cli

import (
	"context"
	"time"

	"paas/api"
	"paas/cluster"
)

func restartVerb() *verb {
	return &verb{name: "restart", group: groupChange, summary: "replace replicas one by one, without downtime", args: "[TYPE]...",
		takes: zeroOrMore, needs: needsApp, changes: true, flags: waitFlags(), run: restart,
		examples: []string{"paas restart", "paas restart worker -a blog"}}
}

func restart(ctx context.Context, in *invocation) error {
	var types []cluster.ProcessType
	for _, t := range in.args {
		types = append(types, cluster.ProcessType(t))
	}
	began := time.Now()
	if err := in.client.Restart(ctx, in.app, api.Restart{Types: types}); err != nil {
		return err
	}
	if in.Bool("detach") {
		in.out.done("%s restarts", in.app)
		return nil
	}
	if err := in.settle(ctx, types); err != nil {
		return err
	}
	if in.jsonStream() {
		return nil
	}
	if in.out.json {
		list, err := in.client.Processes(ctx, in.app)
		if err != nil {
			return err
		}
		return in.out.object(list)
	}
	in.out.done("%s was restarted  %s", in.app, in.out.outStyle.dim(short(time.Since(began))))
	return nil
}
