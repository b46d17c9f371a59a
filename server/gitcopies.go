package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"paas/cluster"
	"paas/identity"
	"paas/store"
)

// copier keeps the repositories on this server's disk what the state says: their
// refs are the state's, their objects come from whichever server has them.
//
//	push → objects on a majority (spread) → MoveRefs or CreateRelease → acknowledged
//	state changed → align: fetch what is missing, move the refs
//
// A new leader aligns before it serves a repository, so that it serves every push
// that was acknowledged. Where a server's refs are ahead of the state, a push was not
// acknowledged: they go back.
type copier struct {
	*control
	git   *gitServer
	peers *peering
	turns *queue // one change of a repository's copy at a time
}

// serve offers what the other servers need.
func (c *copier) serve() {
	c.peers.handle("POST /git/{app}/pack", http.HandlerFunc(c.servePack), identity.RoleServer)
	c.peers.handle("POST /git/{app}/copy", http.HandlerFunc(c.serveCopy), identity.RoleServer)
}

// wanted is what a repository's copy depends on.
type wanted struct {
	born     time.Time
	index    uint64 // of its refs' last change
	promised string // where a branch goes if the deployment under way succeeds; "" if nowhere
	head     string // the branch that the app is deployed from
}

func wants(st *cluster.State, app *cluster.App) wanted {
	w := wanted{born: app.CreatedAt, head: app.DeployBranch}
	if r := st.Repository(app.Name); r != nil {
		w.index = r.Index
	}
	if x := st.ActiveDeployment(app.Name); x != nil && x.Push != nil {
		w.promised = x.Push.New
	}
	return w
}

// Run aligns all repositories, whether this server leads or not, until ctx ends.
func (c *copier) Run(ctx context.Context) error {
	select {
	case <-c.caughtUp: // an older state would have repositories removed
	case <-ctx.Done():
		return nil
	}
	done := map[cluster.AppName]wanted{}
	for failures := 0; ; {
		st := c.store.State()
		err := c.pass(ctx, st, done)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			failures++
			c.log.Warn("git repositories are not yet what they should be", "err", err)
			if pause(ctx, backoff(failures)) != nil {
				return nil
			}
			continue
		}
		failures = 0
		if c.newer(ctx, st, time.Hour) != nil {
			return nil
		}
	}
}

// pass aligns what changed since done.
func (c *copier) pass(ctx context.Context, st *cluster.State, done map[cluster.AppName]wanted) error {
	var errs []error
	for app := range st.Apps() {
		now := wants(st, app)
		if app.Destroying || done[app.Name] == now {
			continue
		}
		if err := c.align(ctx, app.Name); err != nil {
			errs = append(errs, fmt.Errorf("app %s: %w", app.Name, err))
			continue
		}
		done[app.Name] = now
		if err := c.git.compact(ctx, c.git.path(app.Name)); err != nil && ctx.Err() == nil { // nobody waits for it
			c.log.Warn("packs of a repository were not put together", "app", string(app.Name), "err", err)
		}
	}
	before := len(done)
	maps.DeleteFunc(done, func(name cluster.AppName, _ wanted) bool { _, err := st.App(name); return err != nil })
	if len(done) < before {
		errs = append(errs, c.git.sweep(ctx))
	}
	return errors.Join(errs...)
}

// align makes the repository of an app what the state says. It does nothing if it is.
func (c *copier) align(ctx context.Context, name cluster.AppName) error {
	leave, err := c.turns.enter(ctx, name, "a copy", func(string) {})
	if err != nil {
		return err
	}
	defer leave()
	app, record, err := c.recorded(name)
	if err != nil || record == nil {
		return err
	}
	if _, err := os.Stat(c.git.path(name)); err != nil && len(record.Refs) == 0 && wants(c.store.State(), app).promised == "" {
		return nil //nolint:nilerr // it is made when there is something to put into it
	}
	repo, err := c.git.repository(ctx, app)
	if err != nil {
		return err
	}
	err = c.follow(ctx, app, repo)
	if errors.Is(err, errDamaged) && ctx.Err() == nil { // a look that was broken off says nothing
		err = c.renew(ctx, app, repo, err)
	}
	if errors.Is(err, errLost) && c.store.Leading() {
		if err := c.giveUp(ctx, app, repo, err); err != nil {
			return err
		}
		return c.follow(ctx, app, repo)
	}
	return err
}

// recorded is an app and its refs, if it is there to stay.
func (c *copier) recorded(name cluster.AppName) (*cluster.App, *cluster.Repository, error) {
	st := c.store.State()
	app, err := st.App(name)
	if err != nil || app.Destroying {
		return nil, nil, nil //nolint:nilerr // its repository goes with it
	}
	return app, st.Repository(name), nil
}

// follow fetches what is missing and moves the refs. The disk is read first, then
// whose refs pushes own, then the state: whatever a push does meanwhile, its refs are
// either its own or what the state says.
func (c *copier) follow(ctx context.Context, app *cluster.App, repo string) error {
	refs, err := c.git.refs(ctx, repo)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	owned := c.git.claims(repo)
	now, record, err := c.recorded(app.Name)
	if err != nil || record == nil {
		return err
	}
	if !now.CreatedAt.Equal(app.CreatedAt) {
		return fmt.Errorf("app %s was made anew meanwhile", app.Name)
	}
	moves := differences(refs, record, owned)
	tips := tipsOf(moves)
	if tip := wants(c.store.State(), now).promised; tip != "" {
		tips = append(tips, tip)
	}
	if err := c.obtain(ctx, app, repo, tips, c.sources()...); err != nil {
		return err
	}
	err = c.git.moveRefs(ctx, repo, moves)
	if err != nil && clearBroken(repo, moves) {
		err = c.git.moveRefs(ctx, repo, moves)
	}
	return err
}

