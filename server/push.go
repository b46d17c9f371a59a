package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"

	"paas/api"
	"paas/builder"
	"paas/cluster"
	"paas/identity"
)

// push is one git push under way: what its request was authorised for.
type push struct {
	actor api.Actor
	app   cluster.AppName
	repo  string
	// gone is closed, by cancel, when the push ends before git is done with it.
	gone   <-chan struct{}
	cancel context.CancelFunc
	left   bool // git is done with it; guarded by the gitServer's mu

	// answering counts its hooks: a release may come of each.
	answering sync.WaitGroup

	mu       sync.Mutex
	kept     bool        // it goes on without its pusher; guarded by mu
	over     bool        // guarded by mu
	after    []func()    // what to do when the push is over; guarded by mu
	asked    []refUpdate // guarded by mu
	accepted []refUpdate // of asked: all or none; guarded by mu
}

// keep says that a release is about to exist. From now on the deployment is the
// cluster's, and the push goes on without its pusher: the branch has to move to
// what serves, or the next push would deploy the same commit again. It reports
// false if the push has ended already.
func (p *push) keep() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gone:
		return false
	default:
		p.kept = true
		return true
	}
}

// hangUp says that the pusher is gone. Until there is a release that ends the push.
func (p *push) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.kept {
		p.cancel()
	}
}

// hold has leave called when git is done with the push. Whoever pushes next must
// find the branch where this push puts it, and git does that after its hook.
func (p *push) hold(leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		leave()
		return
	}
	p.after = append(p.after, leave)
}

// end says that git is done with the push.
func (p *push) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	for _, leave := range p.after {
		leave()
	}
	p.after = nil
}

// Run ends the pushes under way when ctx ends, those that go on without their
// pushers too: whoever ends requests after it would wait for them.
func (g *gitServer) Run(ctx context.Context) error {
	<-ctx.Done()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopping = true
	for _, p := range g.pushes {
		p.cancel()
	}
	return nil
}

// expect gives a push a secret name for its hook. leave must be called when git is
// done with it.
func (g *gitServer) expect(p *push) (secret string) {
	secret = identity.NewSecret().Reveal()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pushes[secret] = p
	if g.stopping {
		p.cancel()
	}
	return secret
}

// leave ends a push that git is done with. Whoever comes next finds the branch
// where the push puts it, whatever became of git.
func (g *gitServer) leave(ctx context.Context, secret string, p *push) {
	p.cancel() // what waits for its deployment can go
	g.mu.Lock()
	p.left = true
	g.mu.Unlock()
	p.answering.Wait() // none may be about to make its release
	g.forget(secret, p)
	ctx, cancel := aside(ctx)
	defer cancel()
	if err := g.copies.align(ctx, p.app); err != nil && ctx.Err() == nil {
		g.log.Warn("a repository is not what the state says, who comes next makes it so", "app", string(p.app), "err", err)
	}
	p.end()
}

// forget drops a push. The last one of a repository takes along what git leaves
// behind when it is killed.
func (g *gitServer) forget(secret string, p *push) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.pushes, secret)
	for _, other := range g.pushes {
		if other.repo == p.repo {
			return
		}
	}
	if err := tidy(p.repo); err != nil {
		g.log.Warn("what a push left was not removed, the next one does it", "app", string(p.app), "err", err)
	}
}

// expected finds the push of a hook; done must be called when that is answered.
func (g *gitServer) expected(secret string) (p *push, done func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p = g.pushes[secret]
	if p == nil || p.left {
		return nil, nil
	}
	p.answering.Add(1)
	return p, p.answering.Done
}

// refUpdate is one line of what git is about to accept.
type refUpdate struct {
	Old  string `json:"old"`
	New  string `json:"new"`
	Name string `json:"name"`
}

// move is u as the state knows it.
func (u refUpdate) move() cluster.RefMove {
	m := cluster.RefMove{Name: u.Name, Old: u.Old, New: u.New}
	if u.deletes() {
		m.New = ""
	}
	if strings.Trim(u.Old, "0") == "" {
		m.Old = ""
	}
	return m
}

