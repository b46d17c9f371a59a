package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// The steps of a replica that make and end its container.

// begin adopts the container that was found, or makes one.
func (r *replica) begin(ctx, live context.Context) (happening, []string) {
	if err := r.users.take(live, r.assignment().ID, r.assignment().Mounts); err != nil {
		return nothing, nil
	}
	if r.found == "" {
		if r.obs.ContainerID != "" {
			r.anew() // paas down removed it, or who cleared the host
		}
		return r.launch(ctx, live)
	}
	var c container
	err := patiently(live, func() (err error) {
		c, err = r.runtime.containers.Inspect(live, r.found)
		return err
	})
	switch {
	case errors.Is(err, errNoContainer):
		return r.launch(ctx, live)
	case err != nil:
		return r.retry(live, "inspect container", err)
	}
	return r.adopt(ctx, live, c)
}

// adopt takes c as it is if it was made from what is wanted: a running replica
// is not restarted because its agent was.
func (r *replica) adopt(ctx, live context.Context, c container) (happening, []string) {
	known, last := r.obs.ContainerID == c.ID, r.obs.State
	r.obs.ContainerID = c.ID
	switch {
	case c.Created:
		return r.launch(ctx, live)
	case c.Running && c.Spec != r.spec().hash():
		r.log.Warn("container was made from something else", "container", c.ID)
		if err := r.discard(ctx, c.ID, stopGrace(r.assignment().Process)); err != nil {
			return r.retry(live, "replace container", err)
		}
		return r.launch(ctx, live)
	case !c.Running && known && phaseBackoff.state() == last:
		return foundWaiting, nil
	case !c.Running:
		return r.exitedAs(ctx, c)
	}
	r.see(c)
	switch {
	case known && last == phaseHealthy.state():
		return foundHealthy, nil
	case known && last == phaseUnhealthy.state():
		return foundUnhealthy, nil
	}
	return containerStarted, nil
}

// fetch gets the image. What the registry does not have is hopeless; everything
// else is tried again a few times, for a registry may be starting too.
func (r *replica) fetch(ctx, live context.Context) (happening, []string) {
	ref := r.spec().Image
	release, err := r.pins.hold(live, ref)
	if err != nil {
		return nothing, nil
	}
	defer release()
	err = patiently(live, func() error { return r.runtime.images.Fetch(live, ref) })
	if err == nil {
		return r.launch(ctx, live)
	}
	r.tries++
	if live.Err() == nil && (errors.Is(err, errNoImage) || r.tries >= fetchTries) {
		r.obs.ContainerID = ""
		r.obs.Reason = "cannot fetch image: " + oneLine(err.Error())
		if errors.Is(err, errNoImage) {
			r.obs.Reason = "its image is not in the registry (a backup holds none): push or deploy the app again"
		}
		return imageImpossible, nil
	}
	r.log.Warn("image not fetched", "try", r.tries, "err", err)
	pause(live, time.Duration(r.tries)*time.Second)
	return nothing, nil
}

// rest waits before the next start, longer each time.
func (r *replica) rest(ctx, live context.Context) (happening, []string) {
	if !pause(live, r.backoff) {
		return nothing, nil
	}
	r.backoff = min(2*r.backoff, backoffLimit)
	return r.launch(ctx, live)
}

// launch makes a fresh container and starts it. Creating and starting are not
// interrupted by a stop: half a start is harder to clean up than a whole one.
func (r *replica) launch(ctx, live context.Context) (happening, []string) {
	s := r.spec()
	release, err := r.pins.hold(live, s.Image)
	if err != nil {
		return nothing, nil
	}
	defer release() // its container keeps it now
	var present bool
	err = patiently(live, func() (err error) {
		present, err = r.runtime.images.Has(live, s.Image)
		return err
	})
	switch {
	case err != nil:
		return r.retry(live, "look for image", err)
	case !present && r.phase == phasePulling:
		return r.retry(live, "look for image", errNoImage)
	case !present:
		return imageMissing, nil
	}
	if err := r.fence(ctx, live); err != nil {
		return r.retry(live, "wait for the volume", err)
	}
	select {
	case r.starts <- struct{}{}:
		defer func() { <-r.starts }()
	case <-live.Done():
		return nothing, nil
	}
	r.preserve(ctx, r.obs.ContainerID)
	var c container
	err = patiently(live, func() (err error) {
		c, err = r.start(ctx, s)
		return err
	})
	if live.Err() != nil {
		return nothing, nil
	}
	if err != nil {
		r.outside = false
		r.obs.Reason, r.obs.ExitCode, r.obs.OOM = "cannot start: "+oneLine(err.Error()), c.ExitCode, false
		return exited, nil
	}
	r.see(c)
	wake(r.poke) // it may have ended already
	return containerStarted, nil
}

