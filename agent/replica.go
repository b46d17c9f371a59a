package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"paas/api"
	"paas/cluster"
)

// Time limits of replicas.
const (
	backoffFirst = time.Second
	backoffLimit = time.Minute
	// backoffReset is how long a replica must have been healthy for its next exit to
	// count as the first.
	backoffReset = time.Minute
	// engineRetry is how often a replica tries again what an absent engine refused.
	engineRetry = 500 * time.Millisecond
	// evidenceLines is how much of a failed replica's output is reported.
	evidenceLines = 20
	// fetchTries is how often an image is asked for before the replica fails, when
	// the registry does not say that the image does not exist.
	fetchTries = 5
)

// shared is what all replicas of an agent use.
type shared struct {
	cluster   cluster.ClusterID
	life      string // names this life of the agent
	runtime   runtime
	probe     prober
	board     *board
	archive   *archive
	registry  func() cluster.RegistryEndpoint
	listening func(pid int) []string
	// starts bounds how many containers start at once: starting is what saturates a
	// host, and the session's heartbeats must get through.
	starts  chan struct{}
	users   *users // of volumes
	pins    *pins  // of images
	watched watchClock
	log     *slog.Logger
}

// replica owns one allocation on this node: one goroutine, one phase. Others
// only tell it what is wanted, and that it should look again.
type replica struct {
	*shared
	log   *slog.Logger
	found string // container to adopt, "" if there is none

	poke     chan struct{} // capacity 1: the container may have changed; never closed
	stop     chan struct{} // closed once when desired became stop
	stopOnce sync.Once

	mu   sync.Mutex
	want api.Assignment // guarded by mu; Desired only moves forward

	// The rest belongs to run's goroutine.
	phase       phase
	obs         cluster.Observation
	backoff     time.Duration
	failures    int       // of checks, in a row
	tries       int       // of fetching the image
	healthyFrom time.Time // monotonic twin of obs.HealthySince
	healthyFor  time.Duration
	pid         int

	outside bool // its last end was not its own doing

	oom    atomic.Bool // the engine spoke of an out-of-memory kill
	killed atomic.Bool // the engine spoke of a signal that somebody sent
}

func newReplica(s *shared, want api.Assignment, found string) *replica {
	r := &replica{
		shared:  s,
		log:     s.log.With("app", want.App, "alloc", want.ID, "instance", want.Instance(), "release", want.Release),
		found:   found,
		poke:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		backoff: backoffFirst,
	}
	if last, ok := s.board.get(want.ID); ok {
		r.obs = last.Observation
	}
	r.update(want)
	return r
}

// update tells the replica what is wanted now.
func (r *replica) update(want api.Assignment) {
	r.mu.Lock()
	if want.Desired >= r.want.Desired {
		r.want = want
	}
	r.mu.Unlock()
	if want.Desired == cluster.DesiredStop {
		r.stopOnce.Do(func() { close(r.stop) })
	}
}

// assignment is what is wanted now.
func (r *replica) assignment() api.Assignment {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.want
}

// run lives the replica's life until nothing of it is left or ctx ends. The
// container outlives ctx.
func (r *replica) run(ctx context.Context) {
	live, cancel := context.WithCancel(ctx)
	defer r.users.release(r.assignment().ID)
	var stopping sync.WaitGroup
	defer stopping.Wait()
	defer cancel()
	stopping.Go(func() {
		select {
		case <-r.stop:
			cancel()
		case <-live.Done():
		}
	})
	for !r.phase.over() {
		h, log := r.step(ctx, live)
		if ctx.Err() != nil {
			return
		}
		if live.Err() != nil && r.phase != phaseStopping {
			h = stopWanted
		}
		r.enter(h, log)
	}
}

