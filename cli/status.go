package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
)

func statusVerb() *verb {
	return &verb{name: "status", group: groupLook, summary: "health of an app, or of the cluster", needs: needsServer, run: showStatus,
		flags: append(appFlags(), &cli.BoolFlag{Name: "cluster", Usage: "the cluster, also in an app's folder"}),
		about: "In an app's folder, or with -a, it shows the app; elsewhere the cluster.", examples: []string{"paas status -a blog", "paas status --cluster --json"}}
}

func showStatus(ctx context.Context, in *invocation) error {
	if !in.Bool("cluster") {
		found, err := in.inferApp(ctx)
		if err != nil {
			return err
		}
		if in.app = found.app; in.app != "" {
			return in.appStatus(ctx)
		}
	}
	s, err := in.client.Status(ctx)
	if err != nil {
		return err
	}
	return in.print(s, func(o *output) {
		nodes, leader := o.state(good, fmt.Sprintf("%d of %d up", s.NodesUp, s.Nodes)), s.Leader
		switch {
		case s.Leader == "": // it is the leader who hears them
			nodes, leader = o.state(idle, fmt.Sprintf("%d; which of them are up is not known", s.Nodes)), "none"
		case s.NodesUp < s.Nodes:
			nodes = o.state(bad, fmt.Sprintf("%d of %d up", s.NodesUp, s.Nodes))
		}
		fields := [][2]string{{"Cluster", string(s.ID)}, {"Server", in.target.server + "  " + s.Version}, {"Nodes", nodes},
			{"Leader", fmt.Sprintf("%s  (%s, index %d)", leader, counted(s.Servers, "server"), s.Index)},
			{"Apps", fmt.Sprintf("%d  at %s", s.Apps, appURLPattern(string(s.Domain), s.HTTPSPort))}}
		for _, low := range s.LowSpace {
			g := warn
			if low.Level == cluster.SpaceFull {
				g = bad
			}
			fields = append(fields, [2]string{"Disk", o.state(g, low.Node+" "+low.Path+" "+low.String())})
		}
		o.fields(fields)
		o.next("paas apps", "paas nodes")
	})
}

// appURLPattern is where apps are.
func appURLPattern(domain string, port int) string {
	url := "https://APP." + domain
	if port != 0 && port != 443 {
		url += fmt.Sprintf(":%d", port)
	}
	return url
}

func (in *invocation) appStatus(ctx context.Context) error {
	app, err := in.client.App(ctx, in.app)
	if err != nil {
		return err
	}
	if in.out.json {
		return in.out.object(app)
	}
	list, err := in.client.Processes(ctx, in.app)
	if err != nil {
		return err
	}
	o := in.out
	g, word := appState(app)
	o.printf("%s  %s  %s  %s\n", o.outStyle.bold(string(app.Name)), o.outStyle.tint(o.state(g, word)), releaseText(app), app.URL)
	if len(list.Allocations) > 0 {
		o.table(replicaHead, replicaRows(o, list, time.Now()))
	}
	if o.outTTY {
		o.fields([][2]string{{"  scale", formation(list)}, {"  domains", joined(app.Domains)}, {"  as of", fmt.Sprintf("index %d", list.Index)}})
	}
	in.tellUnplaced(ctx, list)
	in.tellCrashing(ctx, list)
	in.tellSilent(list)
	return nil
}

// releaseText is the current release: what, who, when.
func releaseText(app *api.AppInfo) string {
	if app.Release == nil {
		return "no release yet"
	}
	r := app.Release
	what := oneLine(r.Description)
	return fmt.Sprintf("%s (%s, %s, %s)", r.Version, what, r.CreatedBy, ago(r.CreatedAt))
}
