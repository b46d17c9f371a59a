package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync"

	"paas/cluster"
)

// limitSteps puts all build steps of the engine under this builder's limits. It
// returns their group, into which the classic builder's containers belong, too,
// and its memory in bytes. group is nil where steps cannot be limited, memory 0
// when the engine does not answer. A build goes on without: that is worth one
// warning, not an outage.
func (b *Builder) limitSteps(ctx context.Context) (group *stepGroup, memory int64) {
	f, err := b.engine.controlGroups(ctx)
	if err != nil {
		return nil, 0 // the build itself says that the engine is away
	}
	l := b.config.Limits
	setDefault(&l.MemoryBytes, stepMemory(f.MemoryBytes))
	setDefault(&l.CPUMilli, stepCPU(f.Processors))
	g, err := stepGroupOf(f, cgroupRoot)
	if err == nil {
		err = g.limit(ctx, l)
	}
	if err != nil {
		b.unlimited.Do(func() { b.warnUnlimited(err) })
		return nil, l.MemoryBytes
	}
	return g, l.MemoryBytes
}

func (b *Builder) warnUnlimited(err error) {
	b.logger.Warn("build steps under BuildKit have no limits of memory, processes and CPU", "err", err)
}

// CheckLimits says why build steps on this host's engine cannot be limited; nil
// when they can. It changes nothing.
func CheckLimits(ctx context.Context) error {
	e, err := newEngine()
	if err != nil {
		return err
	}
	defer e.client.Close()
	f, err := e.controlGroups(ctx)
	if err != nil {
		return err
	}
	g, err := stepGroupOf(f, cgroupRoot)
	if err == nil {
		err = g.usable(os.Geteuid())
	}
	if err != nil {
		return cluster.Errorf(cluster.KindUnavailable, "build limits", "build steps run without limits of memory, processes and CPU").Because("%v", err).Wrap(err)
	}
	return nil
}

// buildLimited puts the steps under the host's limits and says so when a build
// failed for want of memory.
func (j *job) buildLimited(ctx context.Context, kind Engine, s buildSpec) (string, error) {
	group, memory := j.b.limitSteps(ctx)
	s.limits.MemoryBytes = memory
	var watch *memoryWatch
	if group != nil {
		s.parent = group.parent()
		catcher, err := group.catch(j.b.logger)
		if err != nil {
			j.b.unlimited.Do(func() { j.b.warnUnlimited(err) })
		}
		defer catcher.Close() // a descriptor of ours: nothing is lost
		if watch, err = group.watchMemory(); err != nil {
			j.b.logger.Warn("a build that runs out of memory will not be told so", "err", err)
		}
		defer watch.Close() // a descriptor of ours: nothing is lost
	}
	id, err := j.buildBeating(ctx, kind, s)
	var ended *engineError
	if errors.As(err, &ended) && watch.ranOut() {
		return "", &engineError{outOfMemory(ended.text, memory)}
	}
	return id, err
}

// buildBeating shows that the build lives, and falls back to the classic builder.
func (j *job) buildBeating(ctx context.Context, kind Engine, s buildSpec) (string, error) {
	beating, end := context.WithCancel(ctx)
	var beat sync.WaitGroup
	beat.Go(func() { j.out.heartbeat(beating, "building") })
	defer beat.Wait()
	defer end()
	id, err := j.buildWith(ctx, kind, s)
	if errors.Is(err, errNoSession) && ctx.Err() == nil {
		j.warn("the engine has no BuildKit; using its classic builder")
		return j.buildWith(ctx, EngineClassic, s)
	}
	return id, err
}

// killedRE matches how both builders end a step that SIGKILL ended.
var killedRE = regexp.MustCompile(`code: 137\b`)

// stepEndedRE matches how both builders say that a step ended by itself.
var stepEndedRE = regexp.MustCompile(`code: [0-9]+\s*$`)

// outOfMemory says what killed a step. One that was not killed
// may have caught the death of a child, or failed beside it.
func outOfMemory(text string, memory int64) string {
	text = plainBuildError(text)
	if killedRE.MatchString(text) {
		return fmt.Sprintf("the build ran out of memory: %s are for all builds of this host; %s", humanBytes(memory), text)
	}
	return fmt.Sprintf("%s (memory ran out during the build: %s are for all builds of this host)", text, humanBytes(memory))
}
