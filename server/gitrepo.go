package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"paas/cluster"
)

// gitStop is how long a git child may take to clean up after SIGTERM: it removes
// what it holds in quarantine.
const gitStop = 5 * time.Second

// gitServer keeps one bare repository per app and serves it over smart HTTP.
type gitServer struct {
	*control
	deployer *deployer
	copies   *copier
	hook     string // socket that hooks meet the server at

	// repos is held while repositories are made or removed.
	repos sync.Mutex

	mu       sync.Mutex
	pushes   map[string]*push // by their secret name; guarded by mu
	stopping bool             // a push that comes now ends at once; guarded by mu
}

// bornFile is in each repository: when its app was created. An app that was
// destroyed and made anew does not inherit the other's objects.
const bornFile = "paas-app-created"

// repository returns the path of the app's repository, made if it is missing.
func (g *gitServer) repository(ctx context.Context, app *cluster.App) (string, error) {
	g.repos.Lock()
	defer g.repos.Unlock()
	dir := g.path(app.Name)
	text, err := os.ReadFile(filepath.Join(dir, bornFile))
	if err == nil && string(text) == bornText(app.CreatedAt) {
		return dir, g.mendHead(dir, headOf(app))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a disk that cannot be read is no reason to begin anew
		return "", fmt.Errorf("open repository of %s: %w", app.Name, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("remove old repository: %w", err)
	}
	return dir, g.initialize(ctx, dir, app)
}

// initialize makes an empty repository of app at dir.
func (g *gitServer) initialize(ctx context.Context, dir string, app *cluster.App) error {
	// An empty template: no sample hooks, nothing of the host's.
	if out, err := g.command(ctx, nil, "init", "--quiet", "--bare", "--template=", "--initial-branch="+headOf(app), "--", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("make repository of %s: %w: %s", app.Name, err, plain(string(out)))
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("protect repository of %s: %w", app.Name, err)
	}
	if err := syncTree(dir); err != nil { // git init syncs nothing: a power cut left HEAD empty, and the repository dead
		return fmt.Errorf("make repository of %s: %w", app.Name, err)
	}
	return writeOnce(filepath.Join(dir, bornFile), []byte(bornText(app.CreatedAt)))
}

// path is where the repository of an app is, if there is one. The name is valid.
func (g *gitServer) path(app cluster.AppName) string {
	return filepath.Join(g.layout.git(), string(app)+".git")
}

func bornText(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// headOf is the branch that who clones gets.
func headOf(app *cluster.App) string { return cmp.Or(app.DeployBranch, "main") }

// mendHead gives a repository the HEAD that it should have. One without a HEAD, or
// with an empty one, is none to git, and what is in it needs only that.
func (g *gitServer) mendHead(dir, branch string) error {
	file, want := filepath.Join(dir, "HEAD"), "ref: refs/heads/"+branch+"\n"
	now, err := os.ReadFile(file)
	if err == nil && string(now) == want {
		return nil
	}
	if len(now) == 0 {
		g.log.Warn("a repository had lost its HEAD", "app", strings.TrimSuffix(filepath.Base(dir), ".git"))
	}
	if err := writeOnce(file, []byte(want)); err != nil {
		return fmt.Errorf("mend repository: %w", err)
	}
	return nil
}

// syncTree makes all files below dir, and their names, durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncDir(path) // files are opened and synced the same way
	})
}

// sweep removes the repositories of apps that are gone.
func (g *gitServer) sweep(context.Context) error {
	g.repos.Lock()
	defer g.repos.Unlock()
	entries, err := os.ReadDir(g.layout.git())
	if err != nil {
		return err
	}
	st := g.store.State() // newer than the list: who has a repository had an app before
	var errs []error
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".git")
		if _, err := st.App(cluster.AppName(name)); err != nil {
			errs = append(errs, os.RemoveAll(filepath.Join(g.layout.git(), e.Name())))
		}
	}
	return errors.Join(errs...)
}

// manyPacks is git's own limit: gc --auto does nothing below.
const manyPacks = 50

// compact puts a repository's packs together when there are many: each copy from
// another server adds one, with objects again that it has. On the server that leads
// pushes do it (receive.autogc).
func (g *gitServer) compact(ctx context.Context, repo string) error {
	packs, err := filepath.Glob(filepath.Join(repo, "objects", "pack", "*.pack"))
	if err != nil || len(packs) <= manyPacks {
		return err
	}
	_, err = g.ask(ctx, repo, nil, "gc", "--auto", "--quiet")
	return err
}