func (u refUpdate) deletes() bool { return strings.Trim(u.New, "0") == "" }

// verdict is what a push means.
type verdict struct {
	refusal *cluster.Error
	deploy  *refUpdate // nil: nothing to deploy
	notes   []string   // for the pusher
}

// judge decides what a push means for app: at most one deploy; everything else is
// stored, and said to be.
func judge(app *cluster.App, updates []refUpdate) verdict {
	var v verdict
	for i, u := range updates {
		if !hashRE.MatchString(u.Old) || !hashRE.MatchString(u.New) {
			return verdict{refusal: cluster.Invalid("push", "the push cannot be read")}
		}
		var unfit *cluster.Error
		if errors.As(u.move().Validate(), &unfit) {
			return verdict{refusal: unfit}
		}
		branch, isBranch := strings.CutPrefix(u.Name, "refs/heads/")
		switch {
		case !isBranch && !u.deletes() && strings.HasPrefix(u.Name, "refs/tags/"):
			v.notes = append(v.notes, fmt.Sprintf("Tag %s is stored, not deployed: %s deploys from %s", plain(strings.TrimPrefix(u.Name, "refs/tags/")), app.Name, deployBranches(app)))
		case !isBranch:
		case u.deletes() && app.Deploys(branch):
			return verdict{refusal: cluster.Conflict("deploy_branch", "branch %s cannot be deleted", plain(branch)).
				Because("app %s is deployed from it", app.Name).
				WithHint("to stop the app: paas scale web=0 -a " + string(app.Name))}
		case u.deletes():
		case app.Deploys(branch) && v.deploy == nil:
			v.deploy = &updates[i]
		case app.Deploys(branch):
			v.notes = append(v.notes, fmt.Sprintf("Branch %s is stored, not deployed: one push makes one deploy", plain(branch)))
		default:
			v.notes = append(v.notes, fmt.Sprintf("Branch %s is stored, not deployed: %s deploys from %s; deploy it with: git push paas %s:%s", plain(branch), app.Name, deployBranches(app), plain(branch), firstBranch(app)))
		}
	}
	return v
}

// firstBranch is one that the app is deployed from.
func firstBranch(app *cluster.App) string {
	if app.DeployBranch != "" {
		return app.DeployBranch
	}
	return "main"
}

func deployBranches(app *cluster.App) string {
	if app.DeployBranch != "" {
		return app.DeployBranch
	}
	return "main and master"
}

// handle answers one hook: nil accepts the push. What is told goes to the pusher
// while it happens; a refusal's last word is told too.
func (g *gitServer) handle(ctx context.Context, p *push, in hookRequest, tell func(api.Progress)) error {
	refuse := func(e *cluster.Error) error {
		tell(api.Progress{Kind: api.ProgressFailed, Error: e})
		return e
	}
	_, app, err := g.app(ctx, p.app)
	if err != nil {
		return refuse(g.deployer.classify(ctx, p.app, err))
	}
	v := judge(app, in.Updates)
	if v.refusal != nil {
		return refuse(v.refusal)
	}
	for _, note := range v.notes {
		tell(api.Progress{Kind: api.ProgressWarning, Text: note})
	}
	env, err := quarantine(p.repo, in)
	if err == nil && v.deploy == nil {
		err = g.keepPush(ctx, app, p.repo, in)
	}
	if err != nil {
		return refuse(g.deployer.classify(ctx, p.app, err))
	}
	if v.deploy == nil {
		return nil
	}
	move := v.deploy.move()
	_, err = g.deployer.deploy(ctx, newReport(tell), job{app: p.app, commit: v.deploy.New, push: &move, hold: p.hold,
		keep: func() error {
			if err := g.keepPush(ctx, app, p.repo, in); err != nil {
				return err
			}
			if !p.keep() {
				return errDeployCancelled
			}
			return nil
		},
		unpack: func(ctx context.Context, dir string) error {
			if err := g.unmoved(p, v.deploy); err != nil {
				return err
			}
			if err := g.rehearse(ctx, p.repo, env, in.Updates); err != nil {
				return err
			}
			return g.unpackCommit(ctx, p.repo, v.deploy.New, env, dir)
		}})
	return err // deploy has told it
}

