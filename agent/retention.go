package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"paas/cluster"
)

// sparesPause is the least time between two looks at the engine.
const sparesPause = 10 * time.Second

// retention removes images that nothing on this host uses any more: those unused for a
// day and, on a disk that fills, the longest unused first until it is no longer so.
// What a release names can be pulled again, for servers have it. It works on hosts
// without a server only; elsewhere the builder looks after the engine's images. Only
// names that this host's mirror gave to the cluster's images are ever removed.
type retention struct {
	images     images
	containers containers
	mirror     string // where the host's mirror listens
	// assigned are the images of everything that is or shall be here.
	assigned func() []imageRef
	pins     *pins
	// space measures where the engine keeps images; false when that cannot be looked at.
	space func() (cluster.Space, bool)
	// filled has capacity 1: a file system's level changed. Sent by the spaceWatch.
	filled chan struct{}
	save   func(spares) error
	log    *slog.Logger

	// For run's goroutine only.
	spares spares
	saved  spares // what is on the disk of it
	level  cluster.SpaceLevel
}

// retain makes what removes old images, which servers do for their own hosts.
func (a *Agent) retain(rt runtime) {
	known, err := a.memory.spared()
	if err != nil {
		a.log.Warn("the age of unused images is lost, it counts from now", "err", err)
		known = spares{}
	}
	a.retention = &retention{images: rt.images, containers: rt.containers, mirror: a.mirror.endpoint.Address, assigned: a.reconciler.images,
		pins: a.reconciler.shared.pins, space: a.space.engineSpace, filled: a.space.filled, save: a.memory.saveSpares, log: a.log, spares: known, saved: known}
}

// begin is run once a server's set was reconciled: what was assigned before this life
// says little of what is needed.
func (r *retention) begin(ctx context.Context, settled <-chan struct{}) error {
	select {
	case <-settled:
		return r.run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// run looks until ctx ends.
func (r *retention) run(ctx context.Context) error {
	for told := false; ; {
		again, err := r.pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case err == nil:
			told = false
		case !told && !errors.Is(err, errEngineDown): // that is for the engine's watcher to say
			told = true
			r.log.Warn("old images are not looked after, the next look tries again", "err", err)
		}
		if !pause(ctx, sparesPause) {
			return nil
		}
		t := time.NewTimer(again)
		select {
		case <-t.C:
		case <-r.filled:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// pass looks at the engine once and removes what is due. It says when to look again.
func (r *retention) pass(ctx context.Context) (again time.Duration, err error) {
	r.judge()
	names, err := r.images.Names(ctx)
	if err != nil {
		return sparesLook(r.level), fmt.Errorf("list images: %w", err)
	}
	used, err := r.used(ctx)
	if err != nil {
		return sparesLook(r.level), err
	}
	r.spares = r.spares.after(r.mirror, names, used, now())
	err = errors.Join(r.remove(ctx), r.keep())
	return r.next(), err
}

// keep writes down what is known, if that is news to the disk.
func (r *retention) keep() error {
	if r.spares.equal(r.saved) {
		return nil
	}
	if err := r.save(r.spares); err != nil {
		return fmt.Errorf("save the age of images: %w", err)
	}
	r.saved = r.spares
	return nil
}

// judge measures how full the disk is now.
func (r *retention) judge() {
	if s, ok := r.space(); ok {
		r.level = s.Judge(r.level)
	} else {
		r.level = cluster.SpaceAmple
	}
}

// used are the names of images that are needed now, or were since the last look.
func (r *retention) used(ctx context.Context) (map[string]bool, error) {
	all, err := r.containers.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	out := r.pins.news()
	for _, c := range all {
		out[c.Image] = true
	}
	for _, ref := range r.assigned() {
		out[ref.String()] = true
	}
	return out, nil
}

// remove removes what is due, the longest unused first. What came into use meanwhile
// is pinned, or a container has it.
func (r *retention) remove(ctx context.Context) error {
	removed := 0
	defer func() {
		if removed > 0 {
			r.log.Info("unused images removed", "count", removed)
		}
	}()
	for _, s := range r.spares.oldest() {
		if time.Since(s.since) < sparedFor(r.level) {
			return nil // the others are younger
		}
		gone, err := r.pins.remove(s.name, func() (bool, error) { return r.images.Drop(ctx, s.name) })
		if err != nil {
			return fmt.Errorf("remove image %s: %w", s.name, err)
		}
		if gone {
			removed++
			delete(r.spares.Since, s.name)
			r.judge()
		}
	}
	return nil
}

// next is when something is due, if that is before the next look.
func (r *retention) next() time.Duration {
	look := sparesLook(r.level)
	for _, s := range r.spares.oldest() {
		if left := sparedFor(r.level) - time.Since(s.since); left > 0 {
			return min(look, left)
		}
	}
	return look
}
