package builder

import (
	"context"
	"time"
)

// heartbeatEvery is how long a build may be silent: short enough for a person to
// trust it, and for balancers that cut idle connections after a minute.
const heartbeatEvery = 20 * time.Second

// heartbeat writes a line whenever nothing else was written for a while, until
// ctx ends.
func (o *output) heartbeat(ctx context.Context, doing string) {
	began, seen := time.Now(), o.count()
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := o.count(); now != seen {
			seen = now
			continue
		}
		o.linef("       still %s, %s", doing, plainDuration(time.Since(began).Round(time.Second)))
		seen = o.count()
	}
}

// count is the number of lines so far.
func (o *output) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lines
}
