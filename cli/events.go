package cli

import (
	"context"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"paas/cluster"
)

func eventsVerb() *verb {
	return &verb{name: "events", group: groupLook, summary: "what changed, when, by whom", needs: needsServer, run: events,
		flags: append(appFlags(),
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until Ctrl-C"},
			&cli.BoolFlag{Name: "all", Usage: "of every app and the cluster, also in an app's folder"},
			&cli.IntFlag{Name: "num", Aliases: []string{"n"}, Usage: "the last `N`", Value: 50}),
		examples: []string{"paas events", "paas events -f --all --json"}}
}

func events(ctx context.Context, in *invocation) error {
	if n := in.Int("num"); n < 1 || n > 1000 {
		return cluster.Invalid("num", "--num %d is out of range", n).Because("it is 1 to 1000")
	}
	if !in.Bool("all") {
		found, err := in.inferApp(ctx)
		if err != nil {
			return err
		}
		in.app = found.app
	}
	list, err := in.client.Events(ctx, in.app, in.Int("num"))
	if err != nil {
		return err
	}
	if !in.Bool("follow") {
		return in.print(list, func(o *output) { o.events(list) })
	}
	since := uint64(0)
	for _, e := range list {
		since = max(since, e.Index)
		if err := in.printEvent(e); err != nil {
			return err
		}
	}
	err = in.client.FollowEvents(ctx, in.app, since, in.printEvent)
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return status(exitInterrupted)
	}
	return err
}

func (in *invocation) printEvent(e cluster.Event) error {
	if in.out.json {
		return in.out.line(e)
	}
	in.out.events([]cluster.Event{e})
	return nil
}

func (o *output) events(list []cluster.Event) {
	for _, e := range list {
		at := e.At.UTC().Format(time.RFC3339)
		if !o.outTTY {
			o.printf("%s\t%s\t%s\t%s\t%s\n", at, e.Actor, e.Action, e.App, oneLine(e.Text))
			continue
		}
		o.printf("%s  %-14s %s\n", o.outStyle.dim(e.At.Local().Format(time.DateTime)), e.Actor, oneLine(e.Text))
	}
}
