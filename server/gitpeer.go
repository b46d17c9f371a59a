package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"paas/api"
	"paas/cluster"
)

const (
	// copyTime bounds one copy of a repository: what a child may compute, and as much
	// again for the line.
	copyTime = 2 * gitSeconds * time.Second
	// copyStall is how long a copy may stand still. A large history is counted before
	// its first byte.
	copyStall = time.Minute
	// indexTime is how long a server that is told to copy waits until its state knows
	// what the leader's does.
	indexTime = 10 * time.Second
	// maxPeerRequest bounds what servers ask one another: a hash for each of MaxRefs
	// refs, twice.
	maxPeerRequest = 4 << 20
)

// packRequest asks a server for objects. Born is the app's, exactly.
type packRequest struct {
	Born time.Time `json:"born"`
	Want []string  `json:"want"`
	Have []string  `json:"have"` // what the one who asks holds, with everything behind it
}

// packHead is the answer's first line. A pack follows, unless Lacks: the server does
// not hold what is wanted.
type packHead struct {
	Lacks   bool     `json:"lacks,omitempty"`
	Shallow []string `json:"shallow,omitempty"`
}

// copyRequest asks a server to fetch tips from who asks, and to answer when it holds
// them.
type copyRequest struct {
	Index uint64    `json:"index"` // of the state that knows the app
	Born  time.Time `json:"born"`
	Tips  []string  `json:"tips"`
}

// readPeerRequest reads the app's name and the body.
func readPeerRequest(r *http.Request, into any) (cluster.AppName, error) {
	name := cluster.AppName(r.PathValue("app"))
	if err := name.Validate(); err != nil {
		return "", err
	}
	return name, json.NewDecoder(io.LimitReader(r.Body, maxPeerRequest)).Decode(into)
}

func allHashes(list ...string) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !hashRE.MatchString(s) })
}

// servePack gives another server objects. It asks the disk alone, not the state:
// what it does not hold it says.
func (c *copier) servePack(w http.ResponseWriter, r *http.Request) {
	var in packRequest
	name, err := readPeerRequest(r, &in)
	if err != nil || !allHashes(in.Want...) || !allHashes(in.Have...) {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	repo := c.git.path(name)
	known, err := c.knows(r.Context(), repo, in)
	if err != nil {
		http.Error(w, plain(err.Error()), http.StatusInternalServerError)
		return
	}
	out := json.NewEncoder(w)
	if known == nil {
		_ = out.Encode(packHead{Lacks: true}) // who asked is gone: nothing to do about it
		return
	}
	ends, err := shallow(repo)
	if err != nil {
		http.Error(w, plain(err.Error()), http.StatusInternalServerError)
		return
	}
	if out.Encode(packHead{Shallow: ends}) != nil {
		return
	}
	cmd := c.git.command(r.Context(), []string{"GIT_DIR=" + repo}, "pack-objects", "--revs", "--stdout", "--thin", "--delta-base-offset", "-q")
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(strings.Join(known, "\n")+"\n"), w, &stderr
	if err := runGit(r.Context(), cmd); err != nil {
		if r.Context().Err() == nil {
			c.log.Warn("objects were not given to another server", "app", string(name), "err", err, "stderr", plain(stderr.String()))
		}
		panic(http.ErrAbortHandler) // half a pack must not look like a whole one
	}
}

// knows returns what to tell pack-objects; nil when something wanted is not here.
func (c *copier) knows(ctx context.Context, repo string, in packRequest) ([]string, error) {
	born, err := os.ReadFile(filepath.Join(repo, bornFile))
	if err != nil || string(born) != bornText(in.Born) {
		return nil, nil //nolint:nilerr // no repository, or of another app
	}
	asked := slices.Concat(in.Want, in.Have)
	if len(asked) == 0 {
		return nil, nil
	}
	said, err := c.git.ask(ctx, repo, asked, "cat-file", "--batch-check=%(objectname)")
	if err != nil {
		return nil, err
	}
	var lines []string
	for i, answer := range strings.Split(strings.TrimSuffix(said, "\n"), "\n") {
		missing := strings.HasSuffix(answer, " missing")
		switch {
		case i < len(in.Want) && missing:
			return nil, nil
		case i < len(in.Want):
			lines = append(lines, answer)
		case !missing:
			lines = append(lines, "^"+answer)
		}
	}
	return lines, nil
}

// errLacks is of a server that does not hold what was asked for.
var errLacks = errors.New("it does not have them")

// errDamaged is of a repository that does not take what it is given.
var errDamaged = errors.New("the repository here cannot be completed")

// fetch brings tips and everything behind them from another server. It is durable
// when fetch returns.
func (c *copier) fetch(ctx context.Context, from cluster.NodeID, app *cluster.App, repo string, tips []string, have []string) error {
	ctx, cancel := context.WithTimeout(ctx, copyTime)
	defer cancel()
	body, err := json.Marshal(packRequest{Born: app.CreatedAt, Want: tips, Have: have})
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	alive := time.AfterFunc(copyStall, cancel)
	defer alive.Stop()
	resp, err := c.peers.ask(ctx, from, http.MethodPost, "/git/"+string(app.Name)+"/pack", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := bufio.NewReader(&livelyReader{resp.Body, alive})
	line, err := in.ReadBytes('\n')
	var head packHead
	if err == nil {
		err = json.Unmarshal(line, &head)
	}
	switch {
	case err != nil:
		return fmt.Errorf("read objects of %s: %w", from, err)
	case head.Lacks:
		return fmt.Errorf("ask %s for objects: %w", from, errLacks)
	}
	return c.take(ctx, repo, head, in, tips)
}

// take puts a pack into a repository and checks that nothing is missing.
func (c *copier) take(ctx context.Context, repo string, head packHead, pack io.Reader, tips []string) error {
	ends, err := shallow(repo)
	if err != nil {
		return err
	}
	for _, end := range ends {
		if !slices.Contains(head.Shallow, end) { // the other has the history behind it, and thinks that this one has, too
			return fmt.Errorf("%w: its history ends elsewhere", errDamaged)
		}
	}
	cmd := c.git.command(ctx, []string{"GIT_DIR=" + repo}, "index-pack", "--stdin", "--fix-thin")
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stderr = repo, pack, &stderr
	if err := runGit(ctx, cmd); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: index-pack: %w: %.300s", errDamaged, err, plain(stderr.String()))
	}
	if err := setShallow(repo, head.Shallow); err != nil {
		return err
	}
	if err := syncDir(filepath.Join(repo, "objects", "pack")); err != nil {
		return fmt.Errorf("keep objects: %w", err)
	}
	if !c.git.complete(ctx, repo, tips) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: objects are missing", errDamaged)
	}
	return nil
}

