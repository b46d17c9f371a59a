package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"paas/cluster"
)

// pendingFile is in a repository while a push of it has a release and no branch
// yet: git moves the branch after its hook, and may be killed before that.
const pendingFile = "paas-pending"

// pending is what is left to do for a push once its release is made: to move the
// branch if the deployment succeeds. Whoever opens the repository next does it if
// the push has not.
type pending struct {
	Build  cluster.BuildID `json:"build"` // which the release is found by
	Update refUpdate       `json:"update"`
}

// preserve makes a push survive the death of git and of this process: its objects
// are kept outside of git's quarantine, which dies with the push, and what is to
// be done with them is written down.
func preserve(repo string, in hookRequest, p pending) error {
	if in.Objects != "" { // a push of what is there already has no quarantine
		if err := keepObjects(absolute(repo, in.Objects), filepath.Join(repo, "objects")); err != nil {
			return fmt.Errorf("keep the objects of a push: %w", err)
		}
	}
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode what is left to do for a push: %w", err)
	}
	return writeOnce(filepath.Join(repo, pendingFile), data)
}

// absolute completes a path of git's.
func absolute(repo, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(repo, path)
}

// objectRE are the files of an object store that hold objects, or make packs
// readable. An .idx is what makes git look at a pack, so it goes last.
var objectRE = regexp.MustCompile(`^(pack/pack-[0-9a-f]+\.(pack|rev|idx)|[0-9a-f]{2}/[0-9a-f]+)$`)

// keepObjects links the objects under from into to, where git will find them when
// it moves them there itself.
func keepObjects(from, to string) error {
	var objects, indices []string
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(from, path)
		switch {
		case err != nil || !objectRE.MatchString(filepath.ToSlash(name)):
		case strings.HasSuffix(name, ".idx"):
			indices = append(indices, name)
		default:
			objects = append(objects, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	dirs := map[string]bool{}
	for _, name := range append(objects, indices...) {
		dir := filepath.Dir(filepath.Join(to, name))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Link(filepath.Join(from, name), filepath.Join(to, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		dirs[dir] = true
	}
	for dir := range dirs {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// settle does what a push left undone. What cannot be done now is tried again by
// whoever comes next.
func (g *gitServer) settle(ctx context.Context, name cluster.AppName, repo string) {
	g.settling.Lock()
	defer g.settling.Unlock()
	if err := g.finish(ctx, name, repo); err != nil && ctx.Err() == nil {
		g.log.Warn("what a push left was not done, the next one does it", "app", string(name), "err", err)
	}
}

// finish moves the branch if the release serves, forgets the push if it never
// will, and leaves it if that is not known yet. A push under way does it itself.
func (g *gitServer) finish(ctx context.Context, name cluster.AppName, repo string) error {
	file := filepath.Join(repo, pendingFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && g.keeps(repo) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what a push left to do: %w", err)
	}
	var p pending
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("read what a push left to do: %w", err)
	}
	st, err := g.read(ctx)
	if err != nil {
		return err
	}
	switch releaseOf(st, name, p.Build) {
	case cluster.ReleasePending:
		return nil
	case cluster.ReleaseSucceeded:
		if err := g.moveBranch(ctx, repo, p.Update); err != nil {
			return err
		}
	}
	if err := os.Remove(file); err != nil {
		return fmt.Errorf("forget what a push left to do: %w", err)
	}
	return nil
}

// releaseOf is the state of the release that was made of a build; failed if there
// is none.
func releaseOf(st *cluster.State, app cluster.AppName, build cluster.BuildID) cluster.ReleaseState {
	for r := range st.Releases(app) {
		if r.Build == build && r.RollbackOf == 0 {
			return r.State
		}
	}
	return cluster.ReleaseFailed
}

// moveBranch does a push's update unless it is done, or something else was since.
func (g *gitServer) moveBranch(ctx context.Context, repo string, u refUpdate) error {
	now, err := g.branch(ctx, repo, u)
	if err != nil || now == u.New {
		return err
	}
	if now != u.Old {
		g.log.Warn("a branch was not moved to what serves: it moved meanwhile", "ref", u.Name, "now", now, "serves", u.New)
		return nil
	}
	cmd := g.command(ctx, []string{"GIT_DIR=" + repo}, "update-ref", "--stdin")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("update %s %s %s\n", u.Name, u.New, u.Old))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := runGit(ctx, cmd); err != nil {
		return fmt.Errorf("move %s to what serves: %w: %s", u.Name, err, plain(stderr.String()))
	}
	g.log.Info("branch moved to what serves, for a push that was cut off", "ref", u.Name, "commit", u.New)
	return nil
}

// branch is what u's ref is now: zeros if it is not there.
func (g *gitServer) branch(ctx context.Context, repo string, u refUpdate) (string, error) {
	cmd := g.command(ctx, []string{"GIT_DIR=" + repo}, "rev-parse", "--quiet", "--verify", "--end-of-options", u.Name)
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	now := strings.TrimSpace(string(out))
	if err != nil || now == "" { // rev-parse says nothing of a ref that is not there
		now = strings.Repeat("0", len(u.Old))
	}
	return now, nil
}
