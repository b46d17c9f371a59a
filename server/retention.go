package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"paas/cluster"
)

// retainPause is the least time between two rounds of dropping images: it waits
// for disks and locks the registry.
const retainPause = 30 * time.Second

// keeper drops what the state does not name any more, on every server: git
// repositories and logs. It looks at the newest state only, so it repairs what a
// crash left.
type keeper struct {
	*control
	deployer *deployer
	git      *gitServer
}

// Run drops until ctx ends. It begins when the state is as new as what lies on the
// disk: an older one does not name what came after it.
func (k *keeper) Run(ctx context.Context) error {
	select {
	case <-k.caughtUp:
	case <-ctx.Done():
		return nil
	}
	for {
		st := k.store.State()
		wait := time.Hour
		if err := k.sweep(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("what destroyed apps left was not removed", "err", err)
			wait = time.Minute
		}
		if k.newer(ctx, st, wait) != nil || pause(ctx, retainPause) != nil {
			return nil
		}
	}
}

// namedImages are those that a release names.
func namedImages(st *cluster.State) map[cluster.Image]bool {
	keep := map[cluster.Image]bool{}
	for app := range st.Apps() {
		for rel := range st.Releases(app.Name) {
			keep[rel.Image] = true
		}
	}
	return keep
}

// trim drops what can be made again, or is of little use, for a disk that fills:
// images that nothing names, unfinished uploads, sources that a build left, and the
// text of old builds' logs. Volumes are never touched.
func (k *keeper) trim(ctx context.Context) error {
	return errors.Join(k.sweep(ctx), k.trimLogs(), k.deployer.sweepSources(), k.deployer.images.Trim(ctx))
}

// keptLogs is how many of an app's builds keep their logs on a disk that fills.
const keptLogs = 5

// trimmedLog is what is left of a log.
const trimmedLog = " !     this log was dropped to free disk space\n"

// trimLogs drops the text of logs of all but an app's last builds.
func (k *keeper) trimLogs() error {
	st := k.store.State()
	var errs []error
	for app := range st.Apps() {
		var ended []cluster.BuildID // oldest first
		for b := range st.Builds(app.Name) {
			if b.State.Ended() {
				ended = append(ended, b.ID)
			}
		}
		for _, id := range ended[:max(0, len(ended)-keptLogs)] {
			path := filepath.Join(k.layout.builds(), buildLogName(id))
			if info, err := os.Stat(path); err != nil || info.Size() <= int64(len(trimmedLog)) {
				continue // it is gone or trimmed already
			}
			if err := os.WriteFile(path, []byte(trimmedLog), 0o600); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// sweep removes repositories and logs of what is gone.
func (k *keeper) sweep(ctx context.Context) error {
	return errors.Join(k.git.sweep(ctx), k.sweepLogs())
}

// sweepLogs removes the logs of builds and deployments that the state forgot. The
// directory is listed before the state is read: a log in the list belongs to
// something that the state has, if it still lives.
func (k *keeper) sweepLogs() error {
	entries, err := os.ReadDir(k.layout.builds())
	if err != nil {
		return err
	}
	st := k.store.State()
	var errs []error
	for _, e := range entries {
		id, kind, _ := strings.Cut(e.Name(), ".")
		var gone error
		switch kind {
		case "log":
			_, gone = st.Build(cluster.BuildID(id))
		case "release.log":
			_, gone = st.Deployment(cluster.DeploymentID(id))
		}
		if gone == nil {
			continue
		}
		if err := os.Remove(filepath.Join(k.layout.builds(), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
