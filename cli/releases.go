package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"paas/cluster"
)

func releasesVerb() *verb {
	limit := &cli.IntFlag{Name: "num", Aliases: []string{"n"}, Usage: "`N` newest", Value: 15}
	return &verb{name: "releases", group: groupLook, summary: "versions of an app: code, config, who, when", needs: needsApp, flags: []cli.Flag{limit},
		examples: []string{"paas releases", "paas releases info v7"}, run: listReleases,
		verbs: []*verb{
			{name: "list", aliases: []string{"ls"}, summary: "list releases, newest first", needs: needsApp, flags: []cli.Flag{limit},
				examples: []string{"paas releases list -n 50"}, run: listReleases},
			{name: "info", aliases: []string{"show"}, summary: "show one release", args: "[VERSION]", takes: upToOne, needs: needsApp,
				examples: []string{"paas releases info v7"}, run: showRelease},
		}}
}

func listReleases(ctx context.Context, in *invocation) error {
	list, err := in.client.Releases(ctx, in.app, in.Int("num"))
	if err != nil {
		return err
	}
	if in.out.json {
		return in.out.object(list)
	}
	app, err := in.client.App(ctx, in.app)
	if err != nil {
		return err
	}
	o := in.out
	if len(list) == 0 {
		o.notef("No releases yet.\n")
		o.next("git push paas main")
		return nil
	}
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{r.Version.String(), o.state(releaseState(&r, app.Current)), oneLine(r.Description), r.CreatedBy, ago(r.CreatedAt)})
	}
	o.table([]string{"RELEASE", "STATE", "DESCRIPTION", "BY", "WHEN"}, rows)
	return nil
}

// releaseState is what became of a release, in one word.
func releaseState(r *cluster.Release, current cluster.ReleaseVersion) (glyph, string) {
	switch {
	case r.Version == current:
		return live, "current"
	case r.State == cluster.ReleaseSucceeded:
		return idle, "ready"
	case r.State == cluster.ReleaseFailed:
		return bad, "failed"
	}
	return busy, r.State.String()
}

func showRelease(ctx context.Context, in *invocation) error {
	version, err := in.version(ctx)
	if err != nil {
		return err
	}
	r, err := in.client.Release(ctx, in.app, version)
	if err != nil {
		return err
	}
	return in.print(r, func(o *output) {
		pairs := [][2]string{{"Release", r.Version.String()}, {"State", r.State.String()}, {"What", oneLine(r.Description)},
			{"By", r.CreatedBy}, {"When", r.CreatedAt.Local().Format(time.DateTime)}}
		for _, p := range [][2]string{{"Commit", r.Commit}, {"Build", string(r.Build)}, {"Image", r.Image.Repository + "@" + r.Image.Digest}, {"Config", joined(sortedKeys(r.Config))}} {
			if p[1] != "" {
				pairs = append(pairs, p)
			}
		}
		for _, t := range sortedKeys(r.Processes) {
			p := r.Processes[t]
			pairs = append(pairs, [2]string{"Process", fmt.Sprintf("%s  %s  %d MiB  %s", t, commandText(p.Command), p.MemoryBytes>>20, p.Check.Kind)})
		}
		o.fields(pairs)
	})
}

// version is the argument, or the current release.
func (in *invocation) version(ctx context.Context) (cluster.ReleaseVersion, error) {
	if s := in.arg(0); s != "" {
		return cluster.ParseReleaseVersion(s)
	}
	app, err := in.client.App(ctx, in.app)
	if err != nil {
		return 0, err
	}
	if app.Current == 0 {
		return 0, cluster.NotFound("release", "app %s has no release yet", in.app).WithHint("deploy it: git push paas main")
	}
	return app.Current, nil
}

func commandText(command []string) string {
	switch {
	case len(command) == 0:
		return "(the image's own)"
	case len(command) == 3 && command[0] == "/bin/sh" && command[1] == "-c":
		return oneLine(command[2])
	}
	return oneLine(fmt.Sprint(command))
}
