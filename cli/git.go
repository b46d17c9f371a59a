package cli

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"unicode"
	"unicode/utf8"

	"paas/cluster"
)

// git runs git in dir with an argument array and returns what it printed.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", cluster.Invalid("git", "git is not installed").WithHint("install it: apt-get install git")
	case err != nil:
		return "", cluster.Errorf(cluster.KindInternal, "git", "git %s did not work", args[0]).
			Because("%s", strings.TrimSpace(errs.String())).Wrap(err)
	}
	return strings.TrimSpace(out.String()), nil
}

// findProgram is where a shell would find a program.
func findProgram(name string) (string, error) { return exec.LookPath(name) }

// gitRemotes returns the first URLs of the work tree's remotes by name; none when
// dir is in no work tree, or git is not there.
func gitRemotes(ctx context.Context, dir string) map[string]string {
	first := map[string]string{}
	for name, urls := range remotesOf(ctx, dir, "--get-regexp", `^remote\..*\.url$`) {
		first[name] = urls[0]
	}
	return first
}

// ownRemotes returns every URL that the work tree's own configuration has for a
// remote, by name: those to fetch from and those to push to.
func ownRemotes(ctx context.Context, dir string) map[string][]string {
	return remotesOf(ctx, dir, "--local", "--get-regexp", `^remote\..*\.(push)?url$`)
}

// remotesOf reads keys of git's configuration that end in a word after the
// remote's name.
func remotesOf(ctx context.Context, dir string, which ...string) map[string][]string {
	out, err := git(ctx, dir, append([]string{"config", "--null"}, which...)...)
	if err != nil {
		return nil
	}
	remotes := map[string][]string{}
	for entry := range strings.SplitSeq(out, "\x00") {
		key, value, ok := strings.Cut(entry, "\n")
		name := strings.TrimPrefix(key, "remote.")
		if ok {
			name = name[:strings.LastIndexByte(name, '.')]
			remotes[name] = append(remotes[name], value)
		}
	}
	return remotes
}

// gitHead is the hash of the work tree's commit, and whether files differ from it.
func gitHead(ctx context.Context, dir string) (hash string, dirty bool) {
	hash, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", "HEAD")
	if err != nil {
		return "", false
	}
	changes, err := git(ctx, dir, "status", "--porcelain")
	return hash, err != nil || changes != ""
}

// connectGit makes the work tree at dir push to an app: a remote, the authority
// that its server is known by, and this program as the only credential helper
// for that server. Everything is the repository's own configuration.
func (in *invocation) connectGit(ctx context.Context, dir, remote, at string) (string, error) {
	base, err := baseURL(at)
	if err != nil {
		return "", err
	}
	helper, err := in.helperCommand()
	if err != nil {
		return "", err
	}
	set := func(key, value string) []string {
		return []string{"config", "--local", "--replace-all", key, value}
	}
	steps := [][]string{
		set("credential."+base+".helper", ""), // other helpers neither answer nor store the token
		{"config", "--local", "--add", "credential." + base + ".helper", helper},
		set("credential."+base+".useHttpPath", "false"),
		// Over HTTP/2 a push sometimes hung for ever: libcurl 7.88 asks git for more
		// of a body whose end it was told, with the body's last bytes still unsent.
		set("http."+base+".version", "HTTP/1.1"),
	}
	if in.target.caFile != "" {
		steps = append(steps, set("http."+base+".sslCAInfo", in.target.caFile))
		if in.target.caDir != "" {
			steps = append(steps, set("http."+base+".sslCAPath", in.target.caDir))
		}
	}
	if loopbackURL(base) {
		steps = append(steps, set("http."+base+".proxy", ""))
	}
	for _, s := range steps {
		if _, err := git(ctx, dir, s...); err != nil {
			return "", err
		}
	}
	return in.setRemote(ctx, dir, remote, at)
}

// setRemote adds the remote. One that is another app's stays; the answer is then
// its URL.
func (in *invocation) setRemote(ctx context.Context, dir, remote, at string) (other string, err error) {
	old, ok := gitRemotes(ctx, dir)[remote]
	switch {
	case !ok:
		_, err = git(ctx, dir, "remote", "add", "--", remote, at)
	case old == at:
	case lastPart(old) == lastPart(at): // the same app where the server was before
		_, err = git(ctx, dir, "remote", "set-url", "--", remote, at)
	default:
		return withoutPassword(old), nil
	}
	return "", err
}

func lastPart(at string) string { return at[strings.LastIndexByte(at, '/')+1:] }

// helperCommand is what git runs for credentials: this very program, quoted for
// the shell that git hands it to.
func (in *invocation) helperCommand() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	command := "!"
	if files, err := home(in.env); err == nil && in.env("PAAS_HOME") != "" {
		command += "PAAS_HOME=" + shellQuote(files.dir) + " "
	}
	command += shellQuote(exe) + " git-credential"
	if in.target.name != "" {
		command += " --context " + shellQuote(in.target.name)
	}
	return command, nil
}

// shellQuote makes s one word of a POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// shellWord is s as people would type it: quoted if it has to be.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("/._-+,:@%", r))
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return shellQuote(s)
}

// gitURL is an app's git address at the server that the context names: the server that
// answers says its own address, which may lead nowhere from here, and another one may
// lead tomorrow. Any takes pushes.
func (in *invocation) gitURL(at string) string {
	u, err := url.Parse(at)
	base, baseErr := baseURL(in.target.server)
	if err != nil || baseErr != nil || !strings.HasPrefix(base, "https://") { // what is not TLS is for this program alone
		return at
	}
	return base + u.Path
}

// baseURL is scheme, host and port of a URL.
func baseURL(at string) (string, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" {
		return "", cluster.Errorf(cluster.KindInternal, "git_url", "the server's git address cannot be read")
	}
	return u.Scheme + "://" + u.Host, nil
}

func loopbackURL(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
