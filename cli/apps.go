package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
)

func appsVerb() *verb {
	return &verb{name: "apps", aliases: []string{"app"}, group: groupStart, summary: "list, create, show and destroy apps", needs: needsServer,
		examples: []string{"paas apps", "paas apps create blog", "paas apps destroy -a blog --confirm blog"}, run: listApps,
		verbs: []*verb{
			{name: "list", aliases: []string{"ls"}, summary: "list the apps that you may see", needs: needsServer, examples: []string{"paas apps list --json"}, run: listApps},
			appsCreateVerb(),
			{name: "info", aliases: []string{"show"}, summary: "show an app", args: "[NAME]", takes: upToOne, needs: needsServer, flags: appFlags(),
				examples: []string{"paas apps info -a blog"}, run: showApp},
			appsUpdateVerb(),
			appsDestroyVerb(),
		}}
}

func appsCreateVerb() *verb {
	return &verb{name: "create", aliases: []string{"new"}, summary: "create an app, and connect this folder to it", args: "[NAME]", takes: upToOne,
		needs: needsServer, run: createApp,
		about: "In a git work tree it also adds the remote \"paas\", so that git push deploys. Without NAME\n" +
			"the name is paas.toml's, else the folder's; outside of git one is made up if that is taken.",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "app", Aliases: []string{"a"}, Usage: "`NAME` of the app, instead of the argument"},
			&cli.StringFlag{Name: "remote", Aliases: []string{"r"}, Usage: "`NAME` of the git remote", Value: "paas"},
			&cli.BoolFlag{Name: "no-remote", Usage: "leave git alone"},
			&cli.StringFlag{Name: "deploy-branch", Usage: "`BRANCH` whose pushes deploy, instead of main and master"},
		},
		examples: []string{"paas apps create", "paas apps create blog && git push paas main"}}
}

func appsUpdateVerb() *verb {
	return &verb{name: "update", summary: "change an app's settings", needs: needsApp, changes: true, run: updateApp,
		flags:    []cli.Flag{&cli.StringFlag{Name: "deploy-branch", Usage: "`BRANCH` whose pushes deploy; \"\" is main and master"}},
		examples: []string{"paas apps update -a blog --deploy-branch release/2.0"}}
}

func appsDestroyVerb() *verb {
	return &verb{name: "destroy", aliases: []string{"delete"}, summary: "destroy an app and everything of it", args: "[NAME]", takes: upToOne,
		needs: needsServer, run: destroyApp,
		about: "Its containers, images, releases, config and git repository go for good. Its volumes\nstay: paas volumes list --all. The name has to be typed, or given with --confirm.",
		flags: append(appFlags(), &cli.StringFlag{Name: "confirm", Usage: "the app's `NAME` again"}),

		examples: []string{"paas apps destroy -a blog --confirm blog"}}
}

func listApps(ctx context.Context, in *invocation) error {
	apps, err := in.client.Apps(ctx)
	if err != nil {
		return err
	}
	return in.print(apps, func(o *output) {
		if len(apps) == 0 {
			o.notef("No apps yet.\n")
			o.next("paas apps create")
			return
		}
		var rows [][]string
		for _, a := range apps {
			rows = append(rows, []string{string(a.Name), o.state(appState(&a)), release(a.Current), fmt.Sprintf("%d/%d", a.Healthy, a.Wanted), a.URL})
		}
		o.table([]string{"APP", "STATE", "RELEASE", "HEALTHY", "URL"}, rows)
	})
}

// appState is an app's health in one word.
func appState(a *api.AppInfo) (glyph, string) {
	switch {
	case a.Destroying:
		return busy, "being destroyed"
	case a.Deployment != nil:
		return busy, "deploying"
	case a.Current == 0:
		return idle, "not deployed"
	case a.Wanted == 0:
		return idle, "scaled to zero"
	case a.Healthy >= a.Wanted:
		return good, "healthy"
	case a.Healthy == 0:
		return bad, "down"
	}
	return warn, "degraded"
}

func release(v cluster.ReleaseVersion) string {
	if v == 0 {
		return "-"
	}
	return v.String()
}

// chooseApp is for commands that take the app as an argument, too.
func (in *invocation) chooseApp(ctx context.Context) error {
	name := in.arg(0)
	if name == "" {
		return in.findApp(ctx)
	}
	if flag := in.String("app"); flag != "" && flag != name {
		return cluster.Invalid("app", "two apps are named: %s and %s", name, flag).WithHint("name one of them")
	}
	if in.String("remote") != "" {
		return cluster.Invalid("app", "an app and a git remote are named: %s and %s", name, oneLine(in.String("remote"))).WithHint("name one of them")
	}
	in.app, in.source = cluster.AppName(name), "argument"
	return in.app.Validate()
}

func showApp(ctx context.Context, in *invocation) error {
	if err := in.chooseApp(ctx); err != nil {
		return err
	}
	a, err := in.client.App(ctx, in.app)
	if err != nil {
		return err
	}
	return in.print(a, func(o *output) {
		g, word := appState(a)
		o.fields([][2]string{{"App", string(a.Name)}, {"State", o.state(g, word)}, {"URL", a.URL}, {"Git", in.gitURL(a.GitURL)},
			{"Domains", joined(a.Domains)}, {"Release", release(a.Current)}, {"Replicas", fmt.Sprintf("%d of %d healthy", a.Healthy, a.Wanted)},
			{"Deploys", deployBranch(a.DeployBranch)}, {"Created", a.CreatedAt.Local().Format(time.DateTime) + " by " + a.CreatedBy}})
	})
}

