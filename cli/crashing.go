package cli

import (
	"context"
	"fmt"
	"time"

	"paas/api"
	"paas/cluster"
)

const (
	// crashLoop is how many ends by itself make a replica one that does not stay up:
	// one or two happen to everybody.
	crashLoop = 3
	// crashCalm is how long it has to run since the last of them to be well again:
	// twice the longest pause between two starts.
	crashCalm = 2 * time.Minute
)

// tellCrashing names what does not stay up, and the way out. A release that dies
// after its deploy has ended is noticed by nobody else.
func (in *invocation) tellCrashing(ctx context.Context, list *api.ProcessList) {
	found := crashing(list, time.Now())
	if len(found) == 0 {
		return
	}
	for _, f := range found {
		in.out.warnf("%s", f)
	}
	way := []string{fmt.Sprintf("paas logs -a %s", list.App)}
	if _, err := in.rollbackTarget(ctx, 0); err == nil {
		way = append(way, fmt.Sprintf("paas rollback -a %s", list.App))
	}
	in.out.next(way...)
}

// crashing says of each replica in a crash loop how it ends.
func crashing(list *api.ProcessList, now time.Time) (out []string) {
	for _, a := range list.Allocations {
		o := &a.Observed
		ends := o.Restarts
		if o.State == cluster.AllocationBackoff {
			ends++ // the restart after the last end is still to come
		}
		if a.Desired != cluster.DesiredRun || ends < crashLoop || !o.Bad() && now.Sub(o.StartedAt) >= crashCalm {
			continue
		}
		how := fmt.Sprintf("the last time with exit code %d", o.ExitCode)
		if o.OOM {
			how = "the last time for lack of memory"
		}
		out = append(out, fmt.Sprintf("%s does not stay up: it has ended %d times, %s", a.Instance, ends, how))
	}
	return out
}
