package cli

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"paas/builder"
	"paas/cluster"
)

// findApp decides which app is meant: --app, then --remote, PAAS_APP, paas.toml
// up to the repository's root, and the git remotes that point at the context.
func (in *invocation) findApp(ctx context.Context) error {
	found, err := in.inferApp(ctx)
	if err != nil {
		return err
	}
	if found.app == "" {
		return cluster.Invalid("app", "no app is named").
			Because("there is no --app, no PAAS_APP, no paas.toml and no git remote of %s here", in.target.label()).
			WithHint("name it: paas " + in.verb.path() + " -a NAME\nor make one here: paas apps create")
	}
	if err := found.app.Validate(); err != nil {
		return err
	}
	in.app, in.source = found.app, found.source
	if found.away != "" {
		in.out.warnf("git remote %q leads to a server that left the cluster", found.away)
		in.out.next("paas git remote -a " + string(found.app) + " -r " + shellWord(found.away))
	}
	return nil
}

// inferred is an app's name and where it comes from.
type inferred struct {
	app    cluster.AppName
	source string
	away   string // the git remote that named it, if it leads to a server that left
}

// byRemote is an app that a git remote names.
func (t *target) byRemote(app cluster.AppName, remote, at string) inferred {
	found := inferred{app: app, source: `git remote "` + remote + `"`}
	if t.leadsAway(at) {
		found.away = remote
	}
	return found
}

// inferApp is findApp without the demand that there is one.
func (in *invocation) inferApp(ctx context.Context) (inferred, error) {
	if name := in.String("app"); name != "" {
		return inferred{app: cluster.AppName(name), source: "--app"}, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return inferred{}, nil // a directory that is gone has no paas.toml and no git
	}
	if remote := in.String("remote"); remote != "" {
		return appOfRemote(ctx, dir, remote, in.target)
	}
	if name := in.env("PAAS_APP"); name != "" {
		return inferred{app: cluster.AppName(name), source: "PAAS_APP"}, nil
	}
	name, file, broken := appOfManifest(dir)
	if name != "" {
		return inferred{app: name, source: file}, nil
	}
	found, err := appOfRemotes(ctx, dir, in.target)
	if broken == nil {
		return found, err
	}
	if err != nil || found.app == "" {
		return inferred{}, broken
	}
	in.out.warnf("%s: %s", asError(broken).Message, asError(broken).Reason)
	return found, nil
}

// appOfManifest reads the paas.toml of dir, or of the folders above it up to the
// root of the repository. Outside a repository only dir counts.
func appOfManifest(dir string) (cluster.AppName, string, error) {
	top := repositoryRoot(dir)
	for {
		data, err := os.ReadFile(filepath.Join(dir, "paas.toml"))
		if err == nil {
			name, err := builder.ManifestApp(data)
			var e *cluster.Error
			if errors.As(err, &e) {
				return "", "", unreadManifest(e)
			}
			if err != nil || name != "" {
				return name, "paas.toml", err
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", "", unreadManifest(cluster.Invalid("paas.toml", "paas.toml cannot be read").Because("%v", err))
		}
		if top == "" || dir == top || dir == filepath.Dir(dir) {
			return "", "", nil
		}
		dir = filepath.Dir(dir)
	}
}

// unreadManifest says what came not of a paas.toml, why, and the way around it.
func unreadManifest(e *cluster.Error) error {
	hint := "mend it, or name the app: -a NAME"
	if e.Hint != "" {
		hint = e.Hint + "\n" + hint
	}
	return cluster.Invalid("paas.toml", "the app's name was not read from paas.toml").Because("%s", e.Error()).WithHint(hint)
}

// repositoryRoot is the nearest folder at or above dir that holds .git; "" if none does.
func repositoryRoot(dir string) string {
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

// appOfRemote is the app that one remote stands for.
func appOfRemote(ctx context.Context, dir, name string, t *target) (inferred, error) {
	remotes := gitRemotes(ctx, dir)
	at, ok := remotes[name]
	if !ok {
		return inferred{}, cluster.NotFound("remote", "no git remote %q here", name).WithHint("list them with: git remote -v")
	}
	app := t.remoteApp(at)
	if app == "" {
		return inferred{}, cluster.Invalid("remote", "git remote %q is not an app of context %s", name, t.label()).
			Because("it points to %s", withoutPassword(at)).WithHint("choose another context: --context NAME")
	}
	return t.byRemote(app, name, at), nil
}

// appOfRemotes is the one app that the remotes of the work tree stand for.
func appOfRemotes(ctx context.Context, dir string, t *target) (inferred, error) {
	if repositoryRoot(dir) == "" {
		return inferred{}, nil // asking git takes a process
	}
	names := map[cluster.AppName][]string{}
	all := gitRemotes(ctx, dir)
	for name, at := range all {
		if app := t.remoteApp(at); app != "" {
			names[app] = append(names[app], name)
		}
	}
	if len(names) > 1 {
		var lines, hints []string
		for app, remotes := range names {
			slices.Sort(remotes)
			lines = append(lines, "git remote \""+remotes[0]+"\" is "+string(app))
			hints = append(hints, "choose one: -a "+string(app))
		}
		slices.Sort(lines)
		slices.Sort(hints)
		return inferred{}, cluster.Invalid("app", "more than one app could be meant").
			Because("%s", strings.Join(lines, "\n")).WithHint(strings.Join(hints, "\n"))
	}
	for app, remotes := range names {
		slices.Sort(remotes)
		return t.byRemote(app, remotes[0], all[remotes[0]]), nil
	}
	return inferred{}, nil
}

// remoteApp is the app of a git URL ("https://host:7443/git/blog.git") of server; "" if it is none.
func remoteApp(remote, server string) cluster.AppName {
	u, err := url.Parse(remote)
	if err != nil {
		return ""
	}
	s, err := url.Parse(server)
	if err != nil || !strings.EqualFold(u.Host, s.Host) || u.Scheme != s.Scheme {
		return ""
	}
	name, ok := strings.CutPrefix(u.Path, strings.TrimSuffix(s.Path, "/")+"/git/")
	name, hasSuffix := strings.CutSuffix(strings.TrimSuffix(name, "/"), ".git")
	if !ok || !hasSuffix || cluster.AppName(name).Validate() != nil {
		return ""
	}
	return cluster.AppName(name)
}

// withoutPassword is a URL that may be shown.
func withoutPassword(at string) string {
	u, err := url.Parse(at)
	if err != nil {
		return "something that is no URL"
	}
	return u.Redacted()
}

// sanitised makes an app's name of a folder's.
func sanitised(name string) cluster.AppName {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9' && b.Len() > 0:
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	out := b.String()
	return cluster.AppName(strings.Trim(out[:min(len(out), 40)], "-"))
}