// clearBroken removes the files of refs that git takes for nothing and does not
// overwrite: a power cut left them empty. It reports whether there was one.
func clearBroken(repo string, moves []cluster.RefMove) (found bool) {
	for _, m := range moves {
		file := filepath.Join(repo, m.Name)
		if m.Old != "" || !filepath.IsLocal(m.Name) {
			continue
		}
		if text, err := os.ReadFile(file); err != nil || hashRE.MatchString(strings.TrimSpace(string(text))) {
			continue // it is not there, is a folder, or somebody made it meanwhile
		}
		found = os.Remove(file) == nil || found
	}
	return found
}

// tipsOf are the hashes that moves go to.
func tipsOf(moves []cluster.RefMove) []string {
	var tips []string
	for _, m := range moves {
		if m.New != "" && !slices.Contains(tips, m.New) {
			tips = append(tips, m.New)
		}
	}
	return tips
}

// sources are the other servers, the leader first.
func (c *copier) sources() []cluster.NodeID {
	var all []cluster.NodeID
	leader, _ := c.store.Leader()
	for id := range c.store.Servers() {
		if id != c.self {
			all = append(all, id)
		}
	}
	slices.SortFunc(all, func(a, b cluster.NodeID) int {
		if (a == leader) != (b == leader) {
			if a == leader {
				return -1
			}
			return 1
		}
		return strings.Compare(string(a), string(b))
	})
	return all
}

// errLost says that every server was asked for objects, and none has them.
var errLost = errors.New("no server has the objects")

// obtain makes sure that a repository holds tips and everything behind them.
func (c *copier) obtain(ctx context.Context, app *cluster.App, repo string, tips []string, from ...cluster.NodeID) error {
	if len(tips) == 0 || c.git.complete(ctx, repo, tips) {
		return nil
	}
	refs, err := c.git.refs(ctx, repo)
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	have := slices.Compact(slices.Sorted(maps.Values(refs)))
	lacking := 0
	var errs []error
	for _, id := range from {
		err := c.fetch(ctx, id, app, repo, tips, have)
		if err == nil {
			return nil
		}
		if errors.Is(err, errDamaged) || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, errLacks) {
			lacking++
		}
		errs = append(errs, err)
	}
	if lacking == len(from) {
		errs = append(errs, errLost)
	}
	return errors.Join(errs...)
}

// renew makes a repository out of what other servers have, and puts it in the place
// of the one that is damaged.
func (c *copier) renew(ctx context.Context, app *cluster.App, repo string, why error) error {
	if len(c.git.claims(repo)) > 0 {
		return why // pushes under way would lose their ground
	}
	c.log.Warn("a repository is damaged, it is copied anew", "app", string(app.Name), "err", why)
	dir, err := os.MkdirTemp(c.layout.tmp(), "repository-")
	if err != nil {
		return fmt.Errorf("make a directory for a copy: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the next start empties the folder
	fresh := filepath.Join(dir, "new.git")
	if err := c.git.initialize(ctx, fresh, app); err != nil {
		return err
	}
	if err := c.follow(ctx, app, fresh); err != nil {
		return err
	}
	c.git.repos.Lock()
	defer c.git.repos.Unlock()
	if err := os.Rename(repo, filepath.Join(dir, "old.git")); err != nil {
		return fmt.Errorf("put a damaged repository aside: %w", err)
	}
	if err := os.Rename(fresh, repo); err != nil {
		return fmt.Errorf("put a copied repository in its place: %w", err)
	}
	return syncDir(c.layout.git())
}

// giveUp records that a part of an app's history is gone: after a restored backup,
// which holds none, or the loss of a majority. The refs stay where this server can
// show them; people push the rest again.
func (c *copier) giveUp(ctx context.Context, app *cluster.App, repo string, why error) error {
	refs, err := c.git.refs(ctx, repo)
	if err != nil {
		return errors.Join(why, err)
	}
	var moves []cluster.RefMove
	for _, m := range differences(refs, c.store.State().Repository(app.Name), c.git.claims(repo)) {
		if m.New != "" && !c.git.complete(ctx, repo, []string{m.New}) {
			moves = append(moves, cluster.RefMove{Name: m.Name, Old: m.New, New: m.Old})
		}
	}
	if len(moves) == 0 {
		return why // the deployment under way has no way back into git: it is told when it ends
	}
	if _, err := c.store.Propose(ctx, store.MoveRefs{By: platform(), App: app.Name, Born: app.CreatedAt, Moves: moves}); err != nil {
		return err
	}
	c.log.Error("git history was lost, no server has it; push it again", "app", string(app.Name), "refs", len(moves), "err", why)
	_, err = c.store.Propose(ctx, store.Audit{By: platform(), Action: "git.lost", App: app.Name, Target: string(app.Name),
		Text: fmt.Sprintf("%d branches or tags went back: no server has what was pushed to them", len(moves))})
	return err
}
