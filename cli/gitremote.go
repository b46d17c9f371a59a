package cli

import (
	"context"
	"os"
	"regexp"
	"slices"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
)

func gitVerb() *verb {
	return &verb{name: "git", group: groupStart, summary: "connect a git work tree to an app", examples: []string{"paas git remote -a blog"},
		verbs: []*verb{{name: "remote", summary: "add the remote of an app that exists already", args: "[NAME]", takes: upToOne, needs: needsServer,
			flags: []cli.Flag{
				&cli.StringFlag{Name: "app", Aliases: []string{"a"}, Usage: "`NAME` of the app"},
				&cli.StringFlag{Name: "remote", Aliases: []string{"r"}, Usage: "`NAME` of the git remote", Value: "paas"}},
			examples: []string{"paas git remote -a blog", "paas git remote -a blog-staging -r staging"}, run: gitRemote}}}
}

// remoteNameRE is what a remote may be called: git takes more, but the name is
// shown in commands that people copy into a shell.
var remoteNameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// remoteName is --remote, checked before anything is made.
func (in *invocation) remoteName() (string, error) {
	name := in.String("remote")
	if !remoteNameRE.MatchString(name) {
		return "", cluster.Invalid("remote", "remote name %q is not valid", oneLine(name)).
			Because("a name is 1 to 63 letters, digits, '_' and '-', and starts with a letter or digit")
	}
	return name, nil
}

func gitRemote(ctx context.Context, in *invocation) error {
	remote, err := in.remoteName()
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	root := repositoryRoot(dir)
	if root == "" {
		return cluster.Invalid("git", "this folder is in no git work tree").WithHint("make it one: git init")
	}
	name, err := in.newName(dir, root)
	if err != nil {
		return err
	}
	app, err := in.client.App(ctx, name)
	if err != nil {
		return err
	}
	if err := in.link(ctx, root, remote, app); err != nil {
		return err
	}
	if in.out.json {
		return in.out.object(app)
	}
	return nil
}

// link connects the work tree at root to app and says what to do next.
func (in *invocation) link(ctx context.Context, root, remote string, app *api.AppInfo) error {
	app.GitURL = in.gitURL(app.GitURL)
	other, err := in.connectGit(ctx, root, remote, app.GitURL)
	if err != nil {
		return err
	}
	if f := in.checkGitTrust(in.target); f.State != "ok" {
		in.out.warnf("%s", f.Text)
		in.out.next(f.Do)
	}
	if other != "" {
		in.out.warnf("git remote %q stays as it is: it points to %s", remote, other)
		in.out.next("git remote set-url " + remote + " " + app.GitURL)
		return nil
	}
	if !in.out.json {
		in.out.done("git remote %q → %s", remote, app.GitURL)
		branch := app.DeployBranch
		if branch == "" {
			branch = currentBranch(ctx, root)
		}
		in.out.next("git push " + remote + " " + branch)
	}
	return nil
}

// unlink removes the remotes of the work tree here that lead to app, which is gone,
// and to nothing else.
func (in *invocation) unlink(ctx context.Context, app *api.AppInfo) (removed []string) {
	dir, err := os.Getwd()
	if err != nil {
		return nil // nothing is linked where there is nothing
	}
	root := repositoryRoot(dir)
	if root == "" {
		return nil
	}
	app.GitURL = in.gitURL(app.GitURL)
	elsewhere := func(at string) bool { return at != app.GitURL && in.target.remoteApp(at) != app.Name }
	remotes := ownRemotes(ctx, root)
	for _, name := range sortedKeys(remotes) {
		if slices.ContainsFunc(remotes[name], elsewhere) {
			continue
		}
		if _, err := git(ctx, root, "remote", "remove", "--", name); err != nil {
			in.out.warnf("git remote %q stays, and leads nowhere: %s", name, asError(err).Reason)
			in.out.next("git remote remove " + name)
			continue
		}
		removed = append(removed, name)
	}
	return removed
}

// currentBranch is what a first push should name: the work tree's branch if it
// deploys, else main.
func currentBranch(ctx context.Context, root string) string {
	branch, err := git(ctx, root, "symbolic-ref", "--short", "HEAD")
	switch {
	case err != nil:
		return "main"
	case branch == "main" || branch == "master":
		return branch
	}
	return branch + ":main"
}