// start creates, starts and inspects a container.
func (r *replica) start(ctx context.Context, s spec) (container, error) {
	id, err := r.runtime.containers.Create(ctx, s)
	if err != nil {
		return container{}, err
	}
	r.obs.ContainerID = id
	r.oom.Store(false)
	r.killed.Store(false)
	if err := r.runtime.containers.Start(ctx, id); err != nil {
		c, _ := r.runtime.containers.Inspect(ctx, id) // for its exit code only
		return c, err
	}
	return r.runtime.containers.Inspect(ctx, id)
}

// see takes from c what is reported of a running container.
func (r *replica) see(c container) {
	r.obs.ContainerID, r.obs.StartedAt, r.pid = c.ID, c.StartedAt.UTC(), c.PID
	r.obs.Address = ""
	if port := r.assignment().Process.Port; port != 0 && c.IP != "" {
		r.obs.Address = net.JoinHostPort(c.IP, strconv.Itoa(port))
	}
}

// end removes the container of a replica that is given up; what it printed can
// still be read.
func (r *replica) end(ctx context.Context) (happening, []string) {
	id := r.obs.ContainerID
	err := patiently(ctx, func() error {
		return r.runtime.containers.Stop(ctx, id, stopGrace(r.assignment().Process))
	})
	if err != nil && !errors.Is(err, errNoContainer) {
		return r.retry(ctx, "stop container", err)
	}
	if c, err := r.runtime.containers.Inspect(ctx, id); err == nil {
		r.obs.ExitCode = c.ExitCode
	}
	log := r.tail(ctx, id)
	r.preserve(ctx, id)
	if err := r.discard(ctx, id, 0); err != nil {
		return r.retry(ctx, "remove container", err)
	}
	return exited, log
}

// vanish ends and removes everything of the allocation.
func (r *replica) vanish(ctx context.Context) (happening, []string) {
	a := r.assignment()
	var all []container
	err := patiently(ctx, func() (err error) {
		all, err = r.runtime.containers.List(ctx)
		return err
	})
	for _, c := range all {
		if c.Allocation != a.ID || c.OneOff != "" {
			continue
		}
		if err = r.discard(ctx, c.ID, stopGrace(a.Process)); err != nil {
			break
		}
	}
	if err != nil {
		return r.retry(ctx, "remove container", err)
	}
	return endedAsWanted, nil
}

// discard stops and removes one container, keeping what it printed.
func (r *replica) discard(ctx context.Context, id string, grace time.Duration) error {
	err := patiently(ctx, func() error { return r.runtime.containers.Stop(ctx, id, grace) })
	if errors.Is(err, errNoContainer) {
		return nil
	}
	if err != nil {
		return err
	}
	if c, err := r.runtime.containers.Inspect(ctx, id); err == nil && id == r.obs.ContainerID {
		r.obs.ExitCode = c.ExitCode
	}
	r.preserve(ctx, id)
	return patiently(ctx, func() error { return r.runtime.containers.Remove(ctx, id) })
}

// preserve keeps the last lines of a container that is about to go.
func (r *replica) preserve(ctx context.Context, id string) {
	if id != "" {
		r.archive.add(r.assignment().ID, id, readTail(ctx, r.runtime.logs, id, archiveLines))
	}
}

// tail is the evidence: the last lines that a container printed.
func (r *replica) tail(ctx context.Context, id string) []string {
	var out []string
	for _, e := range readTail(ctx, r.runtime.logs, id, evidenceLines) {
		out = append(out, e.Text)
	}
	return out
}

// exitedAs reports how c ended. What somebody stopped, the engine when it stops
// among them, and what ended while nobody watched, a shutdown of the host, is not
// the app's doing.
func (r *replica) exitedAs(ctx context.Context, c container) (happening, []string) {
	ran := c.FinishedAt.Sub(c.StartedAt)
	r.obs.ContainerID, r.obs.StartedAt = c.ID, c.StartedAt.UTC()
	r.obs.ExitCode = c.ExitCode
	r.obs.OOM = c.OOM || (r.oom.Load() && c.ExitCode == 137)
	killed, seen := r.killed.Load(), r.watched.saw(c.FinishedAt)
	r.outside = !r.obs.OOM && (killed || !seen)
	r.obs.Reason = fmt.Sprintf("exited with code %d after %s", c.ExitCode, span(ran))
	switch {
	case r.obs.OOM:
		r.obs.Reason = fmt.Sprintf("ran out of memory (limit %d MiB) after %s", r.assignment().Process.MemoryBytes>>20, span(ran))
	case killed:
		r.obs.Reason += ", stopped from outside"
	case !seen:
		r.obs.Reason += ", while paas or the engine was away"
	}
	return exited, r.tail(ctx, c.ID)
}

// retry says what did not work and waits; the phase stays.
func (r *replica) retry(live context.Context, what string, err error) (happening, []string) {
	if live.Err() == nil {
		r.log.Warn("replica step not done", "step", what, "phase", r.phase, "err", err)
		pause(live, time.Second)
	}
	return nothing, nil
}

// span shows a duration to people: "0.8s", "42s", "3m7s".
func span(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", max(0, d).Seconds())
	}
	return d.Round(time.Second).String()
}

// oneLine fits an engine's error into an observation.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:297], "") + "…"
	}
	return s
}