func deployBranch(branch string) string {
	if branch == "" {
		return "pushes to main and master"
	}
	return "pushes to " + branch
}

func joined[T ~string](items []T) string {
	var out []string
	for _, i := range items {
		out = append(out, string(i))
	}
	return strings.Join(out, ", ")
}

// fields prints what is known of one thing, name by name.
func (o *output) fields(pairs [][2]string) {
	for _, p := range pairs {
		if !o.outTTY {
			o.printf("%s\t%s\n", p[0], p[1])
			continue
		}
		o.printf("%s %s\n", o.outStyle.dim(fmt.Sprintf("%-10s", p[0])), o.outStyle.tint(p[1]))
	}
}

func createApp(ctx context.Context, in *invocation) error {
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the current folder: %w", err)
	}
	root := repositoryRoot(dir)
	remote, err := in.remoteName()
	if err != nil {
		return err
	}
	name, err := in.newName(dir, root)
	if err != nil {
		return err
	}
	in.header()
	app, err := in.client.CreateApp(ctx, api.CreateApp{Name: name, DeployBranch: in.String("deploy-branch")})
	if root == "" && cluster.KindOf(err) == cluster.KindConflict && in.arg(0)+in.String("app") == "" {
		in.out.notef("The name %s is taken; another one is made up.\n", name)
		app, err = in.client.CreateApp(ctx, api.CreateApp{DeployBranch: in.String("deploy-branch")})
	}
	if err != nil {
		return withLink(err, name, root)
	}
	if !in.out.json {
		in.out.done("App %s created  %s", app.Name, app.URL)
	}
	if root != "" && !in.Bool("no-remote") {
		if err := in.link(ctx, root, remote, app); err != nil {
			return err
		}
	} else if !in.out.json {
		in.out.next("paas deploy -a " + string(app.Name))
		if root == "" {
			in.out.notef("  or with git: git init -b main && git add . && git commit -m First && paas git remote -a %s && git push paas main\n", app.Name)
		}
	}
	if in.out.json {
		return in.out.object(app)
	}
	return nil
}

// withLink tells somebody whose app is there already how to push to it.
func withLink(err error, name cluster.AppName, root string) error {
	e := asError(err)
	if e.Kind != cluster.KindConflict || root == "" || name == "" {
		return err
	}
	return e.WithHint("if it is yours, connect this folder to it: paas git remote -a " + string(name) + "\nelse choose another name: paas apps create NAME")
}

// newName is the argument, --app, paas.toml's name or the folder's: that of the
// work tree, or the current one outside of git. The server makes one up for a folder
// whose name no app can have.
func (in *invocation) newName(dir, root string) (cluster.AppName, error) {
	given, flag := in.arg(0), in.String("app")
	switch {
	case given != "" && flag != "" && given != flag:
		return "", cluster.Invalid("app", "two names are given: %s and %s", given, flag).WithHint("give one of them")
	case given != "":
		return cluster.AppName(given), cluster.AppName(given).Validate()
	case flag != "":
		return cluster.AppName(flag), cluster.AppName(flag).Validate()
	}
	if name, _, err := appOfManifest(dir); err != nil || name != "" {
		return name, err
	}
	if root == "" {
		root = dir
	}
	name := sanitised(filepath.Base(root))
	if name.Validate() != nil {
		return "", nil
	}
	return name, nil
}

func updateApp(ctx context.Context, in *invocation) error {
	if !in.IsSet("deploy-branch") {
		return cluster.Invalid("arguments", "nothing is to be changed").WithHint("try: paas apps update --deploy-branch main")
	}
	branch := in.String("deploy-branch")
	a, err := in.client.UpdateApp(ctx, in.app, api.UpdateApp{DeployBranch: &branch})
	if err != nil {
		return err
	}
	return in.print(a, func(o *output) { o.done("%s deploys %s", a.Name, deployBranch(a.DeployBranch)) })
}

func destroyApp(ctx context.Context, in *invocation) error {
	if err := in.chooseApp(ctx); err != nil {
		return err
	}
	in.header()
	app, err := in.client.App(ctx, in.app)
	if err != nil {
		return err // before anybody types a name
	}
	warning := "this destroys app " + string(in.app) + " and everything of it for good"
	if err := in.confirmName(ctx, string(in.app), warning); err != nil {
		return err
	}
	in.out.notef("Destroying %s …\n", in.app)
	if err := in.client.DestroyApp(ctx, in.app, in.app); err != nil {
		if isDone(ctx, err) {
			return interrupted("the end of "+string(in.app)+" was asked for and goes on", "see: paas apps")
		}
		return err
	}
	removed := in.unlink(ctx, app)
	return in.print(struct {
		App       cluster.AppName `json:"app"`
		Destroyed bool            `json:"destroyed"`
		Remotes   []string        `json:"git_remotes_removed,omitempty"`
	}{in.app, true, removed}, func(o *output) {
		o.done("App %s is gone", in.app)
		for _, r := range removed {
			o.done("git remote %q is gone, too: it led to nothing else", r)
		}
	})
}