// livelyReader puts a timer off with every read.
type livelyReader struct {
	io.Reader
	timer *time.Timer
}

// Read implements io.Reader.
func (l *livelyReader) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if n > 0 {
		l.timer.Reset(copyStall)
	}
	return n, err
}

// serveCopy makes this server hold what the one who asks has. The leader asks before
// it acknowledges a push.
func (c *copier) serveCopy(w http.ResponseWriter, r *http.Request) {
	var in copyRequest
	name, err := readPeerRequest(r, &in)
	peer, ok := r.Context().Value(peerKey{}).(api.Peer)
	if err != nil || !ok || !allHashes(in.Tips...) || len(in.Tips) == 0 {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), copyTime)
	defer cancel()
	if err := c.copyFrom(ctx, peer.ID, name, in); err != nil {
		if ctx.Err() == nil {
			c.log.Warn("objects of a push were not copied", "app", string(name), "node", string(peer.ID), "err", err)
		}
		http.Error(w, plain(err.Error()), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (c *copier) copyFrom(ctx context.Context, from cluster.NodeID, name cluster.AppName, in copyRequest) error {
	waiting, cancel := context.WithTimeout(ctx, indexTime)
	defer cancel()
	if err := c.until(waiting, func(st *cluster.State) (bool, error) { return st.Index() >= in.Index, nil }); err != nil {
		return fmt.Errorf("wait for the state: %w", err)
	}
	leave, err := c.turns.enter(ctx, name, "a copy", func(string) {})
	if err != nil {
		return err
	}
	defer leave()
	app, err := c.store.State().App(name)
	if err != nil {
		return err
	}
	if !app.CreatedAt.Equal(in.Born) {
		return cluster.Conflict("app_anew", "app %s is another one by now", name)
	}
	repo, err := c.git.repository(ctx, app)
	if err != nil {
		return err
	}
	err = c.obtain(ctx, app, repo, in.Tips, from)
	if !errors.Is(err, errDamaged) || ctx.Err() != nil { // a look that was broken off says nothing
		return err
	}
	if err := c.renew(ctx, app, repo, err); err != nil {
		return err
	}
	return c.obtain(ctx, app, repo, in.Tips, from)
}
