package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"paas/cluster"
	"paas/identity"
)

const (
	// logTime bounds the copy of one log, of maxLogBytes at most.
	logTime = 30 * time.Second
	// logAgain is how often a log that a silent server may have is asked for.
	logAgain = time.Minute
)

// logNameRE are the files that servers give each other.
var logNameRE = regexp.MustCompile(`^(b-[0-9]{1,20}\.log|d-[0-9]{1,20}\.release\.log)$`)

// logCopier brings the logs of builds and release commands that ended to this
// server's disk. They are made where the leader is; whoever leads next can show them.
type logCopier struct {
	*control
	logs   *buildLogs
	copies *copier
}

func (c *logCopier) serve() {
	c.copies.peers.handle("GET /logs/{name}", http.HandlerFunc(c.serveLog), identity.RoleServer)
}

// serveLog gives another server a log: 204 if it is not here.
func (c *logCopier) serveLog(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if !logNameRE.MatchString(name) {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	f, err := os.Open(c.logs.path(name))
	if err != nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		http.Error(w, "cannot read it", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	_, _ = io.CopyN(w, f, info.Size()) // who asked counts the bytes
}

// endedLog is a log that nobody writes to any more.
type endedLog struct {
	name string
	node cluster.NodeID // where it was written, if that is known
}

// endedLogs are those that the state knows.
func endedLogs(st *cluster.State) []endedLog {
	var all []endedLog
	for app := range st.Apps() {
		for b := range st.Builds(app.Name) {
			if b.State.Ended() {
				all = append(all, endedLog{buildLogName(b.ID), b.Node})
			}
		}
		for x := range st.Deployments(app.Name) {
			if !x.CommandAt.IsZero() && x.State != cluster.DeploymentReleasing {
				all = append(all, endedLog{name: releaseLogName(x.ID)})
			}
		}
	}
	return all
}

// Run copies until ctx ends.
func (c *logCopier) Run(ctx context.Context) error {
	select {
	case <-c.caughtUp:
	case <-ctx.Done():
		return nil
	}
	settled := map[string]bool{} // here, or nowhere
	for failures := 0; ; {
		st := c.store.State()
		wait := time.Hour
		if c.pass(ctx, endedLogs(st), settled) {
			failures = 0
		} else { // a busy cluster's changes make no storm of questions
			failures++
			wait = logAgain
			_ = pause(ctx, backoff(failures)) // newer sees the end
		}
		if c.newer(ctx, st, wait) != nil {
			return nil
		}
	}
}

// pass brings what is not settled, and reports whether all is.
func (c *logCopier) pass(ctx context.Context, all []endedLog, settled map[string]bool) bool {
	silent := map[cluster.NodeID]bool{}
	done := true
	for _, l := range all {
		if settled[l.name] {
			continue
		}
		if _, err := c.bring(ctx, l, silent); err != nil {
			c.log.Debug("log was not copied yet", "log", l.name, "err", err)
			done = false
			continue
		}
		settled[l.name] = true
	}
	if len(settled) > 2*len(all)+100 { // most are forgotten by now
		clear(settled)
	}
	return done
}

// bring makes a log be here, if any server has it. Servers in silent are not asked;
// those that do not answer are added. An error says that one may have it.
func (c *logCopier) bring(ctx context.Context, l endedLog, silent map[cluster.NodeID]bool) (found bool, err error) {
	if _, err := os.Stat(c.logs.path(l.name)); err == nil {
		return true, nil
	}
	from := c.copies.sources()
	if i := slices.Index(from, l.node); i > 0 {
		from[0], from[i] = from[i], from[0]
	}
	var errs []error
	for _, id := range from {
		if silent[id] {
			errs = append(errs, fmt.Errorf("server %s does not answer", id))
			continue
		}
		found, err := c.fetch(ctx, id, l.name)
		if found {
			return true, nil
		}
		if err != nil {
			silent[id] = true
			errs = append(errs, err)
		}
	}
	return false, errors.Join(errs...)
}

// fetch copies a log from another server, whole or not at all.
func (c *logCopier) fetch(ctx context.Context, from cluster.NodeID, name string) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	resp, err := c.copies.peers.ask(ctx, from, http.MethodGet, "/logs/"+name, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return false, nil
	}
	f, err := os.CreateTemp(c.layout.tmp(), "log-")
	if err != nil {
		return false, fmt.Errorf("copy log: %w", err)
	}
	defer os.Remove(f.Name()) // the next start empties the folder
	_, err = io.Copy(f, io.LimitReader(resp.Body, 2*maxLogBytes))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil { // a log that is here is not asked for again
		return false, fmt.Errorf("copy log: %w", err)
	}
	if err := os.Rename(f.Name(), filepath.Join(c.layout.builds(), name)); err != nil {
		return false, fmt.Errorf("copy log: %w", err)
	}
	return true, nil
}

// need is bring for somebody who wants to read a build's log.
func (c *logCopier) need(ctx context.Context, b *cluster.Build) error {
	if !b.State.Ended() {
		return nil // it is written here
	}
	if _, err := c.bring(ctx, endedLog{buildLogName(b.ID), b.Node}, map[cluster.NodeID]bool{}); err != nil {
		return cluster.Errorf(cluster.KindUnavailable, "log_away", "the log of build %s cannot be shown", b.ID).
			Because("node %s wrote it and does not answer", nodeName(c.store.State(), b.Node)).
			WithHint("see which servers run with: paas nodes; then try again").Wrap(err)
	}
	return nil
}