// tidy removes what pushes that were cut off left: objects in quarantine, and the
// locks of refs, which would refuse every push from then on. Nothing may be pushed
// to the repository meanwhile.
func tidy(repo string) error {
	left, err := filepath.Glob(filepath.Join(repo, "objects", "tmp_objdir-incoming-*"))
	if err != nil {
		return err
	}
	locks, err := filepath.Glob(filepath.Join(repo, "*.lock"))
	if err != nil {
		return err
	}
	left = append(left, locks...)
	err = filepath.WalkDir(filepath.Join(repo, "refs"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".lock") { // no ref's name ends so
			left = append(left, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a repository that was not made to its end
		return fmt.Errorf("look for what a push left: %w", err)
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove what a push left: %w", err)
		}
	}
	return nil
}

// settings are the same for every git child, whatever the host's configuration
// says: it is not read.
func (g *gitServer) settings() []string {
	return []string{
		"core.hooksPath=" + g.layout.hooks(),
		"safe.directory=*", // the data directory may belong to another user than root
		"init.defaultBranch=main",
		"receive.fsckObjects=true",
		// Old histories have these, and they harm nobody.
		"receive.fsck.zeroPaddedFilemode=ignore", "receive.fsck.badTimezone=ignore", "receive.fsck.missingSpaceBeforeDate=ignore",
		"receive.maxInputSize=2g",
		"core.bigFileThreshold=32m", "core.deltaBaseCacheLimit=32m", "pack.threads=1", // see gitData
		"receive.unpackLimit=1",             // a pack is kept and synced in one step, a thousand loose objects are not
		"receive.denyNonFastForwards=false", // who force-pushes to deploy means it
		"receive.denyCurrentBranch=ignore",
		"receive.shallowUpdate=true",       // pipelines push what they cloned with depth 1; git would refuse it after its hook
		"receive.denyDeleteCurrent=ignore", // the hook refuses it with a reason
		"receive.advertisePushOptions=false",
		"pack.windowMemory=64m",                      // a thread; within gitData on any host
		"receive.autogc=true", "gc.autoDetach=false", // a child that stays would be nobody's
		"core.protectNTFS=true", "core.protectHFS=true",
		"core.logAllRefUpdates=false",
		// A push that was accepted survives a power cut. git's default leaves out refs
		// and loose objects, which small pushes become. A pack without its index is no
		// pack to git, which would take that from the page cache.
		"core.fsync=committed,derived-metadata", "core.fsyncMethod=batch",
		"uploadpack.allowFilter=true",
	}
}

// command makes a git child that dies with ctx, with everything it started.
func (g *gitServer) command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	var full []string
	for _, s := range g.settings() {
		full = append(full, "-c", s)
	}
	cmd := exec.CommandContext(ctx, "git", append(full, args...)...)
	cmd.Dir = g.layout.git()
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + g.layout.hooks(), "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_NO_REPLACE_OBJECTS=1", // refs/replace can be pushed, and would put other content under a commit's name
	}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = gitStop
	return cmd
}

// runGit starts a child and waits for its end. If ctx ended it, nothing of its
// process group is left.
func runGit(ctx context.Context, cmd *exec.Cmd) error {
	err := boundedRun(cmd)
	if ctx.Err() != nil && cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what ignored SIGTERM; nothing if all are gone
	}
	return err
}

// boundedRun is cmd.Run with the limits of git's children. Nothing of the input
// reaches the child before they hold.
func boundedRun(cmd *exec.Cmd) error {
	bound := make(chan struct{})
	if cmd.Stdin != nil {
		cmd.Stdin = heldReader{cmd.Stdin, bound}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// A server may be protected from the kernel's search for memory. A child that
	// unpacks what somebody pushed is not. It may have ended, or may have a score
	// that only the kernel's administrator lowers: both are as good.
	_ = os.WriteFile("/proc/"+strconv.Itoa(cmd.Process.Pid)+"/oom_score_adj", []byte("0"), 0o644)
	if boundGit(cmd.Process.Pid) != nil {
		_ = cmd.Process.Kill() // or it has ended already; Wait says which
	}
	close(bound)
	return cmd.Wait()
}

// archive writes the tree of a commit to w as a tar. env gives access to objects
// in quarantine.
func (g *gitServer) archive(ctx context.Context, repo, commit string, env []string, w io.Writer) error {
	cmd := g.command(ctx, append([]string{"GIT_DIR=" + repo}, env...), "archive", "--format=tar", commit)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = repo, w, &stderr
	if err := runGit(ctx, cmd); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if crashed(cmd) { // it recurses into folders until its stack ends
			return cluster.Errorf(cluster.KindBuildFailed, "source.tree", "the source was refused").Because("git cannot read its folders, they are nested too deeply").
				WithHint("look for folders in folders thousands of levels deep, remove them, commit and push again")
		}
		return fmt.Errorf("read commit %s: %w: %s", commit, err, plain(stderr.String()))
	}
	return nil
}

// crashed reports whether a child died of itself. git has been seen to, on trees
// that nobody makes by accident.
func crashed(cmd *exec.Cmd) bool {
	w, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && w.Signaled() && (w.Signal() == syscall.SIGSEGV || w.Signal() == syscall.SIGBUS || w.Signal() == syscall.SIGABRT)
}

// linkHook makes git's pre-receive hook a link to this program, which knows by its
// own name what it is called for: no shell stands between.
func (l layout) linkHook(binary string) error {
	link := filepath.Join(l.hooks(), "pre-receive")
	if now, err := os.Readlink(link); err == nil && now == binary {
		return nil
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("link git hook: %w", err)
	}
	if err := os.Symlink(binary, link); err != nil {
		return fmt.Errorf("link git hook: %w", err)
	}
	return nil
}