// step does the work of the current phase and says what it led to, with the last
// lines of output if it was an end. live ends when the replica should; what must
// not be interrupted uses ctx.
func (r *replica) step(ctx, live context.Context) (happening, []string) {
	switch r.phase {
	case phasePending:
		return r.begin(ctx, live)
	case phasePulling:
		return r.fetch(ctx, live)
	case phaseStarting, phaseHealthy, phaseUnhealthy:
		return r.attend(live)
	case phaseDoomed:
		return r.end(ctx)
	case phaseBackoff:
		return r.rest(ctx, live)
	default:
		return r.vanish(ctx)
	}
}

// enter makes the transition that h asks for and reports it.
func (r *replica) enter(h happening, log []string) {
	if h == nothing {
		return
	}
	to, ok := next(r.phase, h)
	if !ok {
		r.log.Error("replica cannot do that", "phase", r.phase, "happening", h)
		return
	}
	r.account(h, to)
	r.log.Info("replica moved", "from", r.phase, "to", to, "reason", r.obs.Reason)
	r.phase = to
	r.publish(log)
}

// account keeps the books that a transition changes.
func (r *replica) account(h happening, to phase) {
	switch h {
	case checkPassed:
		r.failures, r.obs.Reason, r.obs.Ailing = 0, "", false
		r.obs.HealthySince, r.healthyFrom = now(), time.Now()
	case foundHealthy:
		r.healthyFrom = time.Now()
		if r.obs.HealthySince.IsZero() {
			r.obs.HealthySince = now()
		}
	case containerStarted:
		r.failures, r.tries = 0, 0
	case checkHopeless:
		r.obs.Ailing = true
	case bootLimit:
		r.obs.Address = "" // nobody may ask it for anything
	case stopWanted:
		r.obs.Reason = ""
	}
	switch {
	case h == exited && to == phaseBackoff && r.outside:
		r.anew()
	case h == exited && to == phaseBackoff:
		r.obs.Restarts++
	}
	if to != phaseHealthy && !r.healthyFrom.IsZero() {
		r.healthyFor = time.Since(r.healthyFrom)
		r.obs.HealthySince, r.healthyFrom = time.Time{}, time.Time{}
	}
	if to == phaseBackoff && r.healthyFor >= backoffReset {
		r.backoff, r.healthyFor = backoffFirst, 0
	}
	if !running(to) {
		r.obs.Address, r.obs.Ailing, r.pid = "", false, 0
	}
}

// anew forgets the ends before one that was the platform's: they say nothing of
// whether it stays up from now on.
func (r *replica) anew() { r.obs.Restarts, r.backoff = 0, backoffFirst }

// running reports whether a replica in p should have a running container.
func running(p phase) bool {
	return p == phaseStarting || p == phaseHealthy || p == phaseUnhealthy || p == phaseDoomed
}

// publish reports the observation as it is now.
func (r *replica) publish(log []string) {
	r.obs.State = r.phase.state()
	r.board.put(api.Observed{ID: r.assignment().ID, Observation: r.obs, Log: log})
}

// patiently repeats f while the engine is not there; what is known stays true
// meanwhile. The engine's watcher says once that it is gone.
func patiently(ctx context.Context, f func() error) error {
	for {
		err := f()
		if !errors.Is(err, errEngineDown) {
			return err
		}
		if !pause(ctx, engineRetry) {
			return ctx.Err()
		}
	}
}

// pause waits for d; false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// now is the time as observations carry it: UTC, without a monotonic reading, so
// that equal observations compare equal after a trip over the wire.
func now() time.Time { return time.Now().UTC().Round(0) }

// spec is what the replica's container is made from.
func (r *replica) spec() spec {
	a := r.assignment()
	if r.obs.ContainerID != "" || !r.obs.StartedAt.IsZero() { // it had them: they are not to be made again
		a.Mounts = slices.Clone(a.Mounts)
		for i := range a.Mounts {
			a.Mounts[i].Fresh = false
		}
	}
	return spec{Cluster: r.cluster, Assignment: a, Image: imageRef{Registry: r.registry(), Image: a.Image}}
}

// startLimit is the number of containers that start at once.
func startLimit(cpus int) int { return max(2, 2*cmp.Or(cpus, 1)) }
