package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"paas/cluster"
)

// refs lists what a repository's disk says.
func (g *gitServer) refs(ctx context.Context, repo string) (map[string]string, error) {
	out, err := g.ask(ctx, repo, nil, "for-each-ref", "--format=%(objectname) %(refname)")
	if err != nil {
		return nil, fmt.Errorf("list refs: %w", err)
	}
	refs := map[string]string{}
	for line := range strings.Lines(out) {
		if hash, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok {
			refs[name] = hash
		}
	}
	return refs, nil
}

// ask runs a git child that tells something of a repository.
func (g *gitServer) ask(ctx context.Context, repo string, lines []string, args ...string) (string, error) {
	cmd := g.command(ctx, []string{"GIT_DIR=" + repo}, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if lines != nil {
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	}
	if err := runGit(ctx, cmd); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fmt.Errorf("git %s: %w: %.300s", args[0], err, plain(stderr.String()))
	}
	return stdout.String(), nil
}

// differences are the moves that make refs what the repository's record says, but
// for those that a push under way owns.
func differences(refs map[string]string, record *cluster.Repository, owned map[string]bool) []cluster.RefMove {
	var moves []cluster.RefMove
	want := map[string]bool{}
	for _, r := range record.Refs {
		want[r.Name] = true
		if refs[r.Name] != r.Hash && !owned[r.Name] {
			moves = append(moves, cluster.RefMove{Name: r.Name, Old: refs[r.Name], New: r.Hash})
		}
	}
	for name, hash := range refs {
		if !want[name] && !owned[name] {
			moves = append(moves, cluster.RefMove{Name: name, Old: hash})
		}
	}
	slices.SortFunc(moves, func(a, b cluster.RefMove) int { return strings.Compare(a.Name, b.Name) })
	return moves
}

// moveRefs changes a repository's refs, each only from where its move begins. What
// goes, goes first: a branch may take the place of a folder of branches.
func (g *gitServer) moveRefs(ctx context.Context, repo string, moves []cluster.RefMove) error {
	var deletions, updates []string
	for _, m := range moves {
		switch {
		case m.New == "":
			deletions = append(deletions, fmt.Sprintf("delete %s %s", m.Name, m.Old))
		case m.Old == "":
			updates = append(updates, fmt.Sprintf("create %s %s", m.Name, m.New))
		default:
			updates = append(updates, fmt.Sprintf("update %s %s %s", m.Name, m.New, m.Old))
		}
	}
	for _, lines := range [][]string{deletions, updates} {
		if len(lines) == 0 {
			continue
		}
		if _, err := g.ask(ctx, repo, lines, "update-ref", "--stdin"); err != nil {
			return fmt.Errorf("move refs: %w", err)
		}
	}
	return nil
}

// complete reports whether a repository holds tips and everything behind them, as
// far as its refs do not vouch for it.
func (g *gitServer) complete(ctx context.Context, repo string, tips []string) bool {
	_, err := g.ask(ctx, repo, tips, "rev-list", "--objects", "--quiet", "--stdin", "--not", "--all")
	return err == nil
}

// shallow lists the commits whose parents a repository lacks on purpose: somebody
// pushed what they had cloned without its history.
func shallow(repo string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(repo, "shallow"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read where the history ends: %w", err)
	}
	return strings.Fields(string(data)), nil
}

// setShallow is shallow's inverse.
func setShallow(repo string, commits []string) error {
	path := filepath.Join(repo, "shallow")
	if len(commits) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget where the history ended: %w", err)
		}
		return nil
	}
	return writeOnce(path, []byte(strings.Join(commits, "\n")+"\n"))
}

// claims are the refs that pushes under way are about to move: git does it by itself.
func (g *gitServer) claims(repo string) map[string]bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	owned := map[string]bool{}
	for _, p := range g.pushes {
		if p.repo == repo {
			for _, u := range p.owns() {
				owned[u.Name] = true
			}
		}
	}
	return owned
}