// unmoved refuses a push whose branch moved while it waited for its turn: git
// would refuse it too, but only after the deploy.
func (g *gitServer) unmoved(p *push, u *refUpdate) error {
	now := g.store.State().Repository(p.app).Hash(u.Name)
	if now == u.New {
		return cluster.Conflict("deployed_meanwhile", "there is nothing left to deploy").
			Because("an earlier push brought %.7s to %s while this one waited", now, plain(strings.TrimPrefix(u.Name, "refs/heads/"))).
			WithHint("see what serves with: paas releases -a " + string(p.app))
	}
	if now != u.move().Old {
		return cluster.Conflict("branch_moved", "the push was not deployed").
			Because("%s moved to %.7s while the push waited", plain(strings.TrimPrefix(u.Name, "refs/heads/")), cmp.Or(now, "nothing")).
			WithHint("fetch, merge, and push again")
	}
	return nil
}

// rehearse has git prepare the update of the refs and drop it: what git would
// refuse after the deploy, it refuses now. A branch takes commits only, cannot be
// made beside one whose name begins with its own, and can be locked.
func (g *gitServer) rehearse(ctx context.Context, repo string, quarantined []string, updates []refUpdate) error {
	env := []string{"GIT_DIR=" + repo}
	for _, v := range quarantined {
		if !strings.HasPrefix(v, "GIT_QUARANTINE_PATH=") { // it forbids touching refs
			env = append(env, v)
		}
	}
	in := &strings.Builder{}
	in.WriteString("start\n")
	for _, u := range updates {
		if !u.deletes() {
			fmt.Fprintf(in, "update %s %s %s\n", u.Name, u.New, u.Old)
		}
	}
	in.WriteString("prepare\nabort\n")
	cmd := g.command(ctx, env, "update-ref", "--stdin")
	cmd.Stdin = strings.NewReader(in.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := runGit(ctx, cmd); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		reason, _, _ := strings.Cut(strings.TrimPrefix(stderr.String(), "fatal: prepare: "), "\n")
		return cluster.Conflict("ref", "the push was not deployed").
			Because("git would not store it: %s", plain(strings.ReplaceAll(reason, repo+"/", ""))).
			WithHint("see what is stored with: git ls-remote paas")
	}
	return nil
}

// unpackCommit fills dir with the tree of a commit.
func (g *gitServer) unpackCommit(ctx context.Context, repo, commit string, env []string, dir string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(g.archive(ctx, repo, commit, env, w)) // nil is the end of the archive
	}()
	err := builder.Unpack(ctx, r, dir, builder.Limits{})
	r.CloseWithError(io.ErrClosedPipe) // frees the writer if Unpack gave up
	cancel(nil)
	<-done
	return err
}

// quarantine returns the environment that shows git the pushed objects. The hook
// is ours, yet its environment came through git: only paths inside the repository
// pass.
func quarantine(repo string, in hookRequest) ([]string, error) {
	var env []string
	for _, v := range []struct{ name, value string }{
		{"GIT_QUARANTINE_PATH", in.Quarantine},
		{"GIT_OBJECT_DIRECTORY", in.Objects},
		{"GIT_ALTERNATE_OBJECT_DIRECTORIES", in.Alternates},
	} {
		if v.value == "" {
			continue
		}
		for _, path := range strings.Split(v.value, ":") {
			if !filepath.IsAbs(path) {
				path = filepath.Join(repo, path)
			}
			if rel, err := filepath.Rel(repo, path); err != nil || !filepath.IsLocal(rel) {
				return nil, fmt.Errorf("git hook names %s, which is outside of %s", path, repo)
			}
		}
		env = append(env, v.name+"="+v.value)
	}
	return env, nil
}
